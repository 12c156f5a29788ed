//! Every fault of a checkpoint is an error that names the key and the file.

use std::path::Path;

use sapo_policies::convert::{Writing, convert};
use sapo_policies::weights::Loading;
use sapo_policies::{Policy, WeightFormat};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{copy_of, device, file_of, file_with, parts_of, tensors_of};

const FIRST: &str = "model-00001-of-00002.safetensors";
const SECOND: &str = "model-00002-of-00002.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const NORM: &str = "model.language_model.norm.weight";

/// Loading refuses the folder, and so does conversion, which then leaves nothing behind.
fn refused(folder: &TempDir, says: &[&str]) {
    let error = Policy::load(folder.path(), &device()).expect_err("must be refused").to_string();
    for says in says {
        assert!(error.contains(says), "`{says}` is not in: {error}");
    }
    let out = folder.path().join("out");
    let writing = Writing { format: None, shard_bytes: 1 << 30, told: &|_, _| {} };
    let other = convert(folder.path().to_str().expect("a path"), &out, &writing).expect_err("must be refused");
    for says in says {
        assert!(other.to_string().contains(says), "`{says}` is not in: {other}");
    }
    assert!(!out.exists() && !folder.path().join("out.tmp").exists());
}

fn change(folder: &Path, file: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let path = folder.join(file);
    let bytes = std::fs::read(&path).expect("a file");
    std::fs::write(&path, change(bytes)).expect("can be written");
}

fn change_index(folder: &Path, with: impl FnOnce(&mut Value)) {
    change(folder, INDEX, |bytes| {
        let mut index = serde_json::from_slice(&bytes).expect("JSON");
        with(&mut index);
        index.to_string().into_bytes()
    });
}

/// One file instead of two, with a header that was changed.
fn single(with: impl FnOnce(&mut Value, &mut Vec<u8>)) -> TempDir {
    let folder = copy_of("tiny-moe");
    change(folder.path(), "model.safetensors", |bytes| {
        let (mut header, mut data) = parts_of(&bytes);
        with(&mut header, &mut data);
        file_of(&header.to_string(), &data)
    });
    folder
}

#[test]
fn keys_that_are_missing_unexpected_or_twice() {
    let folder = copy_of("tiny-moe");
    change(folder.path(), "model.safetensors", |bytes| {
        let mut all = tensors_of(&bytes);
        all.remove(NORM).expect("the final norm");
        file_with(&all)
    });
    refused(&folder, &[NORM, "is missing", folder.path().to_str().expect("a path")]);

    let folder = copy_of("tiny-moe");
    change(folder.path(), "model.safetensors", |bytes| {
        let mut all = tensors_of(&bytes);
        for name in ["rotary.inv_freq", "rotary.other"] {
            all.insert(name.to_owned(), ("F32".to_owned(), vec![2], vec![0; 8]));
        }
        file_with(&all)
    });
    refused(&folder, &["model.safetensors", "`rotary.inv_freq`", "is not part of this model (1 more"]);

    let folder = copy_of("tiny-dense");
    let lost = tensors_of(&std::fs::read(folder.path().join(FIRST)).expect("a shard"));
    let (key, tensor) = lost.iter().next().expect("a tensor");
    change(folder.path(), SECOND, |bytes| {
        let mut all = tensors_of(&bytes);
        all.insert(key.clone(), tensor.clone());
        file_with(&all)
    });
    refused(&folder, &[SECOND, key, FIRST, "stands in"]);

    let folder = single(|_, _| {});
    change(folder.path(), "model.safetensors", |bytes| {
        let (header, data) = parts_of(&bytes);
        let text = header.to_string();
        let open = text.strip_suffix('}').expect("an object");
        file_of(&format!("{open},\"{NORM}\":{}}}", header[NORM]), &data)
    });
    refused(&folder, &["model.safetensors", NORM, "twice"]);
}

#[test]
fn shapes_and_formats_that_do_not_fit() {
    let folder = single(|header, _| {
        let shape = header[NORM]["shape"].clone();
        header[NORM]["shape"] = json!([1, shape[0]]);
    });
    refused(&folder, &["model.safetensors", NORM, "shape [1, 64]", "[64]"]);
    let folder = single(|header, _| header[NORM]["shape"] = json!([63]));
    refused(&folder, &["model.safetensors", NORM, "does not fit its bytes"]);
    let folder = single(|header, _| header[NORM]["shape"] = json!([1_u64 << 40, 1_u64 << 40]));
    refused(&folder, &["model.safetensors", NORM, "does not fit its bytes"]);
    let folder = single(|header, _| header[NORM]["shape"] = json!(vec![1; 9]));
    refused(&folder, &["model.safetensors", NORM, "axes"]);
    let folder = single(|header, _| header[NORM]["dtype"] = json!("F8_E4M3"));
    refused(&folder, &["model.safetensors", NORM, "F8_E4M3", "F32, BF16 and F16"]);
    let folder = single(|header, _| header[NORM]["dtype"] = json!("BF16"));
    refused(&folder, &["model.safetensors", NORM, "BF16", "does not fit"]);
}

#[test]
fn offsets_that_overlap_leave_gaps_or_lie_outside() {
    let moved = |by: i64| {
        move |header: &mut Value, _: &mut Vec<u8>| {
            for offset in header[NORM]["data_offsets"].as_array_mut().expect("offsets") {
                *offset = json!(offset.as_i64().expect("a number") + by);
            }
        }
    };
    refused(&single(moved(-4)), &["model.safetensors", "overlaps with"]);
    refused(&single(moved(1 << 40)), &["model.safetensors", NORM, "truncated"]);
    refused(&single(|header, _| header[NORM]["data_offsets"] = json!([256, 0])), &["model.safetensors", NORM]);
    refused(&single(|header, _| header[NORM]["data_offsets"] = json!([-1, 255])), &["model.safetensors", NORM]);
    refused(&single(|_, data| data.extend([0; 12])), &["model.safetensors", "12 bytes follow"]);
    let folder = single(|header, _| drop(header.as_object_mut().expect("an object").remove(NORM)));
    refused(&folder, &["model.safetensors", "begins at byte"]);
}

