//! The header of a safetensors file, checked before a byte of a tensor is believed.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use super::source::{Source, Stored};
use crate::error::{PolicyError, Result};

/// The longest header that is read, as in the reference implementation of the format.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Bytes of the header's length, in front of it.
const LENGTH_BYTES: u64 = 8;
/// More axes than any tensor of a model has.
const MAX_AXES: usize = 8;

/// Where a tensor lies in its file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) stored: Stored,
    pub(super) shape: Vec<usize>,
    /// Place of its first byte in the file.
    pub(super) start: u64,
    /// Its length.
    pub(super) bytes: u64,
}

/// The entries of a header in the order in which it names them; a key may stand there twice.
struct Header(Vec<(String, RawEntry)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if key == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let entry = map
                        .next_value()
                        .map_err(|error| A::Error::custom(format!("the entry of tensor `{key}` is wrong: {error}")))?;
                    entries.push((key, entry));
                }
                Ok(Header(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// Reads and checks the header of `source`; `file` names it in errors.
pub(super) fn read_header(source: &Source<'_>, file: &str) -> Result<BTreeMap<String, Entry>> {
    let wrong = |reason: String| PolicyError::file(file, format!("is not a complete safetensors file: {reason}"));
    let size = source.len();
    if size < LENGTH_BYTES {
        return Err(wrong(format!("it has {size} bytes, and its first {LENGTH_BYTES} give the length of the header")));
    }
    let mut length = [0; LENGTH_BYTES as usize];
    source.read(&mut length, 0).map_err(|error| wrong(error.to_string()))?;
    let length = u64::from_le_bytes(length);
    if length > size - LENGTH_BYTES {
        let reason = format!("its header is said to have {length} bytes, but the whole file has {size}; copy it again");
        return Err(wrong(reason));
    }
    if length > MAX_HEADER_BYTES {
        return Err(wrong(format!("its header has {length} bytes; {MAX_HEADER_BYTES} are read at most")));
    }
    let mut text = vec![0; length as usize];
    source.read(&mut text, LENGTH_BYTES).map_err(|error| wrong(error.to_string()))?;
    let Header(raw) = serde_json::from_slice(&text).map_err(|error| wrong(format!("its header: {error}")))?;
    drop(text);
    check_layout(raw, size - LENGTH_BYTES - length, LENGTH_BYTES + length, file)
}

/// The checked entries: known formats, shapes that fit the bytes, and bytes that neither overlap nor leave a gap.
fn check_layout(
    raw: Vec<(String, RawEntry)>,
    data_bytes: u64,
    data_start: u64,
    file: &str,
) -> Result<BTreeMap<String, Entry>> {
    let mut order: Vec<(u64, u64, String)> = Vec::with_capacity(raw.len());
    let mut entries = BTreeMap::new();
    for (key, RawEntry { dtype, shape, data_offsets: [start, end] }) in raw {
        let wrong = |reason: String| PolicyError::tensor(file, &key, reason);
        let Some(stored) = Stored::named(&dtype) else {
            return Err(wrong(format!("is stored as {dtype}; F32, BF16 and F16 are read")));
        };
        if shape.len() > MAX_AXES {
            return Err(wrong(format!("has {} axes; no tensor of a model has so many", shape.len())));
        }
        let numbers = shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
        let wanted = numbers.and_then(|numbers| numbers.checked_mul(stored.bytes() as u64));
        if start > end || wanted != Some(end - start) {
            return Err(wrong(format!(
                "has shape {shape:?} in {dtype}, which does not fit its bytes {start} to {end}"
            )));
        }
        if end > data_bytes {
            return Err(wrong(format!(
                "ends at byte {end} of the data, but the file holds {data_bytes}: it is truncated; copy it again"
            )));
        }
        order.push((start, end, key.clone()));
        let shape = shape.into_iter().map(|size| size as usize).collect();
        let entry = Entry { stored, shape, start: data_start + start, bytes: end - start };
        if entries.insert(key.clone(), entry).is_some() {
            return Err(PolicyError::tensor(file, key, "stands in the header twice"));
        }
    }
    order.sort();
    let mut filled = 0;
    let mut before = "";
    for (start, end, key) in &order {
        if *start < filled {
            return Err(PolicyError::tensor(file, key, format!("overlaps with `{before}`")));
        }
        if *start > filled {
            let reason = format!("begins at byte {start} of the data, but what is before it ends at {filled}");
            return Err(PolicyError::tensor(file, key, reason));
        }
        (filled, before) = (*end, key);
    }
    if filled != data_bytes {
        let reason = format!("{} bytes follow its last tensor; it is corrupt", data_bytes - filled);
        return Err(PolicyError::file(file, reason));
    }
    Ok(entries)
}
