//! Golden cases: inputs, and what the reference implementation made of them, in one safetensors file each.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;

use crate::config::Config;
use crate::error::{PolicyError, Result};
use crate::input::{PictureInput, PolicyInput};

/// Largest difference of activations, logits and log-probs where a case says nothing else.
pub const ACTIVATION_ABS: f32 = 2e-4;
/// Largest difference of a gradient, in parts of its largest number, where a case says nothing else.
pub const GRADIENT_REL: f32 = 1e-3;

#[derive(Clone, Debug)]
enum Numbers {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
}

#[derive(Clone, Debug)]
struct Golden {
    shape: Vec<usize>,
    numbers: Numbers,
}

/// A golden case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name without its ending.
    pub name: String,
    /// Largest absolute difference of activations, logits and log-probs.
    pub activation_abs: f32,
    /// Largest difference of a gradient, in parts of its largest number.
    pub gradient_rel: f32,
    /// What stands beside the tensors, in `NAME.json`; null without it.
    pub(crate) described: Value,
    file: String,
    tensors: BTreeMap<String, Golden>,
}

/// The rows of a case as inputs, padding left out.
#[derive(Clone, Debug)]
pub struct CaseRows {
    /// One prompt a row.
    pub inputs: Vec<PolicyInput>,
    /// For each row the columns of its real tokens.
    pub columns: Vec<Vec<usize>>,
    /// Columns of a row with its padding.
    pub padded: usize,
    /// For each picture of all rows, in order, whether it is a video.
    pub videos: Vec<bool>,
}

/// The files of a folder of golden cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaseFiles {
    /// Cases of a model: all `NAME.safetensors` but those below.
    pub model: Vec<PathBuf>,
    /// Cases of a processor: `NAME.safetensors` with nothing but pixels and grids, and every `NAME.json` that stands not
    /// beside a case of a model.
    pub processor: Vec<PathBuf>,
}

impl CaseFiles {
    /// Whether there is no case.
    pub fn is_empty(&self) -> bool {
        self.model.is_empty() && self.processor.is_empty()
    }
}

/// Names of tensors that a processor makes, behind the name of their picture or alone.
const PIXELS: [&str; 4] = ["pixel_values", "image_grid_thw", "pixel_values_videos", "video_grid_thw"];
/// Bytes of a safetensors header at most.
const MOST_HEADER: u64 = 1 << 26;

/// The case files of a folder, by name.
///
/// # Errors
/// When the folder or a file cannot be read.
pub fn case_files(folder: &Path) -> Result<CaseFiles> {
    let (mut found, mut tables) = (CaseFiles::default(), Vec::new());
    for entry in std::fs::read_dir(folder).map_err(|source| PolicyError::io(folder, source))? {
        let path = entry.map_err(|source| PolicyError::io(folder, source))?.path();
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("safetensors") if is_of_pixels(&path)? => found.processor.push(path),
            Some("safetensors") => found.model.push(path),
            Some("json") => tables.push(path),
            _ => {}
        }
    }
    let described = |table: &PathBuf| found.model.iter().any(|model| *table == model.with_extension("json"));
    found.processor.extend(tables.into_iter().filter(|table| !described(table)));
    found.processor.sort();
    found.model.sort();
    Ok(found)
}

/// Whether a safetensors file holds pixels and grids alone, by its header.
fn is_of_pixels(path: &Path) -> Result<bool> {
    let io = |source| PolicyError::io(path, source);
    let mut file = File::open(path).map_err(io)?;
    let mut length = [0; 8];
    if file.read_exact(&mut length).is_err() {
        return Ok(false);
    }
    let mut header = Vec::new();
    file.take(u64::from_le_bytes(length).min(MOST_HEADER)).read_to_end(&mut header).map_err(io)?;
    let Ok(Value::Object(header)) = serde_json::from_slice(&header) else { return Ok(false) };
    let mut names = header.keys().filter(|name| *name != "__metadata__").peekable();
    let of_pixels = |name: &String| PIXELS.contains(&name.rsplit('.').next().unwrap_or(name));
    Ok(names.peek().is_some() && names.all(of_pixels))
}

impl Case {
    /// Reads `NAME.safetensors`, and the tolerances of `NAME.json` beside it if it has some.
    ///
    /// # Errors
    /// When a file is not a case.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| PolicyError::io(path, source))?;
        let parsed = SafeTensors::deserialize(&bytes)
            .map_err(|error| PolicyError::file(&file, format!("is not a complete safetensors file: {error}")))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in parsed.iter() {
            let data = view.data();
            let numbers = match view.dtype() {
                Dtype::F32 => Numbers::Floats(
                    data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
                ),
                Dtype::I64 => Numbers::Ints(
                    data.chunks_exact(8)
                        .map(|b| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
                        .collect(),
                ),
                Dtype::U8 | Dtype::BOOL => Numbers::Ints(data.iter().map(|byte| i64::from(*byte)).collect()),
                other => {
                    let reason = format!("is stored as {other:?}; a case holds F32, I64, U8 and BOOL");
                    return Err(PolicyError::tensor(&file, name, reason));
                }
            };
            tensors.insert(name.to_owned(), Golden { shape: view.shape().to_vec(), numbers });
        }
        let beside = path.with_extension("json");
        let described = if beside.is_file() { description(&beside)? } else { Value::Null };
        let limit = |key: &str, usual: f32| described["tolerance"][key].as_f64().map_or(usual, |limit| limit as f32);
        Ok(Self {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            activation_abs: limit("activation_abs", ACTIVATION_ABS),
            gradient_rel: limit("gradient_rel", GRADIENT_REL),
            described,
            file,
            tensors,
        })
    }