#[test]
fn truncated_and_corrupt_files() {
    let folder = copy_of("tiny-dense");
    change(folder.path(), SECOND, |mut bytes| {
        bytes.truncate(bytes.len() - 100);
        bytes
    });
    refused(&folder, &[SECOND, "tensor `", "truncated"]);
    let cases: [(Vec<u8>, &str); 6] = [
        (Vec::new(), "0 bytes"),
        (vec![1, 2, 3], "3 bytes"),
        ((1_u64 << 60).to_le_bytes().to_vec(), "1152921504606846976 bytes"),
        (u64::MAX.to_le_bytes().to_vec(), "header"),
        (file_of("{\"a\": ", b""), "its header"),
        (file_of("[]", b""), "its header"),
    ];
    for (bytes, says) in cases {
        let folder = copy_of("tiny-dense");
        change(folder.path(), FIRST, |_| bytes);
        refused(&folder, &[FIRST, says]);
    }
}

#[test]
fn an_index_that_does_not_say_what_there_is() {
    let folder = copy_of("tiny-dense");
    std::fs::remove_file(folder.path().join(SECOND)).expect("a shard");
    refused(&folder, &[INDEX, SECOND, "is not there", "tensor `"]);

    let folder = copy_of("tiny-dense");
    change_index(folder.path(), |index| index["weight_map"][NORM] = json!("../other.safetensors"));
    refused(&folder, &[INDEX, NORM, "../other.safetensors", "not a file name"]);

    let folder = copy_of("tiny-dense");
    change_index(folder.path(), |index| drop(index["weight_map"].as_object_mut().expect("a map").remove(NORM)));
    refused(&folder, &["safetensors", NORM, "is not said to be here"]);

    let folder = copy_of("tiny-dense");
    change_index(folder.path(), |index| index["weight_map"]["model.extra"] = json!(FIRST));
    refused(&folder, &[INDEX, "model.extra", FIRST, "is not"]);

    let folder = copy_of("tiny-dense");
    change_index(folder.path(), |index| index["weight_map"][NORM] = json!(7));
    refused(&folder, &[INDEX, NORM]);

    for (text, says) in [("", "EOF"), ("{}", "weight_map"), (r#"{"weight_map": {}}"#, "empty"), ("[1]", "invalid")] {
        let folder = copy_of("tiny-dense");
        std::fs::write(folder.path().join(INDEX), text).expect("can be written");
        refused(&folder, &[INDEX, says]);
    }

    let folder = copy_of("tiny-dense");
    std::fs::remove_file(folder.path().join(INDEX)).expect("an index");
    refused(&folder, &["model.safetensors", "holds no weights"]);
}

/// One number of the final norm in a format, its bytes.
fn with_number(dtype: &str, number: &[u8]) -> TempDir {
    let folder = copy_of("tiny-moe");
    change(folder.path(), "model.safetensors", |bytes| {
        let mut all = tensors_of(&bytes);
        let (_, shape, _) = all.remove(NORM).expect("the final norm");
        let mut values = number.repeat(shape[0]);
        let zeros = values.len() - number.len();
        // Only the last is not usual.
        values[..zeros].fill(0);
        all.insert(NORM.to_owned(), (dtype.to_owned(), shape, values));
        file_with(&all)
    });
    folder
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_name() {
    let bf16 = Loading::kept_in(WeightFormat::Bf16);
    let wide = |number: f32| number.to_le_bytes();
    let half = |bits: u16| bits.to_le_bytes();
    let cases: [(&str, &[u8]); 7] = [
        ("F32", &wide(f32::NAN)),
        ("F32", &wide(f32::INFINITY)),
        ("F32", &wide(f32::NEG_INFINITY)),
        ("BF16", &half(0x7f80)),
        ("BF16", &half(0xffc1)),
        ("F16", &half(0x7c00)),
        ("F16", &half(0xfe00)),
    ];
    for (dtype, number) in cases {
        let folder = with_number(dtype, number);
        refused(&folder, &["model.safetensors", NORM, "holds NaN or infinite numbers"]);
        let error = Policy::load_as(folder.path(), bf16, &device()).map(drop).expect_err("refused").to_string();
        assert!(error.contains(NORM) && error.contains("holds NaN or infinite numbers"), "{dtype}: {error}");
    }
    // It is a number in f32, and none in bf16.
    let folder = with_number("F32", &wide(f32::MAX));
    assert!(Policy::load(folder.path(), &device()).is_ok());
    let error = Policy::load_as(folder.path(), bf16, &device()).map(drop).expect_err("refused").to_string();
    assert!(error.contains(NORM) && error.contains("is infinite in bf16"), "{error}");
    let out = tempfile::tempdir().expect("a folder");
    let policy = Policy::load(folder.path(), &device()).expect("finite");
    let error = policy.save(out.path(), WeightFormat::Bf16).expect_err("refused").to_string();
    assert!(error.contains(NORM) && error.contains("so it is not written"), "{error}");
    for (dtype, number) in [("F32", &wide(f32::MAX)[..]), ("BF16", &half(0x7f7f)), ("F16", &half(0xfbff))] {
        assert!(Policy::load(with_number(dtype, number).path(), &device()).is_ok(), "{dtype}: the largest there is");
    }
}
