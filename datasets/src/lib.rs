//! Queries, where they come from, and the words that cross Sapo's crates.
//!
//! No tensor lives here, and neither does a reward: this crate builds and tests in seconds.

pub mod columns;
pub mod corpus;
pub mod error;
pub mod mixture;
pub mod picture;
pub mod query;
pub mod sampler;
pub mod sheet;
pub mod source;
pub mod split;
pub mod synthetic;
pub mod transcript;
pub mod video;

pub use columns::Columns;
pub use corpus::Corpus;
pub use error::{DatasetError, Result};
pub use mixture::{Drawn, Mixture, MixturePart, MixtureState};
pub use picture::{Picture, hex};
pub use query::{Demonstration, Message, Part, Query, Role};
pub use sampler::{Sampler, SamplerState};
pub use sheet::contact_sheet;
pub use source::{OpenOptions, Source, open, open_with};
pub use split::Split;
pub use synthetic::{Language, Style, Task};
pub use transcript::{StopReason, ToolCall, Transcript, Turn};
pub use video::Video;
