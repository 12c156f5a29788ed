//! Whole checkpoints from folder to folder, or from nothing but random numbers, a piece at a time: memory does not grow
//! with the model.

use std::collections::BTreeMap;
use std::path::Path;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::build::Values;
use crate::config::published::{is_published, published_json};
use crate::config::{Config, ExpertLayout, MAX_CONFIG_BYTES};
use crate::error::{PolicyError, Result};
use crate::file::{pretty, read_text, write_folder, write_synced};
use crate::format::{TensorShape, WeightFormat};
use crate::preset::{check_vocabulary, checkpoint_folder, embedded_files, published_picture_files, with_vision_tokens};
use crate::processor::{Processor, Tokenizer, carried};
use crate::sizes::{tensors, tensors_laid_out};
use crate::weights::{Layout, Pieces, StoredWeights, Told, write_weights};

/// Numbers that are read or made at once.
const PIECE: usize = 1 << 20;

/// What is written.
#[derive(Clone, Copy)]
pub struct Writing<'a> {
    /// The number format; that of the source where it is not said.
    pub format: Option<WeightFormat>,
    /// Bytes of a file of weights at most, unless one tensor has more.
    pub shard_bytes: u64,
    /// Told how many bytes are written, and of how many.
    pub told: Told<'a>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Numbers of all tensors.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Their format.
    pub format: WeightFormat,
}

struct StoredPieces<'a> {
    stored: StoredWeights<'a>,
    tensors: &'a [TensorShape],
}

impl Pieces for StoredPieces<'_> {
    fn pieces(&mut self, index: usize, take: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let tensor = &self.tensors[index];
        let found = self.stored.take(&tensor.name, &tensor.shape)?;
        for first in (0..found.numbers()).step_by(PIECE) {
            take(&self.stored.f32s_in(&found, first, PIECE.min(found.numbers() - first))?)?;
        }
        Ok(())
    }
}

/// The stored weights while only their shapes are asked for.
struct ShapesOf<'a, 'b>(&'a StoredWeights<'b>);

impl Values for ShapesOf<'_, '_> {
    fn value(&mut self, name: &str, _: &[usize]) -> Result<burn::tensor::Tensor<2>> {
        Err(PolicyError::input(format!("the value of `{name}` is not asked for")))
    }

    fn stored_shape(&self, name: &str) -> Option<&[usize]> {
        self.0.shape(name)
    }
}

/// Writes the checkpoint `source` again into the folder `out`: every key checked and used once, all other files as they
/// are.
///
/// # Errors
/// When something is wrong with the source, or `out` cannot be written.
pub fn convert(source: &str, out: &Path, writing: &Writing<'_>) -> Result<Written> {
    let folder = checkpoint_folder(source)?;
    let path = folder.join("config.json");
    let text = read_text(&path, MAX_CONFIG_BYTES)?;
    let config = Config::from_json(&text, &path.display().to_string())?;
    let files = carried::read(&folder)?;
    let mut stored = StoredWeights::open(&folder)?;
    if config.tied_head {
        stored.drop_tied("lm_head.weight", "model.language_model.embed_tokens.weight")?;
    }
    let tensors = tensors_laid_out(&config, &ShapesOf(&stored));
    stored.check_all(&tensors)?;
    let format = writing.format.unwrap_or_else(|| stored.format());
    let written = written(&tensors, format);
    let layout = Layout { format, shard_bytes: writing.shard_bytes };
    write_folder(out, |aside| {
        write_synced(&aside.join("config.json"), &config.text(Some(&text), format))?;
        let mut pieces = StoredPieces { stored, tensors: &tensors };
        write_weights(aside, &tensors, layout, &mut pieces, &mut |done| (writing.told)(done, written.bytes))?;
        pieces.stored.all_taken()?;
        carried::write(aside, &files)
    })?;
    Ok(written)
}

fn written(tensors: &[TensorShape], format: WeightFormat) -> Written {
    let parameters = tensors.iter().map(TensorShape::numbers).sum();
    Written { parameters, bytes: parameters * format.bytes() as u64, format }
}

struct RandomPieces<'a> {
    tensors: &'a [TensorShape],
    layout: Option<ExpertLayout>,
    seed: u64,
}

impl Pieces for RandomPieces<'_> {
    fn pieces(&mut self, index: usize, take: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let tensor = &self.tensors[index];
        let numbers = tensor.numbers() as usize;
        let spread = spread(tensor, self.layout);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let starts: Vec<usize> = (0..numbers).step_by(PIECE).collect();
        for some in starts.chunks(threads) {
            let made: Vec<Vec<f32>> = std::thread::scope(|scope| {
                let piece = |start: usize| {
                    let rng = rng(self.seed, &tensor.name, start / PIECE);
                    scope.spawn(move || random_piece(rng, PIECE.min(numbers - start), spread))
                };
                let running: Vec<_> = some.iter().map(|start| piece(*start)).collect();
                running.into_iter().map(|thread| thread.join().expect("making numbers does not panic")).collect()
            });
            made.iter().try_for_each(|piece| take(piece))?;
        }
        Ok(())
    }
}

