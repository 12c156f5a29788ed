//! The parts of a run, in order: an evaluation before training, then every phase with the evaluations after it.

use crate::config::{Config, INIT};

/// A part of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Evaluations of these sets, under this name in the table.
    Evaluate {
        /// The phase that they come after, or `init`.
        after: String,
        /// Names of evaluations.
        sets: Vec<String>,
    },
    /// A phase, by its name.
    Phase(String),
}

/// The parts of a run in order. A part without anything to do is left out.
pub fn parts(config: &Config) -> Vec<Part> {
    let all: Vec<String> = config.eval.keys().cloned().collect();
    let mut parts = Vec::new();
    if !all.is_empty() {
        parts.push(Part::Evaluate { after: INIT.to_owned(), sets: all });
    }
    for name in &config.run.phases {
        parts.push(Part::Phase(name.clone()));
        let after = config.eval.iter().filter(|(_, eval)| eval.is_after(name, &config.phases[name]));
        let sets: Vec<String> = after.map(|(set, _)| set.clone()).collect();
        if !sets.is_empty() {
            parts.push(Part::Evaluate { after: name.clone(), sets });
        }
    }
    parts
}
