//! Qwen3-VL on burn, and everything between messages and tensors.
//!
//! No dataset, no reward and no network lives here.

pub mod error;
pub mod input;

pub use error::{PolicyError, Result};
pub use input::{ImageSpan, PictureInput, PolicyInput};
