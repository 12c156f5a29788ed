//! `[log]`: who is told of a run's metrics beside its own files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::{ConfigError, fault, must};

/// Who is told of a run's metrics, beside `metrics.jsonl`, `metrics.prom` and `tb/` in its folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
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

fn experiment() -> String {
    "sapo".to_owned()
}

impl LogConfig {
    /// Whether it names nobody.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let Some(mlflow) = &self.mlflow else { return Ok(()) };
        let parsed = url::Url::parse(&mlflow.uri).map_err(|error| fault("log.mlflow.uri", error.to_string()))?;
        must(matches!(parsed.scheme(), "http" | "https"), "log.mlflow.uri", "must begin with http:// or https://")?;
        must(!mlflow.experiment.is_empty(), "log.mlflow.experiment", "must not be empty")
    }
}
