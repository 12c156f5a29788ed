//! The training loop, evaluation and the command line of Sapo.

pub mod advantage;
pub mod algorithm;
pub mod asking;
pub mod checkpoint;
pub mod config;
pub mod device;
pub mod error;
pub mod eval;
pub mod judging;
pub mod memory;
pub mod metrics;
pub mod optimizer;
pub mod phase;
pub mod plan;
pub mod progress;
mod reopen;
pub mod report;
pub mod run;
pub mod run_dir;
pub mod scoring;
pub mod serve;
pub mod served;
pub mod stats;
pub mod summary;
pub mod tensorboard;
pub mod train;
pub mod update;
