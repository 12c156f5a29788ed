//! What is written is what was read: every byte of a checkpoint that is not of the format that was asked for.

use std::path::Path;

use half::{bf16, f16};
use sapo_policies::config::published::{PUBLISHED, published, published_json};
use sapo_policies::convert::{Writing, convert, write_random};
use sapo_policies::preset::config_of;
use sapo_policies::to_vec;
use sapo_policies::weights::Loading;
use sapo_policies::{Batch, Config, Model, Policy, PolicyInput, Trace, WeightFormat};

use crate::{Tensors, all_tensors, copy_of, device, file_with, files, fixture};

fn writing(format: Option<WeightFormat>, shard_bytes: u64) -> Writing<'static> {
    Writing { format, shard_bytes, told: &|_, _| {} }
}

fn is_weights(name: &str) -> bool {
    name.contains("safetensors")
}

fn logits(policy: &Policy) -> Vec<f32> {
    let input = PolicyInput::of_text((0..40).map(|id| id * 7 % 300).collect());
    to_vec(policy.logits(policy.forward(&Batch::prompts(&[&input], 2), &mut Trace::off())))
}

#[test]
fn a_checkpoint_goes_through_unchanged() {
    for name in ["tiny-dense", "tiny-moe"] {
        let source = copy_of(name);
        std::fs::create_dir(source.path().join("additional_chat_templates")).expect("a folder");
        for extra in ["added_tokens.json", "LICENSE", "additional_chat_templates/tool.jinja"] {
            std::fs::write(source.path().join(extra), format!("{{\"é\": \"{extra}\"}}\r\n")).expect("can be written");
        }
        let out = tempfile::tempdir().expect("a folder");
        let (converted, saved) = (out.path().join("converted"), out.path().join("saved"));
        let path = source.path().to_str().expect("a path");
        convert(path, &converted, &writing(None, 400_000)).expect("converts");
        Model::open(path, 0, &device())
            .expect("opens")
            .save_sharded(&saved, WeightFormat::F32, 400_000)
            .expect("saves");
        assert_eq!(files_below(&converted), files_below(&saved), "streamed or held, the folder is the same");
        assert_eq!(all_tensors(&converted), all_tensors(source.path()), "all numbers are the same bits");
        let others = |folder: &Path| -> Vec<(String, Vec<u8>)> {
            files_below(folder).into_iter().filter(|(name, _)| !is_weights(name)).collect()
        };
        assert_eq!(others(&converted), others(source.path()), "config and all other files byte for byte");
        let index = std::fs::read_to_string(converted.join("model.safetensors.index.json")).expect("shards");
        let index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
        let bytes: usize = all_tensors(source.path()).values().map(|(_, _, bytes)| bytes.len()).sum();
        assert_eq!(index["metadata"]["total_size"], bytes);
        for (key, file) in index["weight_map"].as_object().expect("a map") {
            let shard = converted.join(file.as_str().expect("a file"));
            assert!(crate::tensors_of(&std::fs::read(shard).expect("a shard")).contains_key(key));
        }
        let largest = files(&converted).into_iter().filter(|(name, _)| name.ends_with(".safetensors"));
        assert!(largest.map(|(_, bytes)| bytes.len()).max() < Some(420_000), "shards are bounded");
    }
}

