//! What goes into the policy: prompts, what follows them, positions, and batches packed of both.

mod batch;
mod completion;
mod positions;
mod prompt;

pub use self::batch::{Batch, Group, Origin};
pub use self::completion::Completion;
pub use self::positions::{Positions, positions, positions_after, positions_from};
pub use self::prompt::{ImageSpan, PictureInput, PolicyInput};
