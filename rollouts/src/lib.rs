//! Turning queries into groups of rollouts.
//!
//! A rollout is the token record of one sample; text is a view of it. No reward is known here.

pub mod local;
pub mod request;
pub mod rollout;
pub mod sampler;

pub use local::LocalEngine;
pub use request::{Request, Sampling, seed_of};
pub use rollout::{Group, Rollout};