fn files_below(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        if path.is_dir() {
            all.extend(files(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            all.push((name, std::fs::read(&path).expect("a file")));
        }
    }
    all.sort();
    all
}

/// The numbers of tensors in another format.
fn narrowed(tensors: &Tensors, dtype: &str, narrow: fn(f32) -> [u8; 2]) -> Tensors {
    let bytes = |bytes: &[u8]| -> Vec<u8> {
        bytes.chunks(4).flat_map(|four| narrow(f32::from_le_bytes(four.try_into().expect("four bytes")))).collect()
    };
    let tensor = |(key, (_, shape, data)): (&String, &(String, Vec<usize>, Vec<u8>))| {
        (key.clone(), (dtype.to_owned(), shape.clone(), bytes(data)))
    };
    tensors.iter().map(tensor).collect()
}

#[test]
fn halves_are_read_and_written_exactly() {
    let bits = |x: f32| bf16::from_f32(x).to_le_bytes();
    let all = narrowed(&all_tensors(&fixture("tiny-moe")), "BF16", bits);
    let source = copy_of("tiny-moe");
    std::fs::write(source.path().join("model.safetensors"), file_with(&all)).expect("can be written");
    let path = source.path().to_str().expect("a path");
    let out = tempfile::tempdir().expect("a folder");
    let (kept, wide) = (out.path().join("kept"), out.path().join("wide"));
    let written = convert(path, &kept, &writing(None, 1 << 30)).expect("converts");
    assert_eq!((written.format, written.bytes), (WeightFormat::Bf16, 2 * written.parameters));
    assert_eq!(all_tensors(&kept), all);
    let config = std::fs::read_to_string(kept.join("config.json")).expect("a config");
    assert!(config.contains(r#""dtype": "bfloat16""#) && config.contains("rope_parameters"), "{config}");

    // Kept in bf16 or widened when loaded: the same numbers, the same answers, and the same bytes when saved.
    let load = |format| Policy::load_as(source.path(), Loading::kept_in(format), &device()).expect("loads");
    let (small, large) = (load(WeightFormat::Bf16), load(WeightFormat::F32));
    assert_eq!(small.weights_sha256(), large.weights_sha256());
    let differences = logits(&small).into_iter().zip(logits(&large)).filter(|(a, b)| a.is_finite() && b.is_finite());
    assert!(differences.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) < 1e-5);
    std::fs::create_dir(&wide).expect("a folder");
    small.save(&wide, WeightFormat::Bf16).expect("saves");
    assert_eq!(all_tensors(&wide), all);

    let trains = |name: &str| name.ends_with("q_proj.weight");
    let loading = Loading { f32_of: Some(&trains), ..Loading::kept_in(WeightFormat::Bf16) };
    let mixed = Policy::load_as(source.path(), loading, &device()).expect("loads");
    for param in mixed.parameters() {
        assert_eq!(param.value.dtype() == burn::tensor::DType::F32, trains(&param.name), "{}", param.name);
    }
}

#[test]
fn f16_is_widened_exactly() {
    let all = narrowed(&all_tensors(&fixture("tiny-dense")), "F16", |x| f16::from_f32(x).to_le_bytes());
    let source = copy_of("tiny-dense");
    std::fs::remove_file(source.path().join("model.safetensors.index.json")).expect("an index");
    std::fs::write(source.path().join("model.safetensors"), file_with(&all)).expect("can be written");
    let policy = Policy::load(source.path(), &device()).expect("loads");
    for param in policy.parameters() {
        let stored = all[&param.name].2.chunks(2).map(|two| f16::from_le_bytes([two[0], two[1]]).to_f32());
        assert!(stored.eq(to_vec(param.value.clone())), "{}", param.name);
    }
}

#[test]
fn a_large_matrix_is_widened_in_pieces() {
    use burn::tensor::{DType, Tensor, TensorData};
    use sapo_policies::nn::Param;
    // More numbers than are widened at once; small whole ones, so that every product is exact.
    let (rows, columns) = (5_000, 1_000);
    let values: Vec<f32> = (0..rows * columns).map(|index| (index * 7 % 13) as f32 - 6.0).collect();
    let whole = Tensor::<2>::from_data(TensorData::new(values, [rows, columns]), &device());
    let x = Tensor::<2>::from_data(
        TensorData::new((0..3 * columns).map(|index| (index % 5) as f32 - 2.0).collect::<Vec<_>>(), [3, columns]),
        &device(),
    );
    let param = |value| Param {
        name: "w".to_owned(),
        shape: vec![rows, columns],
        value,
        requires_grad: true,
        matmul: WeightFormat::F32,
    };
    let product = |value| to_vec(param(value).linear(x.clone()));
    assert_eq!(product(whole.clone().cast(DType::BF16)), product(whole));
}

#[test]
fn a_copy_of_a_tied_head_is_left_out_and_another_matrix_refused() {
    let table = "model.language_model.embed_tokens.weight";
    let mut all = all_tensors(&fixture("tiny-moe"));
    all.insert("lm_head.weight".to_owned(), all[table].clone());
    let source = copy_of("tiny-moe");
    let path = source.path().join("model.safetensors");
    std::fs::write(&path, file_with(&all)).expect("can be written");
    Policy::load(source.path(), &device()).expect("a copy is harmless");
    all.get_mut("lm_head.weight").expect("inserted").2[7] ^= 1;
    std::fs::write(&path, file_with(&all)).expect("can be written");
    let error = Policy::load(source.path(), &device()).expect_err("not the table").to_string();
    assert!(error.contains("lm_head.weight") && error.contains("tie_word_embeddings"), "{error}");
}

/// The fixture with experts as a published checkpoint stores and describes it.
fn published_moe() -> tempfile::TempDir {
    let mut all = all_tensors(&fixture("tiny-moe"));
    for (_, (_, shape, bytes)) in all.iter_mut().filter(|(key, _)| key.contains("mlp.experts")) {
        let [experts, rows, columns] = shape[..] else { panic!("three axes") };
        let at = |expert: usize, row: usize, column: usize| 4 * ((expert * rows + row) * columns + column);
        let mut turned = Vec::with_capacity(bytes.len());
        for expert in 0..experts {
            for column in 0..columns {
                (0..rows).for_each(|row| turned.extend_from_slice(&bytes[at(expert, row, column)..][..4]));
            }
        }
        (*shape, *bytes) = (vec![experts, columns, rows], turned);
    }
    let folder = copy_of("tiny-moe");
    std::fs::write(folder.path().join("model.safetensors"), file_with(&all)).expect("can be written");
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).expect("a config")).expect("JSON");
    let text = config["text_config"].as_object_mut().expect("an object");
    let mut rope = text.remove("rope_parameters").expect("rope parameters");
    text.insert("rope_theta".to_owned(), rope["rope_theta"].take());
    text.insert("rope_scaling".to_owned(), rope);
    std::fs::write(path, config.to_string()).expect("can be written");
    folder
}

