//! Verifiers: rules that score an item by themselves. A file holds the options of its kinds, an example and the rule.
//!
//! A new one is its own file and a line in the table of `registry::kinds`: the config, the registry, the catalogue and the
//! check before a run take everything else from its options and its `Verifier`.

pub mod clock;
pub mod counting;
pub mod description;
pub mod exact;
pub mod format;
pub mod grounding;
pub mod instructions;
pub mod json;
pub mod json_schema;
pub mod language;
pub mod length;
pub mod logic;
pub mod math;
pub mod multiple_choice;
pub mod number;
pub mod repetition;
pub mod similarity;
pub mod text;
pub mod tool_calls;
pub mod truth;
pub mod verdict;
