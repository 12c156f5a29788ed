//! Qwen3-VL on burn, and everything between messages and tensors.
//!
//! No dataset, no reward and no network lives here.

pub mod attention;
pub mod batch;
pub mod build;
pub mod config;
pub mod convert;
pub mod decode;
pub mod error;
pub mod file;
pub mod freeze;
pub mod golden;
pub mod init;
pub mod input;
pub mod layers;
pub mod log_prob;
pub mod lora;
pub mod moe;
pub mod param;
pub mod parity;
pub mod policy;
pub mod positions;
pub mod preset;
pub mod processor;
pub mod published;
pub mod rope;
pub mod sizes;
pub mod text;
pub mod trace;
pub mod vision;
pub mod weights;

pub use batch::{Batch, Group, Origin};
pub use config::Config;
pub use decode::Decoding;
pub use error::{PolicyError, Result};
pub use freeze::Part;
pub use input::{Completion, ImageSpan, PictureInput, PolicyInput};
pub use log_prob::ScoredRows;
pub use lora::LoraConfig;
pub use policy::{ParamGradients, Policy};
pub use preset::Model;
pub use trace::Trace;