#[test]
fn experts_of_either_layout_pass_the_golden_cases_when_written_again() {
    let source = published_moe();
    let out = tempfile::tempdir().expect("a folder");
    let folder = out.path().join("again");
    convert(source.path().to_str().expect("a path"), &folder, &writing(None, 500_000)).expect("converts");
    assert_eq!(all_tensors(&folder), all_tensors(source.path()));
    let policy = Policy::load(&folder, &device()).expect("loads");
    let case = sapo_policies::golden::Case::open(&fixture("cases-moe/image.safetensors")).expect("a case");
    let parity = sapo_policies::golden::check(&policy, &case).expect("can be compared");
    assert!(parity.differences.iter().any(|one| one.tensor.contains("grad") && one.tensor.contains("mlp.experts")));
    let out: Vec<_> = parity.differences.iter().filter(|one| one.is_out()).map(|one| &one.tensor).collect();
    assert!(out.is_empty() && parity.left.is_empty(), "{out:?} {:?}", parity.left);
}

#[test]
fn a_config_keeps_what_is_not_known_here() {
    let text = std::fs::read_to_string(fixture("tiny-dense/config.json")).expect("a config");
    let mut config = Config::from_json(&text, "config.json").expect("a config");
    assert_eq!(config.text(Some(&text), WeightFormat::F32), text.as_bytes());
    config.vision.deepstack_indexes.clear();
    let cut = String::from_utf8(config.text(Some(&text), WeightFormat::F32)).expect("UTF-8");
    assert!(cut.contains("initializer_range"), "{cut}");
    assert_eq!(Config::from_json(&cut, "config.json").expect("a config"), config);
    config.text.layers += 1;
    let other = String::from_utf8(config.text(Some(&text), WeightFormat::Bf16)).expect("UTF-8");
    assert_eq!(Config::from_json(&other, "config.json").expect("a config"), config, "the source says another model");
}

#[test]
fn random_checkpoints_open_and_answer() {
    let out = tempfile::tempdir().expect("a folder");
    let mut sizes = config_of(fixture("tiny-moe").to_str().expect("a path")).expect("sizes");
    let small = write_random(sizes.clone(), 1, &out.path().join("small"), &writing(None, 1 << 30));
    assert!(small.expect_err("too few rows").to_string().contains("`vocab_size` is 600"));
    sizes.text.vocab_size = 2048;
    let make = |name: &str, seed: u64| {
        let folder = out.path().join(name);
        write_random(sizes.clone(), seed, &folder, &writing(Some(WeightFormat::Bf16), 1 << 30)).expect("is written");
        files(&folder)
    };
    assert_eq!(make("a", 1), make("b", 1), "the same seed gives the same bytes");
    assert_ne!(make("c", 2)["model.safetensors"], make("d", 1)["model.safetensors"]);
    let model = Model::open(out.path().join("a").to_str().expect("a path"), 0, &device()).expect("opens");
    assert_eq!(model.policy.parameter_count() as u64, sapo_policies::sizes::parameter_count(&sizes));
    assert!(logits(&model.policy).iter().all(|logit| !logit.is_nan()));
    let spread = |name: &str| {
        let param = model.policy.parameters().into_iter().find(|param| param.name.contains(name)).expect("a parameter");
        let values = to_vec(param.value.clone());
        (values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    assert_eq!(spread("input_layernorm.weight"), 1.0);
    assert!((spread("layers.0.self_attn.q_proj.weight") * 8.0 - 1.0).abs() < 0.05, "a variance of 1 / 64 inputs");
}

#[test]
fn published_configs_say_the_published_sizes() {
    for name in PUBLISHED {
        let config = published(name).expect("published");
        let text = published_json(&config).to_string();
        assert_eq!(Config::from_json(&text, name).expect("is a config"), config);
        assert_eq!(published(&format!("Qwen3-VL-{}-Instruct", name.to_uppercase())), Some(config));
    }
    assert_eq!(published("7b"), None);
}
