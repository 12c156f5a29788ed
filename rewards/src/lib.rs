//! Turning a query and its transcript into a score.
//!
//! No tensor is known here. A reward that fails is failed, never 0.
//!
//! From the bottom up: `score` and `reward` are what a reward gives and is; `closings`, `extract` and `text` read answers;
//! `verifiers` are the rules; `judge`, `plugin` and `code` ask others, through `net` and `sandbox`; `registry` knows all
//! kinds by name; `rubric` puts parts together; `check` and `bench` measure what came out.

pub mod bench;
pub mod check;
pub mod closings;
pub mod code;
pub mod custom;
pub mod error;
pub mod extract;
pub mod judge;
pub mod kind;
pub mod ledger;
mod net;
pub mod normalise;
pub mod plugin;
pub mod registry;
pub mod reward;
pub mod rubric;
pub mod sandbox;
pub mod score;
mod sentence;
pub mod text;
mod verdict;
pub mod verifiers;

pub use code::CodeConfig;
pub use custom::{CustomConfig, Kinds};
pub use error::{Result, RewardError};
pub use judge::{Calibration, CalibrationConfig, Judge, JudgeConfig, JudgeCounts, LabelledPair};
pub use kind::Endpoints;
pub use ledger::{RewardCall, RewardId, Scored};
pub use net::{Refusal, Rest};
pub use normalise::{Normalise, group_rewards};
pub use plugin::{HttpConfig, Plugin, ProcessConfig};
pub use registry::{Registry, RewardConfig, catalogue};
pub use reward::{Item, Reward, RewardSpec};
pub use rubric::{OnFailure, OverlongConfig, Rubric, RubricConfig};
pub use score::{FailureKind, Outcome, PartScore, Score, WeightedPart};
