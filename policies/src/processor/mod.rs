//! Everything between messages and tensors: chat template, tokenizer, pictures, videos.

mod addition;
pub(crate) mod carried;
mod chat;
mod checkpoint;
mod clip;
mod image;
mod json;
mod limit;
mod marks;
mod prompt;
mod resize;
mod settled;
mod tokenizer;
mod turn;
mod video;

pub use self::chat::{ChatMessage, ChatOptions, ChatTemplate};
pub use self::checkpoint::Processor;
pub use self::clip::{Clip, decode};
pub use self::image::{ImageProcessor, smart_resize};
pub use self::limit::{PromptLimit, TooLong};
pub use self::prompt::{Encoded, Measured, Sizes, Visuals};
pub use self::resize::Kernel;
pub use self::tokenizer::{Tokenizer, train_tokenizer};
pub use self::video::{VideoInput, VideoProcessor, video_smart_resize};
