//! Reading a run directory that may still be written: what is absent or torn is noted, never fatal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sapo_datasets::Picture;
use serde_json::Value;

use crate::browse::prompt_of;
use crate::report_error::ReportError;

/// Pictures above this size are carried smaller, in bytes.
const PICTURE_BYTES: usize = 16 << 10;
/// The longer side of those, in pixels.
const SIDE: u32 = 384;
/// What all pictures of a page may weigh together, in bytes.
const ALL_PICTURES_BYTES: usize = 3 << 19;

/// The results of an evaluation, in its folder.
const RESULTS: &str = "results.json";
/// Where the queries of a folder are recorded.
const QUERIES: &str = "queries.jsonl";

/// A run directory or an evaluation's folder, and notes about what it lacks.
#[derive(Debug)]
pub(super) struct RunFiles {
    dir: PathBuf,
    /// Where queries and pictures are: an evaluation within a folder has those of the folder.
    records: PathBuf,
    /// Folders of evaluations within it.
    evaluations: Vec<String>,
    /// Whether it is an evaluation alone.
    pub(super) is_evaluation: bool,
    /// What could not be read, and why.
    pub(super) missing: Vec<String>,
}

/// A query as the run recorded it.
#[derive(Clone, Debug, Default)]
pub(super) struct QueryRecord {
    pub(super) prompt: String,
    pub(super) images: Vec<String>,
    pub(super) ground_truth: Option<String>,
}

impl RunFiles {
    /// Looks at what a folder is.
    ///
    /// # Errors
    /// When it is neither a run directory nor that of an evaluation.
    pub(super) fn open(dir: &Path) -> Result<Self, ReportError> {
        let is_run = ["run.json", "metrics.jsonl", "eval"].iter().any(|name| dir.join(name).exists());
        let with_results = |at: &Path| -> Vec<String> {
            sorted_entries(at).into_iter().filter(|name| at.join(name).join(RESULTS).is_file()).collect()
        };
        let evaluations: Vec<String> = match is_run {
            true => sorted_entries(&dir.join("eval")).into_iter().map(|name| format!("eval/{name}")).collect(),
            false if dir.join(RESULTS).is_file() => vec![".".to_owned()],
            false => with_results(dir),
        };
        if !is_run && evaluations.is_empty() {
            return Err(ReportError::NoRun(dir.to_owned()));
        }
        let around = [dir.to_owned(), dir.join(".."), dir.join("../..")];
        let records = around.into_iter().find(|place| place.join(QUERIES).is_file()).filter(|_| !is_run);
        let records = records.unwrap_or_else(|| dir.to_owned());
        Ok(Self { dir: dir.to_owned(), records, evaluations, is_evaluation: !is_run, missing: Vec::new() })
    }

    /// The folders of its evaluations, as they are found from it.
    pub(super) fn evaluations(&self) -> Vec<String> {
        self.evaluations.clone()
    }

    fn path(&self, name: &str) -> PathBuf {
        if name == QUERIES { self.records.join(name) } else { self.dir.join(name) }
    }

