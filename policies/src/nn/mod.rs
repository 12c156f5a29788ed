//! What both halves of the model are made of: parameters, linear maps, norms, rotary positions.

mod linear;
mod norm;
mod param;
mod product;
mod rms;
mod rope;
mod swiglu;
mod tall;
mod turn;
mod wide;

pub use self::linear::{Linear, LinearMaps, Lora};
pub(crate) use self::linear::{parameters, rounded_to};
pub use self::norm::{LayerNorm, RmsNorm};
pub use self::param::{Param, Parameters};
pub(crate) use self::param::{fewest_rows, requires_grad};
#[cfg(feature = "gpu")]
pub(crate) use self::rms::{RootMeanSquare, RootMeanSquareBack};
pub use self::rope::RopeTable;
pub(crate) use self::swiglu::swiglu;
#[cfg(feature = "gpu")]
pub(crate) use self::swiglu::{Swiglu, SwigluBack};
#[cfg(feature = "gpu")]
pub(crate) use self::turn::{Turn, TurnBack};
