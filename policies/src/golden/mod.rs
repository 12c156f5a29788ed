//! Golden cases of the reference implementation: what they hold, and a policy and its processor against them.

mod case;
mod difference;
mod model;
mod processor;

pub use self::case::{ACTIVATION_ABS, Case, CaseFiles, CaseRows, GRADIENT_REL, case_files};
pub use self::difference::{Difference, Parity, Tolerance};
pub use self::model::check;
pub use self::processor::{check_processor, check_prompt};
