//! A video as it is named: a folder of frames, a list of them, or an animated file, and the rate at which its frames
//! were recorded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::{DatasetError, Result};

/// A video by its place; frames are read when they are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    path: PathBuf,
    frames: Option<Arc<[PathBuf]>>,
    fps: Option<f64>,
}

impl Video {
    /// Takes the path of a folder or a file that is there; `place` names in errors where it was written.
    ///
    /// # Errors
    /// When nothing lies there, or `fps` (frames a second) is not above 0.
    pub fn open(path: &Path, fps: Option<f64>, place: &str) -> Result<Self> {
        check_rate(fps, place)?;
        Ok(Self { path: found(path, place)?, frames: None, fps })
    }

    /// Takes pictures that are the frames, in order.
    ///
    /// # Errors
    /// When there is none, one is not there, or `fps` (frames a second) is not above 0.
    pub fn of_frames(frames: &[PathBuf], fps: Option<f64>, place: &str) -> Result<Self> {
        check_rate(fps, place)?;
        let frames: Vec<PathBuf> = frames.iter().map(|frame| found(frame, place)).collect::<Result<_>>()?;
        let path = frames.first().cloned().ok_or_else(|| DatasetError::row(place, "a video without frames"))?;
        Ok(Self { path, frames: Some(frames.into()), fps })
    }

    /// The folder or file; where the frames are listed, the first of them.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The frames in order, where the data set lists them.
    pub fn frames(&self) -> Option<&[PathBuf]> {
        self.frames.as_deref()
    }

    /// Frames a second as they were recorded, where the data set says so.
    pub fn fps(&self) -> Option<f64> {
        self.fps
    }

    /// How a query file names it.
    pub fn to_json(&self) -> Value {
        match (&self.frames, self.fps) {
            (Some(frames), Some(fps)) => json!({"frames": frames, "fps": fps}),
            (Some(frames), None) => json!({"frames": frames}),
            (None, Some(fps)) => json!({"path": self.path.to_string_lossy(), "fps": fps}),
            (None, None) => json!(self.path.to_string_lossy()),
        }
    }
}

fn check_rate(fps: Option<f64>, place: &str) -> Result<()> {
    match fps.filter(|fps| !fps.is_finite() || *fps <= 0.0) {
        Some(fps) => Err(DatasetError::row(place, format!("`fps` is {fps}; frames a second must be above 0"))),
        None => Ok(()),
    }
}

fn found(path: &Path, place: &str) -> Result<PathBuf> {
    let absolute = std::fs::metadata(path).and_then(|_| std::path::absolute(path));
    absolute.map_err(|error| DatasetError::row(place, format!("cannot read the video {}: {error}", path.display())))
}
