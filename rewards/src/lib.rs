//! Turning a query and its transcript into a score.
//!
//! No tensor is known here. A reward that fails is failed, never 0.

pub mod bench;
pub mod catalogue;
pub mod check;
pub mod clock;
pub mod code;
mod concurrent;
pub mod counting;
pub mod custom;
pub mod description;
pub mod error;
pub mod extract;
pub mod format;
pub mod grounding;
mod http;
pub mod instructions;
pub mod json;
pub mod json_schema;
pub mod judge;
pub mod language;
pub mod ledger;
pub mod length;
pub mod logic;
pub mod math;
pub mod multiple_choice;
pub mod normalise;
pub mod number;
pub mod plugin;
pub mod registry;
pub mod repetition;
pub mod reward;
pub mod rubric;
pub mod sandbox;
pub mod score;
pub mod similarity;
pub mod text;
pub mod tool_calls;
mod truth;
pub mod verify;

pub use code::CodeConfig;
pub use custom::{CustomConfig, Kinds};
pub use error::{Result, RewardError};
pub use judge::{Calibration, CalibrationConfig, Endpoints, Judge, JudgeConfig, JudgeCounts, LabelledPair};
pub use ledger::{Asked, RewardId, Scored};
pub use normalise::{Normalise, group_rewards};
pub use plugin::{HttpConfig, Plugin, ProcessConfig};
pub use registry::{Registry, RewardConfig};
pub use reward::{Item, Reward, RewardSpec};
pub use rubric::{OnFailure, OverlongConfig, Rubric, RubricConfig};
pub use score::{FailureKind, Outcome, PartScore, Score, WeightedPart};
