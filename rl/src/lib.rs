//! The training loop, evaluation and the command line of Sapo.

pub mod advantage;
pub mod algorithm;
pub mod asking;
pub mod config;
pub mod error;
pub mod eval;
pub mod metrics;
pub mod optimizer;
pub mod phase;
pub mod report;
pub mod run_dir;
pub mod stats;
pub mod summary;
pub mod train;
pub mod update;
