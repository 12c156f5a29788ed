//! Talking to servers: an HTTP client, and the one way in which they are tried again. Judges, plugins and sandboxes share
//! it, and whoever is told of a run.

mod http;
mod rest;
mod retry;
mod time;

pub(crate) use http::{Posted, Poster};
pub use rest::{Refusal, Rest};
pub(crate) use retry::{NoMore, Patience, Retry};
pub(crate) use time::Time;
