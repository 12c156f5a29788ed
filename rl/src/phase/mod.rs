//! The phases of a run, one file each.

pub mod curate;
pub mod rl;
pub mod sft;
