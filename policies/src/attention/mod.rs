//! The attention seam: grouped-query attention over a prompt shared by its completions, in training, prefill and
//! decoding.
//!
//! A query's prompt is one row of the batch; its completions are rows beside it. A prompt token sees the prompt up to
//! itself, a completion's token sees the whole prompt and its own completion up to itself, and no completion sees
//! another: the tree mask holds by construction, and scores between completions are never computed.
//!
//! Shape suffixes: `b` prompts, `g` completions of each, `a` tokens of a completion (or of the prompt itself), `p` prompt
//! tokens, `t` rows, `q` query heads, `m` key-value heads, `r` query heads per key-value head, `k` head width.

mod arrangement;
mod heads;
mod kernel;
mod layout;
#[cfg(feature = "gpu")]
mod lists;
mod op;
mod panels;

pub use self::heads::Heads;
pub(crate) use self::heads::Projected;
pub(crate) use self::kernel::{forward, pieces};
pub(crate) use self::layout::Layout;
#[cfg(feature = "gpu")]
pub(crate) use self::lists::Tiles;
pub(crate) use self::panels::{BLOCK, Panels, Place, Sequence};
