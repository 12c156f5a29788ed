//! How evaluations are called: by the phase that they come after, `init`, or `PHASE@STEP`.

use crate::pairs::phase_and_step;

/// The name of an evaluation at the head of a column: `before training`, `mixed`, `mixed, step 20`.
pub fn stage_title(after: &str) -> String {
    match (after, phase_and_step(after)) {
        ("init", _) => "before training".to_owned(),
        (_, Some((phase, step))) => format!("{phase}, step {step}"),
        (phase, None) => phase.to_owned(),
    }
}

/// The name of an evaluation within a sentence: `before training`, `after mixed`, `at step 20 of mixed`.
pub fn stage_phrase(after: &str) -> String {
    match (after, phase_and_step(after)) {
        ("init", _) => "before training".to_owned(),
        (_, Some((phase, step))) => format!("at step {step} of {phase}"),
        (phase, None) => format!("after {phase}"),
    }
}
