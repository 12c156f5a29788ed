//! A checkpoint's processor against golden cases: chat texts and token ids, pixels, sizes, frames and timestamps.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::case::Case;
use super::difference::{Difference, Parity, Tolerance};
use crate::config::Config;
use crate::error::{PolicyError, Result};
use crate::input::PictureInput;
use crate::processor::{Clip, Processor, VideoProcessor, decode, smart_resize, video_smart_resize};

/// How far pixels may be apart, as 8-bit values.
const LEVELS: f32 = 1.0;
/// How far normalised pixels may be apart where their 8-bit values are equal.
const NORMALISED: f32 = 1e-6;
/// Endings of a picture's file, beside the tensors that are named after it.
const PICTURES: [&str; 6] = ["png", "jpg", "jpeg", "webp", "gif", "bmp"];

/// Runs every case of one file: a `NAME.safetensors` with pixels, or a `NAME.json` with chat texts, token ids, sizes or
/// frames.
///
/// # Errors
/// When the file holds no golden case, or a picture that it names is not there.
pub fn check_processor(processor: &Processor, file: &Path) -> Result<Vec<Parity>> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if file.extension().is_some_and(|ending| ending == "safetensors") {
        return pixels(processor, folder, &Case::open(file)?);
    }
    let mut fields = Fields::open(file)?;
    let has = |fields: &Fields, names: &[&str]| names.iter().any(|name| fields.left.contains_key(*name));
    if has(&fields, &["rendered", "tokenized"]) {
        return chat(processor, &mut fields, &name);
    }
    if has(&fields, &["source_fps", "sampled_indices", "sampling_table"]) {
        let found = clip(folder, None, &fields);
        return Ok(vec![frames(&VideoSettings::of(processor.videos(), &fields)?, found, fields, &name)?]);
    }
    if has(&fields, &["image", "video"]) {
        return Ok(vec![sizes(&mut fields, &name)?]);
    }
    Err(fields.wrong(
        "is not a golden case: neither chat texts (`rendered`, `tokenized`), nor sizes (`image`, `video`), nor frames (`sampled_indices`, `sampling_table`)",
    ))
}

/// Compares what stands beside a model's case with what the processor makes of it: the text of its messages, and where
/// there is no video (whose rate is not told) the token ids of that text with its pictures' placeholders.
///
/// # Errors
/// When the case does not fit the model.
pub fn check_prompt(processor: &Processor, config: &Config, case: &Case) -> Result<Vec<Difference>> {
    let (messages, texts) = (&case.described["messages"], &case.described["text"]);
    let (Some(first), Some(texts)) = (messages.get(0), texts.as_array()) else { return Ok(Vec::new()) };
    let conversations = if first.is_array() { messages.as_array().cloned() } else { Some(vec![messages.clone()]) };
    let mut found = parity(&case.name);
    let ours = |conversation: &Value| processor.template().render_with(conversation, &Map::new());
    let rendered: Result<Vec<String>> = conversations.iter().flatten().map(ours).collect();
    let golden: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
    found.text("text", rendered.map(|all| all.join("\0")), &golden.join("\0"));
    let rows = case.rows(config)?;
    if !rows.videos.contains(&true) && golden.len() == rows.inputs.len() {
        let (mut ours, mut expected) = (Vec::new(), Vec::new());
        for (text, input) in golden.iter().zip(&rows.inputs) {
            let mut spans = input.spans().iter();
            for id in processor.tokenizer().encode(text)? {
                let times = if id == config.image_token_id { spans.next().map_or(1, |span| span.len) } else { 1 };
                ours.extend(std::iter::repeat_n(i64::from(id), times));
            }
            expected.extend(input.ids().iter().map(|id| i64::from(*id)));
        }
        found.ints("input_ids", &ours, &expected);
    }
    Ok(found.differences)
}

/// The fields of a JSON object that nothing was compared with yet.
struct Fields {
    place: String,
    left: Map<String, Value>,
}

