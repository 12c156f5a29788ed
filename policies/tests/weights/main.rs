//! Weights in and out: what is written is what was read, and what is wrong is named by key and file.

mod faults;
mod hostile;
mod kept;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl").join(name)
}

fn device() -> Device {
    Device::flex()
}

/// A tensor of a file: number format, shape, bytes.
type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

/// A copy of a fixture's folder that may be changed.
fn copy_of(name: &str) -> TempDir {
    let copy = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files(&fixture(name)) {
        std::fs::write(copy.path().join(name), bytes).expect("can be written");
    }
    copy
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file());
    let file = |path: PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        (name, std::fs::read(path).expect("a file"))
    };
    paths.map(file).collect()
}

/// A safetensors file, byte by byte: also one that is wrong.
fn file_of(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

fn parts_of(bytes: &[u8]) -> (Value, Vec<u8>) {
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    (serde_json::from_slice(&bytes[8..8 + length]).expect("a header"), bytes[8 + length..].to_vec())
}

fn tensors_of(bytes: &[u8]) -> Tensors {
    let (header, data) = parts_of(bytes);
    let entries = header.as_object().expect("an object").iter().filter(|(key, _)| *key != "__metadata__");
    entries
        .map(|(key, entry)| {
            let number = |value: &Value| value.as_u64().expect("a number") as usize;
            let shape = entry["shape"].as_array().expect("a shape").iter().map(number).collect();
            let (start, end) = (number(&entry["data_offsets"][0]), number(&entry["data_offsets"][1]));
            (key.clone(), (entry["dtype"].as_str().expect("a format").to_owned(), shape, data[start..end].to_vec()))
        })
        .collect()
}

fn all_tensors(folder: &Path) -> Tensors {
    let weights = files(folder).into_iter().filter(|(name, _)| name.ends_with(".safetensors"));
    weights.flat_map(|(_, bytes)| tensors_of(&bytes)).collect()
}

fn file_with(tensors: &Tensors) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (key, (dtype, shape, bytes)) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(key.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
        data.extend_from_slice(bytes);
    }
    file_of(&Value::Object(header).to_string(), &data)
}
