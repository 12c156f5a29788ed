//! The training loop, evaluation and the command line of Sapo.

pub mod advantage;
pub mod algorithm;
pub mod asking;
pub mod checking;
pub mod checkpoint;
mod cli;
pub mod config;
pub mod device;
pub mod error;
pub mod eval;
pub mod failing;
pub mod judging;
pub mod ledger;
pub mod memory;
pub mod metrics;
pub mod optimizer;
pub mod phase;
pub mod plan;
pub mod progress;
mod reopen;
pub mod report;
pub mod rescoring;
pub mod reward_metrics;
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

pub use cli::main;
pub use sapo_rewards::Kinds;