impl Fields {
    fn open(file: &Path) -> Result<Self> {
        let place = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|source| PolicyError::io(file, source))?;
        let value = serde_json::from_str(&text).map_err(|error| PolicyError::file(&place, error.to_string()))?;
        Self::of(place, value)
    }

    fn of(place: String, value: Value) -> Result<Self> {
        match value {
            Value::Object(left) => Ok(Self { place, left }),
            _ => Err(PolicyError::file(place, "is not a JSON object")),
        }
    }

    fn wrong(&self, reason: impl Into<String>) -> PolicyError {
        PolicyError::file(&self.place, reason)
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.left.shift_remove(name)
    }

    fn needed(&mut self, name: &str) -> Result<Value> {
        self.take(name).ok_or_else(|| self.wrong(format!("has no `{name}`")))
    }

    fn whole(&mut self, name: &str) -> Result<usize> {
        let value = self.needed(name)?;
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| self.wrong(format!("`{name}` is not a whole number")))
    }

    fn ints(&mut self, name: &str) -> Result<Vec<i64>> {
        let value = self.needed(name)?;
        serde_json::from_value(value).map_err(|_| self.wrong(format!("`{name}` is not a list of whole numbers")))
    }

    /// The rows of a list, each an object; `name` and the row's number name them in errors.
    fn rows(&mut self, name: &str) -> Result<Vec<Self>> {
        let Value::Array(rows) = self.needed(name)? else {
            return Err(self.wrong(format!("`{name}` is not a list")));
        };
        let row = |(index, row)| Self::of(format!("{}: `{name}` row {index}", self.place), row);
        rows.into_iter().enumerate().map(row).collect()
    }

    /// Names of what was not compared.
    fn names(&self, before: &str) -> impl Iterator<Item = String> {
        self.left.keys().map(move |name| format!("{before}{name}"))
    }
}

fn parity(case: impl Into<String>) -> Parity {
    Parity { case: case.into(), differences: Vec::new(), left: Vec::new() }
}

impl Parity {
    /// Compares whole numbers one by one.
    fn ints(&mut self, tensor: &str, ours: &[i64], golden: &[i64]) {
        let different = ours.iter().zip(golden).position(|(a, b)| a != b);
        let note = match different {
            Some(at) => format!("at {at}: {} and not {}", ours[at], golden[at]),
            None if ours.len() != golden.len() => format!("{} numbers and not {}", ours.len(), golden.len()),
            None => String::new(),
        };
        let floats = |ints: &[i64]| ints.iter().map(|value| *value as f32).collect::<Vec<_>>();
        let mut difference = Difference::of(tensor, &floats(ours), &floats(golden), Tolerance::Exact);
        if !note.is_empty() {
            // A difference in length, or one that floats cannot tell, is one.
            difference.abs = if ours.len() == golden.len() { difference.abs.max(1.0) } else { f32::MAX };
        }
        self.differences.push(Difference { note, ..difference });
    }

    /// Compares texts byte by byte; the difference is the number of bytes that differ.
    fn text(&mut self, tensor: &str, ours: Result<String>, golden: &str) {
        let (abs, note) = match ours {
            Ok(ours) if ours == golden => (0, String::new()),
            Ok(ours) => {
                let same = ours.bytes().zip(golden.bytes()).filter(|(a, b)| a == b).count();
                (ours.len().max(golden.len()).saturating_sub(same).max(1), shown(&ours, golden))
            }
            Err(error) => (golden.len().max(1), error.to_string()),
        };
        let (abs, all) = (abs as f32, golden.len().max(1) as f32);
        let tensor = tensor.to_owned();
        self.differences.push(Difference { tensor, abs, rel: abs / all, tolerance: Tolerance::Exact, note });
    }
}

/// Both texts from a little before their first difference.
fn shown(ours: &str, golden: &str) -> String {
    let at = ours.chars().zip(golden.chars()).take_while(|(a, b)| a == b).count();
    let near = |text: &str| text.chars().skip(at.saturating_sub(12)).take(40).collect::<String>();
    format!("from character {at}: {:?} and not {:?}", near(ours), near(golden))
}

