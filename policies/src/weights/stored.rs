//! The weights of a checkpoint on disk: every tensor is found by its key, taken once, and read when it is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use super::header::{Entry, read_header};
use super::index::{INDEX_FILE, SINGLE_FILE, read_index};
use super::source::{Source, Stored};
use crate::error::{PolicyError, Result};
use crate::format::{TensorShape, WeightFormat};

/// Numbers that are compared at once.
const COMPARED: usize = 1 << 18;

/// Tensors of one file or of several shards.
#[derive(Debug)]
pub(crate) struct StoredWeights<'a> {
    /// Names the whole in errors.
    place: String,
    files: Vec<(String, Source<'a>)>,
    tensors: BTreeMap<String, (usize, Entry)>,
}

/// A tensor that was found.
#[derive(Debug)]
pub(crate) struct Found {
    key: String,
    file: usize,
    entry: Entry,
}

impl Found {
    /// Numbers in it.
    pub(crate) fn numbers(&self) -> usize {
        self.entry.bytes as usize / self.entry.stored.bytes()
    }

    /// Bytes that it takes in its file.
    pub(crate) fn bytes(&self) -> u64 {
        self.entry.bytes
    }
}

impl<'a> StoredWeights<'a> {
    /// Opens the weights of a folder and checks every header, and the index where there is one.
    ///
    /// # Errors
    /// Names the file and the key.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let mut weights = Self { place: folder.display().to_string(), files: Vec::new(), tensors: BTreeMap::new() };
        let (single, index_path) = (folder.join(SINGLE_FILE), folder.join(INDEX_FILE));
        if single.is_file() {
            weights.add_file(&single, &|_| String::new())?;
            return Ok(weights);
        }
        if !index_path.is_file() {
            return Err(PolicyError::file(
                &weights.place,
                format!("holds no weights: neither {SINGLE_FILE} nor {INDEX_FILE} (other formats are not read)"),
            ));
        }
        let index = index_path.display().to_string();
        for (file, keys) in read_index(&index_path)? {
            let path = folder.join(&file);
            let first = keys.first().map_or("", String::as_str);
            if !path.is_file() {
                let reason = format!("is said to be in `{file}`, which is not there ({} keys are)", keys.len());
                return Err(PolicyError::tensor(index, first, reason));
            }
            weights.add_file(&path, &|key| {
                if keys.contains(key) { String::new() } else { format!("is not said to be here by {INDEX_FILE}") }
            })?;
            let here = weights.files.len() - 1;
            let held = |key: &&String| weights.tensors.get(key.as_str()).is_some_and(|(file, _)| *file == here);
            if let Some(absent) = keys.iter().find(|key| !held(key)) {
                return Err(PolicyError::tensor(index, absent, format!("is said to be in `{file}`, but is not")));
            }
        }
        Ok(weights)
    }

    /// The weights in the bytes of one file.
    ///
    /// # Errors
    /// As [`StoredWeights::open`].
    pub(crate) fn in_memory(bytes: &'a [u8], file: &str) -> Result<Self> {
        let mut weights = Self { place: file.to_owned(), files: Vec::new(), tensors: BTreeMap::new() };
        weights.add(file.to_owned(), Source::Memory(bytes), &|_| String::new())?;
        Ok(weights)
    }

    fn add_file(&mut self, path: &Path, refuse: &dyn Fn(&str) -> String) -> Result<()> {
        let io = |source| PolicyError::io(path, source);
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        self.add(path.display().to_string(), Source::File(file, size), refuse)
    }

    /// Adds the tensors of a file; `refuse` gives the reason why a key must not be there, or nothing.
    fn add(&mut self, name: String, source: Source<'a>, refuse: &dyn Fn(&str) -> String) -> Result<()> {
        let number = self.files.len();
        for (key, entry) in read_header(&source, &name)? {
            // What stands twice is told before what the index says of it.
            if let Some((other, _)) = self.tensors.get(&key) {
                return Err(PolicyError::tensor(name, key, format!("stands in {} too", self.files[*other].0)));
            }
            let reason = refuse(&key);
            if !reason.is_empty() {
                return Err(PolicyError::tensor(name, key, reason));
            }
            self.tensors.insert(key, (number, entry));
        }
        self.files.push((name, source));
        Ok(())
    }

    /// The shape of a tensor that has not been taken.
    pub(crate) fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|(_, entry)| entry.shape.as_slice())
    }

    /// Bytes of all tensors that have not been taken.
    pub(crate) fn bytes(&self) -> u64 {
        self.tensors.values().map(|(_, entry)| entry.bytes).sum()
    }

    /// The format that holds every number of every tensor: bf16 when all are, else f32.
    pub(crate) fn format(&self) -> WeightFormat {
        let all = self.tensors.values().all(|(_, entry)| entry.stored == Stored::Bf16);
        if all { WeightFormat::Bf16 } else { WeightFormat::F32 }
    }

    /// Takes the tensor `key`, which must have `shape`.
    ///
    /// # Errors
    /// When it is missing or has another shape.
    pub(crate) fn take(&mut self, key: &str, shape: &[usize]) -> Result<Found> {
        self.check(key, shape)?;
        let (file, entry) = self.tensors.remove(key).expect("it was checked to be there");
        Ok(Found { key: key.to_owned(), file, entry })
    }

    fn check(&self, key: &str, shape: &[usize]) -> Result<()> {
        let (file, entry) = self.tensors.get(key).ok_or_else(|| {
            PolicyError::tensor(&self.place, key, "is missing; the checkpoint is incomplete or of another model")
        })?;
        if entry.shape == shape {
            return Ok(());
        }
        let reason = format!("has shape {:?}, but the config asks for {shape:?}", entry.shape);
        Err(PolicyError::tensor(&self.files[*file].0, key, reason))
    }

    /// Every one of `tensors` must be there with its shape, and nothing else.
    ///
    /// # Errors
    /// Names the first tensor that is not as it must be.
    pub(crate) fn check_all(&self, tensors: &[TensorShape]) -> Result<()> {
        let mut names = BTreeSet::new();
        for TensorShape { name, shape } in tensors {
            self.check(name, shape)?;
            names.insert(name.as_str());
        }
        self.refuse_unexpected(|key| names.contains(key))
    }

    /// A tied head is the embedding table: a copy of it beside the table is left out, another matrix is refused.
    ///
    /// # Errors
    /// When the head is not the table.
    pub(crate) fn drop_tied(&mut self, head: &str, table: &str) -> Result<()> {
        let Some((file, entry)) = self.tensors.get(head) else { return Ok(()) };
        let Some((table_file, table_entry)) = self.tensors.get(table) else { return Ok(()) };
        let mut same = (entry.stored, &entry.shape) == (table_entry.stored, &table_entry.shape);
        let mut read = 0;
        while same && read < entry.bytes {
            let piece = (entry.bytes - read).min(COMPARED as u64) as usize;
            let bytes = |file: usize, entry: &Entry| -> Result<Vec<u8>> {
                let mut bytes = vec![0; piece];
                let (name, source) = &self.files[file];
                source.read(&mut bytes, entry.start + read).map_err(|error| PolicyError::io(name, error))?;
                Ok(bytes)
            };
            same = bytes(*file, entry)? == bytes(*table_file, table_entry)?;
            read += piece as u64;
        }
        if !same {
            let reason = format!("is not `{table}`, though `tie_word_embeddings` says so; set that to false");
            return Err(PolicyError::tensor(&self.files[*file].0, head, reason));
        }
        self.tensors.remove(head);
        Ok(())
    }

    /// All numbers of a tensor.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn f32s(&self, found: &Found) -> Result<Vec<f32>> {
        self.f32s_in(found, 0, found.numbers())
    }

    /// `count` numbers of a tensor, from `first` on.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn f32s_in(&self, found: &Found, first: usize, count: usize) -> Result<Vec<f32>> {
        let Entry { stored, start, .. } = found.entry;
        let mut values = vec![0.0; count];
        let at = start + (first * stored.bytes()) as u64;
        self.told(found, self.files[found.file].1.read_f32(stored, at, &mut values))?;
        Ok(values)
    }

    /// All numbers of a tensor as the bits of bf16, rounded where they are stored in another format.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn bf16_bits(&self, found: &Found) -> Result<Vec<u16>> {
        let Entry { stored, start, .. } = found.entry;
        let mut bits = vec![0; found.numbers()];
        self.told(found, self.files[found.file].1.read_bf16(stored, start, &mut bits))?;
        Ok(bits)
    }

    fn told(&self, found: &Found, read: std::io::Result<()>) -> Result<()> {
        read.map_err(|error| {
            let file = &self.files[found.file].0;
            let reason = match error.kind() {
                // What it holds is what is wrong with it.
                std::io::ErrorKind::InvalidData => error.to_string(),
                _ => format!("cannot be read: {error}"),
            };
            PolicyError::tensor(file, &found.key, reason)
        })
    }

    /// Everything must have been taken.
    ///
    /// # Errors
    /// Names the first tensor that was not.
    pub(crate) fn all_taken(&self) -> Result<()> {
        self.refuse_unexpected(|_| false)
    }

    fn refuse_unexpected(&self, expected: impl Fn(&str) -> bool) -> Result<()> {
        let mut unexpected = self.tensors.iter().filter(|(key, _)| !expected(key));
        let Some((key, (file, _))) = unexpected.next() else { return Ok(()) };
        let reason = match unexpected.count() {
            0 => "is not part of this model".to_owned(),
            more => format!("is not part of this model ({more} more are not)"),
        };
        Err(PolicyError::tensor(&self.files[*file].0, key, reason))
    }
}
