//! A video as it is named: a folder of frames or an animated file, and the rate at which its frames were recorded.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::{DatasetError, Result};

/// A video by its place; frames are read when they are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    path: PathBuf,
    fps: Option<f64>,
}

impl Video {
    /// Takes the path of a folder or a file that is there; `place` names in errors where it was written.
    ///
    /// # Errors
    /// When nothing lies there, or `fps` (frames a second) is not above 0.
    pub fn open(path: &Path, fps: Option<f64>, place: &str) -> Result<Self> {
        if let Some(fps) = fps.filter(|fps| !fps.is_finite() || *fps <= 0.0) {
            return Err(DatasetError::row(place, format!("`fps` is {fps}; frames a second must be above 0")));
        }
        let cannot = |error| DatasetError::row(place, format!("cannot read the video {}: {error}", path.display()));
        std::fs::metadata(path).map_err(cannot)?;
        Ok(Self { path: std::path::absolute(path).map_err(cannot)?, fps })
    }

    /// The folder or file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Frames a second as they were recorded, where the data set says so.
    pub fn fps(&self) -> Option<f64> {
        self.fps
    }

    /// How a query file names it.
    pub fn to_json(&self) -> Value {
        let path = self.path.to_string_lossy();
        self.fps.map_or_else(|| json!(path), |fps| json!({"path": path, "fps": fps}))
    }
}
