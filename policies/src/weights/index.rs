//! `model.safetensors.index.json`: which shard holds which tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Value, json};

use crate::error::{PolicyError, Result};

/// The file of weights that are in one.
pub(super) const SINGLE_FILE: &str = "model.safetensors";
/// The file that says where shards have which tensor.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";
/// The longest index that is read.
const MAX_INDEX_BYTES: u64 = 100_000_000;

#[derive(Deserialize)]
struct RawIndex {
    weight_map: WeightMap,
}

/// Keys with their files; a key that stands there twice is an error.
struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of keys and file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<WeightMap, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    let file = map
                        .next_value::<String>()
                        .map_err(|error| A::Error::custom(format!("the file of tensor `{key}`: {error}")))?;
                    if pairs.insert(key.clone(), file).is_some() {
                        return Err(A::Error::custom(format!("tensor `{key}` stands in `weight_map` twice")));
                    }
                }
                Ok(WeightMap(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
    }
}

/// The shards that an index names, each with its keys.
pub(super) fn read_index(path: &Path) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let name = path.display().to_string();
    let text = crate::file::read_text(path, MAX_INDEX_BYTES)?;
    let index: RawIndex = serde_json::from_str(&text).map_err(|error| PolicyError::file(&name, error.to_string()))?;
    let mut shards: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (key, file) in index.weight_map.0 {
        let mut parts = Path::new(&file).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(PolicyError::tensor(name, key, format!("is said to be in `{file}`, which is not a file name")));
        }
        shards.entry(file).or_default().insert(key);
    }
    if shards.is_empty() {
        return Err(PolicyError::file(name, "its `weight_map` is empty"));
    }
    Ok(shards)
}

/// The index of `shards` (file names and their keys), as the reference library writes it.
pub(super) fn index_json(shards: &[(String, Vec<String>)], numbers: u64, bytes: u64) -> Value {
    let keys = shards.iter().flat_map(|(file, keys)| keys.iter().map(move |key| (key.as_str(), file.as_str())));
    let map: BTreeMap<&str, &str> = keys.collect();
    json!({"metadata": {"total_parameters": numbers, "total_size": bytes}, "weight_map": map})
}
