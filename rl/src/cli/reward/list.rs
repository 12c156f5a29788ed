//! `sapo reward list`: the kinds of reward for people.

use sapo_rewards::catalogue::{Entry, catalogue};

use crate::cli::printer::{print_json, print_text};
use crate::error::{Result, RunError};

/// Columns of a line.
const WIDTH: usize = 110;

/// Prints all kinds, or one with its options and example.
pub(super) fn run(kind: Option<&str>, json: bool) -> Result<()> {
    let entries = catalogue();
    let Some(kind) = kind else {
        return if json { print_json(&entries, false) } else { print_text(&table(&entries)) };
    };
    let found = entries.iter().find(|entry| entry.kind == kind).ok_or_else(|| {
        let guess = sapo_datasets::nearest(kind, entries.iter().map(|entry| entry.kind));
        RunError::User(format!("there is no kind of reward `{kind}`; {guess}"))
    })?;
    if json { print_json(found, false) } else { print_text(&one(found)) }
}

fn table(entries: &[Entry]) -> String {
    let width = entries.iter().map(|entry| entry.kind.len()).max().unwrap_or(0) + 2;
    let mut text = String::new();
    for entry in entries {
        let summary = entry.summary.split_once(". ").map_or(entry.summary.as_str(), |(first, _)| first);
        text.push_str(&indented(&format!("{:<width$}", entry.kind), summary, width));
    }
    text.push_str("\nsapo reward list KIND shows one with its options and an example; --json has everything\n");
    text
}

fn one(entry: &Entry) -> String {
    let mut text = indented("", &format!("{}: {}", entry.kind, entry.summary), 0);
    text.push_str(&format!("\n[rewards.NAME]\nkind = \"{}\"\n", entry.kind));
    let width = entry.options.iter().map(|option| option.name.len()).max().unwrap_or(0) + 2;
    if !entry.options.is_empty() {
        text.push_str("\noptions\n");
    }
    for option in &entry.options {
        let said = format!("{} [{}]", option.summary, option.default);
        text.push_str(&indented(&format!("  {:<width$}", option.name), &said, width + 2));
    }
    let example = &entry.example;
    text.push_str(&format!("\nexample\n  ground truth  {}\n", example.ground_truth));
    if example.columns.as_object().is_some_and(|columns| !columns.is_empty()) {
        text.push_str(&format!("  columns       {}\n", example.columns));
    }
    text.push_str(&format!("  response      {}\n", example.response.escape_debug()));
    let value = example.value.map_or("depends on whoever is asked".to_owned(), |value| value.to_string());
    text.push_str(&format!("  value         {value}\n"));
    text
}

/// A text behind its head, broken into lines that begin under its first word.
fn indented(head: &str, text: &str, width: usize) -> String {
    let mut lines = vec![head.to_owned()];
    let mut used = width;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if used + 1 + length > WIDTH && used > width {
            lines.push(" ".repeat(width));
            used = width;
        }
        if let Some(line) = lines.last_mut() {
            if used > width {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
        }
        used += length;
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_line_and_a_page_and_no_line_is_long() {
        let entries = catalogue();
        let all = table(&entries);
        for entry in &entries {
            assert!(all.lines().any(|line| line.split_whitespace().next() == Some(entry.kind)), "{}", entry.kind);
            let page = one(entry);
            assert!(entry.options.iter().all(|option| page.contains(&format!("  {}", option.name))), "{page}");
            assert!(page.contains("ground truth"), "{page}");
        }
        assert!(all.lines().all(|line| line.chars().count() <= WIDTH), "{all}");
    }
}