/// Middle and half width of the numbers of a tensor: 1 for norms, 0 for biases, and else a variance of one part in the
/// inputs, as a fresh model has.
fn spread(tensor: &TensorShape, layout: Option<ExpertLayout>) -> (f32, f32) {
    let inputs = match &tensor.shape[..] {
        [_] if tensor.name.ends_with(".bias") => return (0.0, 0.0),
        [_] => return (1.0, 0.0),
        [_, first, second] => {
            if layout == Some(ExpertLayout::InOut) {
                *first
            } else {
                *second
            }
        }
        [_, rest @ ..] => rest.iter().product(),
        [] => 1,
    };
    (0.0, (3.0 / inputs.max(1) as f64).sqrt() as f32)
}

fn rng(seed: u64, name: &str, piece: usize) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update((piece as u64).to_le_bytes());
    hash.update(name);
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// Uniform numbers from 16 random bits each: a benchmark needs no better ones.
fn random_piece(mut rng: ChaCha8Rng, count: usize, (middle, half_width): (f32, f32)) -> Vec<f32> {
    if half_width == 0.0 {
        return vec![middle; count];
    }
    let mut bytes = vec![0_u8; 2 * count];
    rng.fill_bytes(&mut bytes);
    let scale = half_width / 32_768.0;
    bytes.chunks_exact(2).map(|two| f32::from(i16::from_le_bytes([two[0], two[1]])) * scale + middle).collect()
}

/// The processor's files of a model of these sizes.
fn processor_files(config: &Config) -> BTreeMap<String, Vec<u8>> {
    let mut files = embedded_files();
    if is_published(config) {
        files.extend(published_picture_files());
    }
    files
}

/// Writes a checkpoint of these sizes with random weights into the folder `out`, for benchmarks. Its tokenizer and template
/// are those of the presets, whose ids the config names: the rest of the vocabulary has no text. Pictures and videos become as
/// many tokens as in the published models where the sizes are those of one.
///
/// # Errors
/// When `out` cannot be written.
pub fn write_random(config: Config, seed: u64, out: &Path, writing: &Writing<'_>) -> Result<Written> {
    let mut files = processor_files(&config);
    let tokenizer = Tokenizer::from_bytes(&files["tokenizer.json"], "tokenizer.json")?;
    check_vocabulary(&config, &tokenizer)?;
    let config = with_vision_tokens(config, &tokenizer)?;
    let ids: Vec<u32> = ["<|im_end|>", "<|endoftext|>"].iter().filter_map(|token| tokenizer.id(token)).collect();
    let generation = json!({"do_sample": true, "eos_token_id": ids, "pad_token_id": ids.last()});
    files.insert("generation_config.json".to_owned(), pretty(&generation));
    let processor = Processor::from_files(files, &config)?;
    let tensors = tensors(&config);
    let format = writing.format.unwrap_or(WeightFormat::Bf16);
    let written = written(&tensors, format);
    let layout = Layout { format, shard_bytes: writing.shard_bytes };
    write_folder(out, |aside| {
        let text = String::from_utf8(pretty(&published_json(&config))).expect("JSON is UTF-8");
        write_synced(&aside.join("config.json"), &config.text(Some(&text), format))?;
        let experts = config.text.moe.as_ref().map(|moe| moe.layout);
        let mut pieces = RandomPieces { tensors: &tensors, layout: experts, seed };
        write_weights(aside, &tensors, layout, &mut pieces, &mut |done| (writing.told)(done, written.bytes))?;
        processor.save(aside)
    })?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::published::published;
    use crate::preset::config_of;
    use crate::processor::ImageProcessor;

    #[test]
    fn a_published_size_sees_pictures_as_the_published_model_does() {
        let tokens = |config: &Config| {
            let files = processor_files(config);
            let said = serde_json::from_slice(&files["preprocessor_config.json"]).expect("JSON");
            ImageProcessor::from_json(&said, "settings").and_then(|images| images.tokens([768, 1024])).expect("a size")
        };
        // One token for 32 x 32 pixels.
        assert_eq!(tokens(&published("2b").expect("a published model")), 768);
        assert!(tokens(&config_of("tiny").expect("a preset")) < 300, "the presets look at small pictures");
    }
}
