//! Queries, where they come from, and the words that cross Sapo's crates.
//!
//! No tensor lives here, and neither does a reward: this crate builds and tests in seconds.

pub mod benchmark;
pub mod columns;
pub mod config;
mod cursor;
pub mod dataset;
pub mod duplicates;
pub mod error;
mod layout;
pub mod mixture;
mod nearest;
pub mod picture;
pub mod query;
pub mod sheet;
pub mod split;
pub mod synthetic;
mod table;
pub mod transcript;
pub mod video;
mod write;
pub mod written;

pub use columns::Columns;
pub use config::SourceConfig;
pub use cursor::CursorState;
pub use dataset::{Dataset, Example, OpenContext};
pub use error::{DatasetError, Fault, Result};
pub use mixture::{Drawn, Mixture, MixturePart, MixtureState};
pub use nearest::{closest, nearest};
pub use picture::{Picture, hex};
pub use query::{Demonstration, Message, Part, Query, Role};
pub use sheet::contact_sheet;
pub use split::Split;
pub use synthetic::{Difficulty, Language, Stream, Style, Task};
pub use transcript::{StopReason, ToolCall, Transcript, Turn};
pub use video::Video;
pub use write::{sync_folder, write_atomically, write_new};
