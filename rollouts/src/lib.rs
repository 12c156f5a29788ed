//! Turning queries into groups of rollouts.
//!
//! A rollout is the token record of one sample; text is a view of it. No reward is known here.

pub mod engine;
pub mod local;
pub mod remote;
pub mod request;
pub mod rollout;
pub mod sampler;
pub mod transcript;

pub use engine::{Engine, EngineError, Event, Listener, sample_all};
pub use local::{Load, LocalEngine, Session};
pub use remote::{EngineConfig, EngineKind, RemoteEngine, ServerLogProbs, answering_model};
pub use request::{Follow, Next, Request, Sampling, seed_of};
pub use rollout::{Rollout, Turn};
pub use sampler::Draw;
pub use transcript::transcript;
