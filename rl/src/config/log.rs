//! `[log]`: who is told of a run's metrics beside its own files, and how much of a gate is kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::{ConfigError, fault, must, number};

/// Who is told of a run's metrics, beside `metrics.jsonl`, `metrics.prom` and `tb/` in its folder; and how much of a gate is
/// kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The share of the rollouts of `rl` phases of which the algorithm's gate is kept token by token, beside the log-probs in
    /// `rollouts/`, for `sapo view` and `sapo report` to colour tokens by. About six bytes a token; 0 keeps none. Which
    /// rollouts these are follows from their seeds, and no number of the run depends on it.
    #[serde(skip_serializing_if = "is_whole")]
    #[schemars(extend("default" = 1.0))]
    pub gate_share: f64,
    /// An MLflow tracking server; nobody without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlflow: Option<MlflowConfig>,
}

/// An MLflow tracking server. A run is refused when it cannot be reached at the beginning; later the run goes on without it,
/// and says what could not be delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MlflowConfig {
    /// Where it is, such as `http://127.0.0.1:5000`.
    pub uri: String,
    /// The experiment, which is made when it is not there.
    #[serde(default = "experiment")]
    pub experiment: String,
    /// The environment variable that holds a bearer token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_env: Option<String>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { gate_share: WHOLE, mlflow: None }
    }
}

/// The share that is all.
const WHOLE: f64 = 1.0;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_whole(share: &f64) -> bool {
    *share == WHOLE
}

fn experiment() -> String {
    "sapo".to_owned()
}

impl LogConfig {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        number("log.gate_share", self.gate_share, 0.0..=WHOLE)?;
        let Some(mlflow) = &self.mlflow else { return Ok(()) };
        let parsed = url::Url::parse(&mlflow.uri).map_err(|error| fault("log.mlflow.uri", error.to_string()))?;
        must(matches!(parsed.scheme(), "http" | "https"), "log.mlflow.uri", "must begin with http:// or https://")?;
        must(!mlflow.experiment.is_empty(), "log.mlflow.experiment", "must not be empty")
    }
}