fn chat(processor: &Processor, fields: &mut Fields, file: &str) -> Result<Vec<Parity>> {
    let mut all = Vec::new();
    if fields.left.contains_key("rendered") {
        for (index, mut row) in fields.rows("rendered")?.into_iter().enumerate() {
            let name = row.take("name").and_then(|name| name.as_str().map(str::to_owned));
            let mut case = parity(name.unwrap_or_else(|| format!("rendered {index}")));
            let messages = row.needed("messages")?;
            let options = match row.take("options") {
                None | Some(Value::Null) => Map::new(),
                Some(Value::Object(options)) => options,
                Some(_) => return Err(row.wrong("`options` is not an object")),
            };
            let text = row.needed("text")?;
            let text = text.as_str().ok_or_else(|| row.wrong("`text` is not a text"))?;
            case.text("text", processor.template().render_with(&messages, &options), text);
            if row.left.contains_key("ids") {
                tokens(processor, &mut case, "ids", text, &mut row)?;
            }
            case.left.extend(row.names(""));
            all.push(case);
        }
    }
    if fields.left.contains_key("tokenized") {
        let mut case = parity("tokenized");
        for (index, mut row) in fields.rows("tokenized")?.into_iter().enumerate() {
            let text = row.needed("text")?;
            let text = text.as_str().ok_or_else(|| row.wrong("`text` is not a text"))?;
            tokens(processor, &mut case, &format!("{index}.ids"), text, &mut row)?;
            case.left.extend(row.names(&format!("{index}.")));
        }
        all.push(case);
    }
    let others: Vec<String> = fields.names("").collect();
    if !others.is_empty() {
        all.push(Parity { left: others, ..parity(file) });
    }
    Ok(all)
}

fn tokens(processor: &Processor, case: &mut Parity, tensor: &str, text: &str, row: &mut Fields) -> Result<()> {
    let ours = processor.tokenizer().encode(text)?;
    case.ints(tensor, &ours.into_iter().map(i64::from).collect::<Vec<_>>(), &row.ints("ids")?);
    Ok(())
}

/// Tables of sizes, `null` where the size rule refuses.
fn sizes(fields: &mut Fields, file: &str) -> Result<Parity> {
    let mut case = parity(file);
    if fields.left.contains_key("image") {
        let (mut ours, mut golden) = (Vec::new(), Vec::new());
        for mut row in fields.rows("image")? {
            let [height, width, factor, least, most] = whole(&mut row, SIZE)?;
            ours.extend(numbers(smart_resize(height, width, factor, least, most).ok()));
            golden.extend(result(&mut row)?);
            case.left.extend(row.names("image."));
        }
        case.ints("image", &ours, &golden);
    }
    if let Some(table) = fields.take("video") {
        let mut table = Fields::of(format!("{}: `video`", fields.place), table)?;
        let [time, factor, least, most] = whole(&mut table, ["temporal_factor", "factor", "min_pixels", "max_pixels"])?;
        let (mut ours, mut golden) = (Vec::new(), Vec::new());
        for mut row in table.rows("rows")? {
            let [frames, height, width] = whole(&mut row, ["num_frames", "height", "width"])?;
            let ours_now = video_smart_resize(frames, [height, width], [time, factor], [least, most]);
            ours.extend(numbers(ours_now.ok().map(<(usize, usize)>::from)));
            golden.extend(result(&mut row)?);
            case.left.extend(row.names("video.rows."));
        }
        case.ints("video", &ours, &golden);
        case.left.extend(table.names("video."));
    }
    case.left.extend(fields.names(""));
    Ok(case)
}

const SIZE: [&str; 5] = ["height", "width", "factor", "min_pixels", "max_pixels"];

fn whole<const N: usize>(row: &mut Fields, names: [&str; N]) -> Result<[usize; N]> {
    let mut values = [0; N];
    for (value, name) in values.iter_mut().zip(names) {
        *value = row.whole(name)?;
        if *value == 0 && (name.ends_with("factor") || name.ends_with("pixels")) {
            return Err(row.wrong(format!("`{name}` is 0")));
        }
    }
    Ok(values)
}

fn numbers(size: Option<(usize, usize)>) -> [i64; 2] {
    size.map_or([-1, -1], |(height, width)| [height as i64, width as i64])
}

fn result(row: &mut Fields) -> Result<[i64; 2]> {
    let value = row.needed("result")?;
    let value = if value.is_null() { json!([-1, -1]) } else { value };
    serde_json::from_value(value).map_err(|_| row.wrong("`result` is neither null nor a height and a width"))
}

/// A video processor with what a case says otherwise, and the rate of the source.
struct VideoSettings {
    processor: VideoProcessor,
    source_fps: Option<f64>,
}

impl VideoSettings {
    /// Fields that say how frames are sampled.
    const NAMES: [&str; 7] =
        ["source_fps", "fps", "num_frames", "min_frames", "max_frames", "do_sample_frames", "cap_pixels_per_frame"];

