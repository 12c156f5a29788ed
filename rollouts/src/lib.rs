//! Turning queries into groups of rollouts.
//!
//! A rollout is the token record of one sample; text is a view of it. No reward is known here.

pub mod engine;
pub mod local;
pub mod request;
pub mod rollout;
pub mod sampler;
pub mod transcript;

pub use engine::{Engine, EngineError, Event, sample_all};
pub use local::LocalEngine;
pub use request::{Request, Sampling, seed_of};
pub use rollout::{Rollout, Turn};
pub use transcript::transcript;
