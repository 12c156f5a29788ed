//! `[run.warn]`: from where on a run warns of what it measures.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::{ConfigError, must, number};

/// From where on a run warns. It goes on; the warning is said once in a phase, and the report counts its steps. What is
/// compared are means over 10 steps, those at the beginning of the phase and the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WarnConfig {
    /// Entropy collapse: below this share of the entropy at the beginning of the phase; 0 never warns.
    pub entropy_share: f64,
    /// Length explosion: answers longer than so many times those at the beginning of the phase.
    pub length_times: f64,
    /// More than this share of answers cut by the token limit; 1 never warns.
    pub cut_share: f64,
    /// A gradient norm of more than so many times the median of the 50 steps before.
    pub grad_norm_times: f64,
    /// More than this share of groups without signal; 1 never warns.
    pub no_signal_share: f64,
    /// Gate saturation: the mean gate of SAPO, of positive or of negative advantages, below this; 0 never warns.
    pub gate_mean: f64,
    /// More than this share of failed rewards; 1 never warns.
    pub failed_share: f64,
}

impl Default for WarnConfig {
    fn default() -> Self {
        Self {
            entropy_share: 0.1,
            length_times: 3.0,
            cut_share: 0.3,
            grad_norm_times: 10.0,
            no_signal_share: 0.9,
            gate_mean: 0.5,
            failed_share: 0.01,
        }
    }
}

impl WarnConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let shares = [
            ("entropy_share", self.entropy_share),
            ("cut_share", self.cut_share),
            ("no_signal_share", self.no_signal_share),
            ("gate_mean", self.gate_mean),
            ("failed_share", self.failed_share),
        ];
        for (key, share) in shares {
            number(format!("run.warn.{key}"), share, 0.0..=1.0)?;
        }
        for (key, times) in [("length_times", self.length_times), ("grad_norm_times", self.grad_norm_times)] {
            must(times > 1.0, format!("run.warn.{key}"), "must be above 1; `inf` never warns")?;
        }
        Ok(())
    }
}