    fn of(usual: &VideoProcessor, fields: &Fields) -> Result<Self> {
        let present = |name: &str| fields.left.get(name).filter(|value| !value.is_null());
        let wrong = |name: &str| fields.wrong(format!("`{name}` cannot be used"));
        let rate = |name: &str| {
            let read = |value: &Value| value.as_f64().filter(|fps| *fps > 0.0).ok_or_else(|| wrong(name));
            present(name).map(read).transpose()
        };
        let count = |name: &str| {
            let read = |value: &Value| value.as_u64().and_then(|count| usize::try_from(count).ok());
            present(name).map(|value| read(value).ok_or_else(|| wrong(name))).transpose()
        };
        let switch = |name: &str| present(name).map(|value| value.as_bool().ok_or_else(|| wrong(name))).transpose();
        let mut processor = usual.clone();
        if let Some(fps) = rate("fps")? {
            (processor.fps, processor.num_frames) = (fps, None);
        }
        processor.num_frames = count("num_frames")?.or(processor.num_frames);
        processor.min_frames = count("min_frames")?.unwrap_or(processor.min_frames);
        processor.max_frames = count("max_frames")?.unwrap_or(processor.max_frames);
        processor.sampled = switch("do_sample_frames")?.unwrap_or(processor.sampled);
        processor.cap_pixels_per_frame = switch("cap_pixels_per_frame")?.unwrap_or(processor.cap_pixels_per_frame);
        Ok(Self { processor, source_fps: rate("source_fps")? })
    }
}

/// The clip of a case: the folder's own frames, or what is named after it.
fn clip(folder: &Path, name: Option<&str>, fields: &Fields) -> Result<Clip> {
    let fps = fields.left.get("source_fps").and_then(Value::as_f64);
    let path = match name {
        None => folder.to_owned(),
        Some(name) if folder.join(name).is_dir() => folder.join(name),
        Some(name) => source(folder, name)?,
    };
    Clip::open(&path, fps)
}

/// Frames and timestamps, of the frames that are there and of a table.
fn frames(settings: &VideoSettings, clip: Result<Clip>, mut fields: Fields, file: &str) -> Result<Parity> {
    let mut case = parity(file);
    let processor = &settings.processor;
    for name in VideoSettings::NAMES {
        drop(fields.take(name));
    }
    let own = ["frames", "sampled_indices", "timestamps"].into_iter().filter(|name| fields.left.contains_key(*name));
    let own: Vec<&str> = own.collect();
    if !own.is_empty() {
        let clip = clip?;
        let fps = settings.source_fps.unwrap_or_else(|| processor.source_fps(&clip));
        let indices = processor.sample(clip.len(), fps);
        for name in own {
            match name {
                "frames" => case.ints(name, &[clip.len() as i64], &[fields.whole(name)? as i64]),
                "timestamps" => stamps(&mut case, name, &processor.timestamps(&indices, fps), &mut fields)?,
                _ => case.ints(name, &signed(&indices), &fields.ints(name)?),
            }
        }
    }
    if fields.left.contains_key("sampling_table") {
        for (index, mut row) in fields.rows("sampling_table")?.into_iter().enumerate() {
            let settings = VideoSettings::of(processor, &row)?;
            for name in VideoSettings::NAMES {
                drop(row.take(name));
            }
            let total = row.whole("total_frames")?;
            let fps = settings.source_fps.ok_or_else(|| row.wrong("has no `source_fps`"))?;
            if total > 1 << 24 {
                return Err(row.wrong("`total_frames` is beyond any video's"));
            }
            let indices = settings.processor.sample(total, fps);
            case.ints(&format!("sampling_table.{index}.indices"), &signed(&indices), &row.ints("indices")?);
            if row.left.contains_key("timestamps") {
                let ours = settings.processor.timestamps(&indices, fps);
                stamps(&mut case, &format!("sampling_table.{index}.timestamps"), &ours, &mut row)?;
            }
            case.left.extend(row.names(&format!("sampling_table.{index}.")));
        }
    }
    case.left.extend(fields.names(""));
    Ok(case)
}

