//! Rows that say the same: exactly, or nearly in text, numbers and pictures.
//!
//! Two rows are near when their texts share most runs of five letters, state the same numbers and signs in the same
//! order, have ground truths that do not differ, and show pictures that look alike one by one. The same text under
//! another picture is another question, and so is another question about the same picture.

mod bands;
mod fingerprint;
mod index;
mod look;
mod text;

pub use fingerprint::Fingerprint;
pub use index::{Index, Repeat};
pub use look::Look;

#[cfg(test)]
mod tests;
