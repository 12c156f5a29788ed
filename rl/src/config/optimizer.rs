//! What must hold of an optimizer's options.

use super::fault::{ConfigError, must};
use crate::optimizer::OptimizerConfig;

impl OptimizerConfig {
    /// What must hold of the options of a phase with so many steps; `place` is their key.
    pub(crate) fn check(&self, place: &str, steps: u64) -> Result<(), ConfigError> {
        let key = |name: &str| format!("{place}.{name}");
        must(self.lr > 0.0 && self.lr < 1.0, key("lr"), "must be above 0 and below 1")?;
        let warm = steps == 0 || self.warmup_steps <= steps;
        must(warm, key("warmup_steps"), "must not be more than the steps of the phase")?;
        must((0.0..=1.0).contains(&self.final_lr_ratio), key("final_lr_ratio"), "must be between 0 and 1")?;
        let betas = self.betas.iter().all(|beta| (0.0..1.0).contains(beta));
        must(betas, key("betas"), "must be from 0 up and below 1")?;
        // Less is 0 in single precision, as soon as it is multiplied.
        must((1e-30..=1.0).contains(&self.eps), key("eps"), "must be between 1e-30 and 1")?;
        must((0.0..=1.0).contains(&self.weight_decay), key("weight_decay"), "must be between 0 and 1")?;
        for group in &self.groups {
            must(!group.parts.is_empty(), key("groups"), "names no part; write parts = [\"vision\"]")?;
            let scale = group.lr_scale >= 0.0 && group.lr_scale <= 1000.0;
            must(scale, key("groups"), "`lr_scale` must be between 0 and 1000; `freeze` leaves a part out")?;
            let decay = group.weight_decay.is_none_or(|decay| (0.0..=1.0).contains(&decay));
            must(decay, key("groups"), "`weight_decay` must be between 0 and 1")?;
        }
        must(self.clip_norm > 0.0, key("clip_norm"), "must be above 0")
    }
}