    /// The tensors whose names begin with `prefix` and a dot, without both.
    pub fn part(&self, prefix: &str) -> Self {
        let own = self.tensors.iter().filter_map(|(name, golden)| {
            let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
            Some((rest.to_owned(), golden.clone()))
        });
        Self { name: format!("{} {prefix}", self.name), tensors: own.collect(), ..self.clone() }
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        self.golden(name).map(|golden| golden.shape.as_slice())
    }

    /// The numbers of a float tensor.
    ///
    /// # Errors
    /// When there is none of this name and kind.
    pub fn floats(&self, name: &str) -> Result<&[f32]> {
        match &self.golden(name)?.numbers {
            Numbers::Floats(values) => Ok(values),
            Numbers::Ints(_) => Err(self.wrong(name, "holds no floats")),
        }
    }

    /// The numbers of an integer tensor or a mask.
    ///
    /// # Errors
    /// When there is none of this name and kind.
    pub fn ints(&self, name: &str) -> Result<&[i64]> {
        match &self.golden(name)?.numbers {
            Numbers::Ints(values) => Ok(values),
            Numbers::Floats(_) => Err(self.wrong(name, "holds no integers")),
        }
    }

    /// An error about a tensor of this case.
    pub fn wrong(&self, name: &str, reason: impl Into<String>) -> PolicyError {
        PolicyError::tensor(&self.file, name, reason)
    }

    fn golden(&self, name: &str) -> Result<&Golden> {
        self.tensors.get(name).ok_or_else(|| self.wrong(name, "is missing; this is not a golden case of a model"))
    }

    /// The rows as inputs of a model of this config.
    ///
    /// # Errors
    /// When tokens, mask, pixels and grids do not agree with each other or with the config.
    pub fn rows(&self, config: &Config) -> Result<CaseRows> {
        let [rows, padded] = *self.shape("input_ids")? else {
            return Err(self.wrong("input_ids", "has not the shape [rows, tokens]"));
        };
        let (ids, attended) = (self.ints("input_ids")?, self.ints("attention_mask")?);
        if attended.len() != ids.len() || ids.is_empty() {
            return Err(self.wrong("attention_mask", "has not a number for each of at least one token"));
        }
        if ids.iter().any(|id| usize::try_from(*id).map_or(true, |id| id >= config.text.vocab_size)) {
            return Err(self.wrong("input_ids", "holds a token beyond the model's vocabulary"));
        }
        let mut stills = self.pictures("pixel_values", "image_grid_thw", config)?.into_iter();
        let mut moving = self.pictures("pixel_values_videos", "video_grid_thw", config)?.into_iter();
        let mut videos = Vec::new();
        let mut next = |video: bool| {
            videos.push(video);
            if video { moving.next() } else { stills.next() }
        };
        let (mut inputs, mut columns) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for row in 0..rows {
            let real: Vec<usize> = (0..padded).filter(|column| attended[row * padded + column] != 0).collect();
            if real.is_empty() {
                return Err(self.wrong("attention_mask", "has a row without a token"));
            }
            let ids = real.iter().map(|column| ids[row * padded + column] as u32).collect();
            inputs.push(self.typed(ids, config, &mut next)?);
            columns.push(real);
        }
        if stills.next().is_some() || moving.next().is_some() {
            return Err(self.wrong("input_ids", "has no placeholders for the last picture"));
        }
        Ok(CaseRows { inputs, columns, padded, videos })
    }

    fn pictures(&self, pixels: &str, grids: &str, config: &Config) -> Result<Vec<PictureInput>> {
        if !self.has(pixels) {
            return Ok(Vec::new());
        }
        let (mut rest, merge) = (self.floats(pixels)?, config.vision.spatial_merge_size);
        let mut pictures = Vec::new();
        for grid in self.ints(grids)?.chunks(3) {
            let sides: Vec<usize> = grid.iter().filter_map(|side| usize::try_from(*side).ok()).collect();
            let [slots, height, width] = sides[..] else {
                return Err(self.wrong(grids, "is not a list of sizes (time, height, width)"));
            };
            if slots == 0 || height == 0 || width == 0 || height % merge != 0 || width % merge != 0 {
                return Err(self.wrong(grids, format!("holds {grid:?}, whose sides are not multiples of {merge}")));
            }
            let numbers = [slots, height, width, config.vision.patch_inputs()]
                .into_iter()
                .try_fold(1_usize, usize::checked_mul)
                .filter(|numbers| *numbers <= rest.len())
                .ok_or_else(|| self.wrong(pixels, format!("has too few numbers for the grid {grid:?}")))?;
            let (own, others) = rest.split_at(numbers);
            rest = others;
            pictures.push(PictureInput { pixels: own.into(), grid: [slots, height, width] });
        }
        if rest.is_empty() { Ok(pictures) } else { Err(self.wrong(pixels, "has more numbers than the grids say")) }
    }

    /// Runs of placeholder tokens become spans; a video has one run per slot.
    fn typed(
        &self,
        ids: Vec<u32>,
        config: &Config,
        next: &mut dyn FnMut(bool) -> Option<PictureInput>,
    ) -> Result<PolicyInput> {
        PolicyInput::placed(ids, config, next).map_err(|reason| self.wrong("input_ids", reason))
    }
}

fn description(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|source| PolicyError::io(path, source))?;
    serde_json::from_str(&text).map_err(|error| PolicyError::file(path.display().to_string(), error.to_string()))
}
