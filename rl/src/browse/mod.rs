//! Answers as they lie on disk, query by query: which files of them a run has, what is so of each group, and how a page shows it.
//! `sapo view` opens all of them, `sapo report` carries a sample.

mod files;
mod group;
mod query;
mod tokens;

pub(crate) use files::{Change, Recorded, changes, evaluations, files};
pub(crate) use group::{Group, Groups, MARKS};
pub(crate) use query::{prompt_of, queries};
pub(crate) use tokens::tokenizer;

/// Cards of answers, and what is chosen among them: in the browser.
pub(crate) const SCRIPT: &str = include_str!("browse.js");
/// Their look.
pub(crate) const STYLE: &str = include_str!("browse.css");
/// The controls, and where the cards go.
pub(crate) const CHOOSER: &str = include_str!("chooser.html");
