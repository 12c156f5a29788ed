//! Turning a query and its transcript into a score.
//!
//! No tensor is known here. A reward that fails is failed, never 0.

pub mod rubric;
pub mod score;
pub mod verify;

pub use rubric::RubricConfig;
pub use score::{Outcome, PartScore, Score};
