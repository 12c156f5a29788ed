//! A run that is looked at: what of it changes, its page, and where its files are.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use sapo_datasets::Picture;

use crate::error::{Result, RunError};
use crate::report;

/// Files that change when there is something new.
const WATCHED: [&str; 4] = ["metrics.jsonl", "run.json", "summary.json", "results.json"];
/// What a page that stands alone may load, and what one that is served may.
const ALONE: &str = "default-src 'none'; img-src data:";
const SERVED: &str = "default-src 'none'; connect-src 'self'; img-src 'self' data:";

/// A run's folder, and the page that was made of it last.
pub(super) struct Run {
    pub(super) folder: PathBuf,
    pub(super) name: String,
    page: Mutex<Option<(State, String)>>,
}

/// What the watched files look like: their lengths, and when they were written.
pub(super) type State = [Option<(u64, SystemTime)>; WATCHED.len()];

impl Run {
    /// Looks at a folder.
    ///
    /// # Errors
    /// When it is neither a run nor an evaluation.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let there = ["run.json", "metrics.jsonl", "results.json", "eval"].iter().any(|name| folder.join(name).exists());
        if !there {
            let reason = "is neither a run nor an evaluation: run.json, metrics.jsonl and results.json are missing";
            return Err(RunError::User(format!("{} {reason}", folder.display())));
        }
        let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let name = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { folder: folder.to_owned(), name, page: Mutex::new(None) })
    }

    /// What its files look like now.
    pub(super) fn state(&self) -> State {
        WATCHED.map(|name| {
            let facts = std::fs::metadata(self.folder.join(name)).ok()?;
            Some((facts.len(), facts.modified().ok()?))
        })
    }

    /// Its report as it is now; made again where a file has changed. `extra` is put at the end of the body.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn page(&self, extra: &str) -> Result<String> {
        let state = self.state();
        let mut kept = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, page)) = &*kept
            && *known == state
        {
            return Ok(page.clone());
        }
        let page = report::render(&report::build(&self.folder)?)?;
        let page = page.replacen(ALONE, SERVED, 1).replacen("</body>", &format!("{extra}</body>"), 1);
        *kept = Some((state, page.clone()));
        Ok(page)
    }

    /// A picture of the run by its hash, as a browser shows it.
    pub(super) fn picture(&self, hash: &str) -> Option<Picture> {
        if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let around = [self.folder.clone(), self.folder.join(".."), self.folder.join("../..")];
        let named = |folder: &PathBuf, extension| folder.join("images").join(format!("{hash}.{extension}"));
        let mut paths = around.iter().flat_map(|folder| Picture::extensions().map(move |one| named(folder, one)));
        let bytes = paths.find_map(|path| std::fs::read(path).ok())?;
        Picture::from_bytes(bytes, hash).ok()?.for_browsers().ok()
    }
}
