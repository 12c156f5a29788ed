//! Weights to safetensors files: split into shards, streamed a piece of a tensor at a time, on the disk when done.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use half::slice::HalfFloatSliceExt;
use half::{bf16, vec::HalfFloatVecExt};
use serde_json::{Map, Value, json};

use super::index::{INDEX_FILE, SINGLE_FILE, index_json};
use crate::error::{PolicyError, Result};
use crate::file::{pretty, write_synced};
use crate::format::{TensorShape, WeightFormat};

/// Why numbers are not written.
const NOT_WRITTEN: &str = "would hold NaN or infinite numbers, so it is not written: an adapter's scale may be too large, or \
                           numbers above 3.38e38 too large for bf16";

/// Gives the numbers of tensors, in order and in pieces.
pub(crate) trait Pieces {
    /// Calls `take` with all numbers of tensor `index`.
    fn pieces(&mut self, index: usize, take: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()>;
}

/// How weights are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) format: WeightFormat,
    /// Bytes of a shard at most, unless one tensor has more.
    pub(crate) shard_bytes: u64,
}

/// Writes `tensors` into `folder`: one file, or shards with their index. `done` is told how many bytes are written.
pub(crate) fn write_weights(
    folder: &Path,
    tensors: &[TensorShape],
    layout: Layout,
    pieces: &mut dyn Pieces,
    done: &mut dyn FnMut(u64),
) -> Result<()> {
    let number_bytes = layout.format.bytes() as u64;
    let shards = shards(tensors, layout);
    let names: Vec<String> = match shards.len() {
        1 => vec![SINGLE_FILE.to_owned()],
        count => (1..=count).map(|index| format!("model-{index:05}-of-{count:05}.safetensors")).collect(),
    };
    let mut written = 0;
    for (name, shard) in names.iter().zip(&shards) {
        write_shard(&folder.join(name), tensors, shard, layout.format, pieces, &mut |bytes| {
            written += bytes;
            done(written);
        })?;
    }
    if shards.len() == 1 {
        return Ok(());
    }
    let keys = |shard: &[usize]| shard.iter().map(|index| tensors[*index].name.clone()).collect();
    let keyed: Vec<(String, Vec<String>)> = names.into_iter().zip(shards.iter().map(|shard| keys(shard))).collect();
    let numbers: u64 = tensors.iter().map(TensorShape::numbers).sum();
    write_synced(&folder.join(INDEX_FILE), &pretty(&index_json(&keyed, numbers, numbers * number_bytes)))
}

/// The places of the tensors of each shard, in the order of their names.
fn shards(tensors: &[TensorShape], layout: Layout) -> Vec<Vec<usize>> {
    let mut shards = vec![Vec::new()];
    let mut filled = 0;
    for (index, tensor) in tensors.iter().enumerate() {
        let bytes = tensor.numbers() * layout.format.bytes() as u64;
        if filled > 0 && filled + bytes > layout.shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(shard) = shards.last_mut() {
            shard.push(index);
        }
    }
    for shard in &mut shards {
        shard.sort_by(|a, b| tensors[*a].name.cmp(&tensors[*b].name));
    }
    shards
}

fn write_shard(
    path: &Path,
    tensors: &[TensorShape],
    shard: &[usize],
    format: WeightFormat,
    pieces: &mut dyn Pieces,
    done: &mut dyn FnMut(u64),
) -> Result<()> {
    let io = |source| PolicyError::io(path, source);
    let mut file = File::create(path).map_err(io)?;
    file.write_all(&header(shard.iter().map(|index| &tensors[*index]), format)).map_err(io)?;
    let mut scratch = Vec::new();
    for index in shard {
        let mut left = tensors[*index].numbers();
        pieces.pieces(*index, &mut |piece| {
            left = left.saturating_sub(piece.len() as u64);
            let bytes = format.encode(piece, &mut scratch);
            // What was merged or rounded may have become infinite, though all that was read was finite.
            if !format.is_finite(bytes) {
                return Err(PolicyError::tensor(path.display().to_string(), &tensors[*index].name, NOT_WRITTEN));
            }
            file.write_all(bytes).map_err(io)?;
            done(bytes.len() as u64);
            Ok(())
        })?;
        debug_assert_eq!(left, 0, "all numbers of {} are written", tensors[*index].name);
    }
    file.sync_all().map_err(io)
}

/// The header of a file with these tensors, one after the other; padded, so that the numbers are aligned.
fn header<'a>(tensors: impl Iterator<Item = &'a TensorShape>, format: WeightFormat) -> Vec<u8> {
    let mut entries = Map::new();
    entries.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.numbers() * format.bytes() as u64;
        let entry = json!({"dtype": format.name(), "shape": tensor.shape, "data_offsets": [start, end]});
        entries.insert(tensor.name.clone(), entry);
        start = end;
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    bytes
}

impl WeightFormat {
    /// Whether encoded numbers are finite: not all bits of an exponent are set.
    fn is_finite(self, bytes: &[u8]) -> bool {
        let all = |high: u8, low: u8| high & 0x7f == 0x7f && low & 0x80 == 0x80;
        match self {
            Self::F32 => !bytes.as_chunks::<4>().0.iter().fold(false, |any, b| any | all(b[3], b[2])),
            Self::Bf16 => !bytes.as_chunks::<2>().0.iter().fold(false, |any, b| any | all(b[1], b[0])),
        }
    }

    /// The little-endian bytes of numbers in this format; `scratch` holds them where they are not there already.
    pub(super) fn encode<'a>(self, values: &'a [f32], scratch: &'a mut Vec<u16>) -> &'a [u8] {
        match self {
            Self::F32 => bytemuck::cast_slice(values),
            Self::Bf16 => {
                let mut halves: Vec<bf16> = half::vec::HalfBitsVecExt::reinterpret_into(std::mem::take(scratch));
                halves.clear();
                halves.resize(values.len(), bf16::ZERO);
                halves.convert_from_f32_slice(values);
                *scratch = halves.reinterpret_into();
                bytemuck::cast_slice(scratch)
            }
        }
    }
}
