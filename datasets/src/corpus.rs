//! The text of all generated tasks, for training a tokenizer.

use std::collections::VecDeque;

use crate::split::Split;
use crate::synthetic::{Task, texts};

/// An endless iterator of short texts: the questions, worked lines and answers of all tasks in turn, in both
/// languages, judge pairs among them. Only training questions occur, and no tag such as `</think>`.
#[derive(Clone, Debug)]
pub struct Corpus {
    seed: u64,
    index: u64,
    ready: VecDeque<String>,
}

impl Corpus {
    /// The corpus of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, index: 0, ready: VecDeque::new() }
    }
}

impl Iterator for Corpus {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        while self.ready.is_empty() {
            for task in Task::ALL {
                let texts = texts(task, Split::Train, self.seed, self.index);
                self.ready.extend(texts.into_iter().filter(|text| !text.is_empty()));
            }
            self.index += 1;
        }
        self.ready.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tasks_and_both_languages_occur() {
        let text = Corpus::new(1).take(3_000).collect::<Vec<_>>().join("\n");
        for wanted in [
            "What is",
            "等于多少",
            "How many",
            "long ",
            "长",
            "Read the digits.",
            "bbox_2d",
            "左上",
            ">Bob",
            "小明比",
            "two red circles",
            "和一个",
            "many many",
            "Reference: ",
            "verdict",
            "图片",
        ] {
            assert!(text.contains(wanted), "{wanted}");
        }
        assert!(!text.contains("</think>"));
    }

    #[test]
    fn the_same_seed_gives_the_same_text() {
        assert!(Corpus::new(4).take(500).eq(Corpus::new(4).take(500)));
        assert!(!Corpus::new(4).take(500).eq(Corpus::new(5).take(500)));
    }
}