fn stamps(case: &mut Parity, tensor: &str, ours: &[String], fields: &mut Fields) -> Result<()> {
    let golden: Vec<String> = serde_json::from_value(fields.needed("timestamps")?)
        .map_err(|_| fields.wrong("`timestamps` is not a list of texts"))?;
    case.text(tensor, Ok(ours.join("\n")), &golden.join("\n"));
    Ok(())
}

fn signed(indices: &[usize]) -> Vec<i64> {
    indices.iter().map(|index| *index as i64).collect()
}

/// Pixels and grids, those of each picture or video a case.
fn pixels(processor: &Processor, folder: &Path, case: &Case) -> Result<Vec<Parity>> {
    let beside = folder.join(&case.name).with_extension("json");
    let described =
        if beside.is_file() { Fields::open(&beside)? } else { Fields::of(beside.display().to_string(), json!({}))? };
    let mut names: Vec<Option<&str>> =
        case.names().map(|name| name.rsplit_once('.').map(|(picture, _)| picture)).collect();
    names.dedup();
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        let tensor = |tensor: &str| name.map_or_else(|| tensor.to_owned(), |name| format!("{name}.{tensor}"));
        let mut one = parity(name.unwrap_or(&case.name));
        if case.has(&tensor("pixel_values")) || case.has(&tensor("image_grid_thw")) {
            let picture = name.ok_or_else(|| case.wrong("pixel_values", "is not named after a picture's file"))?;
            let file = source(folder, picture)?;
            let bytes = std::fs::read(&file).map_err(|source| PolicyError::io(&file, source))?;
            let ours = processor.images().process(&decode(&bytes, &file.display().to_string())?)?;
            let level = |value: f32, channel: usize| processor.images().level(value, channel);
            compare(&mut one, case, [&tensor("pixel_values"), &tensor("image_grid_thw")], &ours, &level)?;
        }
        if case.has(&tensor("pixel_values_videos")) || case.has(&tensor("video_grid_thw")) {
            let settings = VideoSettings::of(processor.videos(), &described)?;
            let ours = settings.processor.process(&clip(folder, name, &described)?)?.input;
            let level = |value: f32, channel: usize| processor.videos().frames.level(value, channel);
            compare(&mut one, case, [&tensor("pixel_values_videos"), &tensor("video_grid_thw")], &ours, &level)?;
        }
        all.push(one);
    }
    Ok(all)
}

/// The picture file of a name.
fn source(folder: &Path, name: &str) -> Result<PathBuf> {
    let files = PICTURES.iter().map(|ending| folder.join(format!("{name}.{ending}")));
    files.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        let place = folder.join(name).display().to_string();
        PolicyError::file(place, format!("there is no picture of this name ({})", PICTURES.join(", ")))
    })
}

fn compare(
    one: &mut Parity,
    case: &Case,
    [pixels, grid]: [&str; 2],
    ours: &PictureInput,
    level: &dyn Fn(f32, usize) -> f64,
) -> Result<()> {
    // Tensors are named without their picture, which names the case.
    let short = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    if case.has(grid) {
        one.ints(&short(grid), &signed(&ours.grid), case.ints(grid)?);
    }
    if !case.has(pixels) {
        return Ok(());
    }
    let golden = case.floats(pixels)?;
    let tensor = short(pixels);
    if golden.len() != ours.pixels.len() {
        let note = format!("{} numbers and not {}", ours.pixels.len(), golden.len());
        let (abs, rel, tolerance) = (f32::MAX, f32::MAX, Tolerance::Absolute(LEVELS));
        one.differences.push(Difference { tensor, abs, rel, tolerance, note });
        return Ok(());
    }
    let patch = golden.len() / ours.patches().max(1);
    let (mut levels, mut equal) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for (index, (a, b)) in ours.pixels.iter().zip(golden).enumerate() {
        let channel = index % patch / (patch / 3).max(1);
        let (level_a, level_b) = (level(*a, channel), level(*b, channel));
        levels[0].push(level_a as f32);
        levels[1].push(level_b as f32);
        if level_a == level_b {
            equal[0].push(*a);
            equal[1].push(*b);
        }
    }
    let tolerance = Tolerance::Absolute(LEVELS);
    one.differences.push(Difference::of(&format!("{tensor} (8-bit)"), &levels[0], &levels[1], tolerance));
    one.differences.push(Difference::of(&tensor, &equal[0], &equal[1], Tolerance::Absolute(NORMALISED)));
    Ok(())
}