    /// The text of a file; `why` says what the report lacks without it.
    pub(super) fn text(&mut self, name: &str, why: Option<&str>) -> Option<String> {
        match std::fs::read_to_string(self.path(name)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.missing.extend(why.map(|why| format!("{name} is not there (yet): {why}.")));
                None
            }
            Err(error) => {
                self.missing.push(format!("{name} cannot be read: {error}."));
                None
            }
        }
    }

    /// A JSON file.
    pub(super) fn json(&mut self, name: &str, why: Option<&str>) -> Option<Value> {
        let text = self.text(name, why)?;
        serde_json::from_str(&text).map_err(|error| self.missing.push(format!("{name} is not JSON: {error}."))).ok()
    }

    /// Hands every line of a JSON-lines file over; a torn last line is passed over, others are noted.
    pub(super) fn lines(&mut self, name: &str, why: Option<&str>, mut take: impl FnMut(Value)) {
        let file = match File::open(self.path(name)) {
            Ok(file) => file,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    self.missing.push(format!("{name} cannot be read: {error}."));
                } else if let Some(why) = why {
                    self.missing.push(format!("{name} is not there (yet): {why}."));
                }
                return;
            }
        };
        let mut bad: Vec<usize> = Vec::new();
        let mut last = 0;
        for (index, line) in BufReader::new(file).split(b'\n').enumerate() {
            let Ok(line) = line else {
                bad.push(index + 1);
                break;
            };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            last = index + 1;
            match serde_json::from_slice(&line) {
                Ok(value) => take(value),
                Err(_) => bad.push(index + 1),
            }
        }
        // A run that is still going may be in the middle of its last line.
        bad.retain(|line| *line != last);
        if let Some(first) = bad.first() {
            let count = if bad.len() == 1 { "1 line is".to_owned() } else { format!("{} lines are", bad.len()) };
            self.missing.push(format!("{name}: {count} not JSON and left out; the first is line {first}."));
        }
    }

    /// Names of the entries of a folder, sorted.
    pub(super) fn entries(&self, folder: &str) -> Vec<String> {
        sorted_entries(&self.dir.join(folder))
    }

    /// The named queries, by id.
    pub(super) fn queries(&mut self, wanted: &BTreeSet<String>) -> BTreeMap<String, QueryRecord> {
        let mut found = BTreeMap::new();
        if wanted.is_empty() {
            return found;
        }
        self.lines(QUERIES, Some("prompts and pictures cannot be shown"), |line| {
            let id = line["id"].as_str().unwrap_or_default();
            if wanted.contains(id) {
                found.insert(id.to_owned(), query_record(&line));
            }
        });
        found
    }

    /// The named pictures as data URIs, as many as a page should carry.
    pub(super) fn pictures(&mut self, wanted: &BTreeSet<String>) -> BTreeMap<String, String> {
        let (mut found, mut bytes, mut left_out, mut absent) = (BTreeMap::new(), 0, 0, 0);
        for hash in wanted {
            match self.picture(hash) {
                None => absent += 1,
                Some(picture) => {
                    let picture = smaller(&picture).or_else(|| picture.for_browsers().ok()).unwrap_or(picture);
                    if bytes + picture.bytes().len() > ALL_PICTURES_BYTES {
                        left_out += 1;
                        continue;
                    }
                    bytes += picture.bytes().len();
                    let data = STANDARD.encode(picture.bytes());
                    found.insert(hash.clone(), format!("data:{};base64,{data}", picture.media_type()));
                }
            }
        }
        if absent > 0 {
            self.missing.push(format!("images/: {absent} pictures are not there, or not what their names say."));
        }
        if left_out > 0 {
            self.missing
                .push(format!("{left_out} pictures are left out to keep the page small; see images/, or `sapo view`."));
        }
        found
    }

    /// A picture whose bytes have the hash that names it: a record cannot make the page carry any other file.
    fn picture(&self, hash: &str) -> Option<Picture> {
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        Picture::extensions().chain(["jpeg"]).find_map(|extension| {
            let bytes = std::fs::read(self.records.join("images").join(format!("{hash}.{extension}"))).ok()?;
            Picture::from_bytes(bytes, hash).ok().filter(|picture| picture.sha256() == hash)
        })
    }
}

fn sorted_entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// A large picture as a page carries it; `None` where it is small, or cannot be made smaller.
fn smaller(picture: &Picture) -> Option<Picture> {
    if picture.bytes().len() <= PICTURE_BYTES {
        return None;
    }
    let pixels = picture.decode().ok()?;
    let (width, height) = pixels.dimensions();
    let scale = f64::from(SIDE) / f64::from(width.max(height));
    let side = |pixels: u32| ((f64::from(pixels) * scale.min(1.0)).round() as u32).max(1);
    let small = image::imageops::thumbnail(&pixels, side(width), side(height));
    let mut bytes = std::io::Cursor::new(Vec::new());
    small.write_to(&mut bytes, image::ImageFormat::Jpeg).ok()?;
    let small = Picture::from_bytes(bytes.into_inner(), "a smaller picture").ok()?;
    (small.bytes().len() < picture.bytes().len()).then_some(small)
}

fn query_record(line: &Value) -> QueryRecord {
    let images = line["images"].as_array().into_iter().flatten().filter_map(|hash| hash.as_str().map(str::to_owned));
    let truth = match &line["ground_truth"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    QueryRecord { prompt: prompt_of(&line["messages"]), images: images.collect(), ground_truth: truth }
}
