//! What must hold of an optimizer's options.

use super::fault::{ConfigError, must, number};
use crate::optimizer::OptimizerConfig;

impl OptimizerConfig {
    /// What must hold of the options of a phase with so many steps; `place` is their key.
    pub(crate) fn check(&self, place: &str, steps: u64) -> Result<(), ConfigError> {
        let key = |name: &str| format!("{place}.{name}");
        let reason = format!("is {:?}; it must be above 0 and below 1", self.lr);
        must(self.lr > 0.0 && self.lr < 1.0, key("lr"), &reason)?;
        let reason = format!("is {}; it must not be more than the {steps} steps of the phase", self.warmup_steps);
        must(self.warmup_steps <= steps, key("warmup_steps"), &reason)?;
        number(key("final_lr_ratio"), self.final_lr_ratio, 0.0..=1.0)?;
        let betas = self.betas.iter().all(|beta| (0.0..1.0).contains(beta));
        must(betas, key("betas"), "must be from 0 up and below 1")?;
        // Less is 0 in single precision, as soon as it is multiplied.
        number(key("eps"), self.eps, 1e-30..=1.0)?;
        number(key("weight_decay"), self.weight_decay, 0.0..=1.0)?;
        for (index, group) in self.groups.iter().enumerate() {
            let key = |name: &str| format!("{place}.groups[{index}].{name}");
            must(!group.parts.is_empty(), key("parts"), "names no part; write parts = [\"vision\"]")?;
            number(key("lr_scale"), group.lr_scale, 0.0..=1000.0)?;
            number(key("weight_decay"), group.weight_decay.unwrap_or(0.0), 0.0..=1.0)?;
        }
        let reason = format!("is {:?}; it must be above 0, and `inf` never clips", self.clip_norm);
        must(self.clip_norm > 0.0, key("clip_norm"), &reason)
    }
}
