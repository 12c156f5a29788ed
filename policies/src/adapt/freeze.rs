//! Freezing: the parts of a policy that training leaves as they are.

use crate::error::{PolicyError, Result};
use crate::nearest::nearest;
use crate::nn::Parameters;
use crate::part::Part;
use crate::policy::Policy;

impl Policy {
    /// The parts that this policy has.
    pub fn parts(&self) -> Vec<Part> {
        let has = |part: &Part| self.parameters().iter().any(|param| Part::of(&param.name) == *part);
        Part::ALL.into_iter().filter(has).collect()
    }

    /// Refuses parts that this policy does not have.
    ///
    /// # Errors
    /// Names the part, what the policy has, and the nearest of that.
    pub fn check_parts(&self, parts: &[Part]) -> Result<()> {
        let own = self.parts();
        let Some(missing) = parts.iter().find(|part| !own.contains(part)) else { return Ok(()) };
        let names: Vec<&str> = own.iter().map(|part| part.name()).collect();
        Err(PolicyError::input(format!(
            "this model has no `{missing}`, but {}{}",
            names.join(", "),
            nearest(missing.name(), names.iter().copied())
        )))
    }

    /// Trains the model, or its adapter if it has one, but for `parts`: they get neither gradients nor optimizer state.
    ///
    /// # Errors
    /// When the policy does not have one of them, or nothing is left that trains.
    pub fn train_all_but(&mut self, parts: &[Part]) -> Result<()> {
        self.check_parts(parts)?;
        let adapted = self.adapter.is_some();
        self.visit_mut(&mut |param| {
            let trains = param.is_adapter() || !adapted;
            param.requires_grad = trains && !Part::of(&param.name).is_frozen_by(parts);
        });
        if self.trained().is_empty() {
            return Err(PolicyError::input("every part is frozen, so nothing is left to train; take one out"));
        }
        Ok(())
    }

    /// Numbers in the parameters that training changes.
    pub fn trained_count(&self) -> usize {
        self.trained().iter().map(|param| param.shape.iter().product::<usize>()).sum()
    }
}
