//! The training loop, evaluation, reports and the command line of Sapo.

pub mod advantage;
pub mod algorithm;
pub mod metrics;
pub mod optimizer;
pub mod update;
