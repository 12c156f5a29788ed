//! Qwen3-VL on burn, and everything between messages and tensors.
//!
//! No dataset, no reward and no network lives here. Modules stand on each other in this order: [`error`], [`format`],
//! [`part`], [`tensor`]; [`config`]; [`nn`], [`input`]; `tape`; [`attention`], [`vision`], [`text`]; [`policy`]; what reads,
//! decodes, scores and adapts a policy; [`processor`], [`preset`] and [`golden`] on top.
//! `gpu` has the kernels of a GPU, for operations of [`nn`] and log-probs.

pub mod adapt;
pub mod attention;
mod bucket;
pub mod build;
pub mod cache;
pub mod config;
pub mod convert;
pub mod decode;
mod drawing;
pub mod error;
pub mod file;
pub mod format;
pub mod golden;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod hub;
mod init;
pub mod input;
pub mod log_prob;
pub mod lora;
mod nearest;
pub mod nn;
pub mod part;
pub mod policy;
pub mod preset;
pub mod processor;
pub mod sizes;
mod tape;
pub mod tensor;
pub mod text;
pub mod trace;
mod vector;
pub mod vision;
pub mod weights;

pub use cache::{Cache, Context};
pub use config::Config;
pub use decode::{Decoding, Fed, Shown, shown};
pub use drawing::{Chance, Drawn, Draws, Found, Logits};
pub use error::{PolicyError, Result};
pub use format::{TensorShape, WeightFormat};
pub use input::{Batch, Completion, Group, ImageSpan, Origin, PictureInput, PolicyInput};
pub use log_prob::{Divergence, LogSoftmax, ScoredRows, Slopes, Teacher};
pub use lora::LoraConfig;
pub use nearest::nearest;
pub use part::Part;
pub use policy::{ParamGradients, Policy};
pub use preset::Model;
pub use tensor::to_vec;
pub use trace::Trace;
pub use vector::vector_units;
