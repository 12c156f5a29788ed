//! Experts on a GPU: the device finds which experts a row takes and sorts the rows by them, so that nothing waits for the host
//! between a layer's router and its experts.
//!
//! Shape suffixes: `t` rows, `e` experts, `k` experts of a row, `n` rows times `k`, `i` inputs, `o` outputs.

mod few;
mod order;
mod product;
mod rounding;
mod sum;

pub(crate) use self::few::through;
pub(crate) use self::order::{Order, choices_of, most_probable};
pub(crate) use self::product::{Maps, product};
pub(crate) use self::sum::sum;
