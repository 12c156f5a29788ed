//! The phrases of the languages, as data.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::phrase;

/// Phrases of one language. `(a|b)` in a phrase is either, `(a|)` may be missing, a space is any spacing and emphasis,
/// `...` a few words, `#` a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Language {
    /// Its name, for messages.
    pub name: String,
    /// Nouns that stand for the answer; `NOUN:`, `[NOUN]` and a heading announce one without more.
    pub answer: Vec<String>,
    /// What joins such a noun to the answer that follows: "is".
    pub is: Vec<String>,
    /// Other phrases that an answer follows.
    pub before: Vec<String>,
    /// Phrases that an answer stands in front of: "is the answer".
    pub behind: Vec<String>,
    /// What a sentence may end with behind an answer.
    pub ends: Vec<String>,
    /// Words that take back what follows, or the announcement that follows: "not".
    pub not: Vec<String>,
    /// Words that make a supposition of the announcement right behind them.
    #[serde(rename = "if")]
    pub suppose: Vec<String>,
    /// Words that put the announcement right behind them into somebody else's mouth: "he says".
    pub report: Vec<String>,
    /// Words that take back what stands in front of them.
    pub not_ends: Vec<String>,
    /// Words behind a denial that bring what is right: "not A but B".
    pub but: Vec<String>,
    /// The same behind an answer that they deny.
    pub instead: Vec<String>,
    /// Words of no weight in front of an answer: "therefore".
    pub so: Vec<String>,
    /// Words between two answers.
    pub or: Vec<String>,
    /// Words that make a bound, an estimate or a guess of an answer: "at least", "about", "perhaps".
    pub hedge: Vec<String>,
    /// Words right before a value that make another one of it, a bound or a guess: "half of".
    pub changes: Vec<String>,
    /// The same right behind a value.
    pub changes_behind: Vec<String>,
    /// Words right before a value that say how large something is: "about".
    pub about: Vec<String>,
    /// Words that make an estimate or a bound of a value when nothing but them stands behind it: "rounded".
    pub remark: Vec<String>,
    /// Words right before a value that a sequence nears, and no value of it: "approaches".
    pub nears: Vec<String>,
    /// Words of no weight between those and the value: "exactly", "the".
    pub filler: Vec<String>,
    /// Words between two values of which one holds: "or".
    pub either: Vec<String>,
    /// Words that make a bound of a value behind a word of `or`: "or more".
    pub more: Vec<String>,
    /// Words that bring a condition, beside those of `if`: "when".
    pub condition: Vec<String>,
    /// Words behind a value that take it back: "is wrong".
    pub denied: Vec<String>,
    /// Words of a sentence that shows how one errs: "a common mistake".
    pub mistake: Vec<String>,
    /// Words behind which a sentence says something of its own: "but", "so".
    pub turn: Vec<String>,
    /// Words right before an announcement that say whose answer it is, or that it is wrong: "his".
    pub whose: Vec<String>,
    /// Words before the name of somebody who says it: "according to".
    pub source: Vec<String>,
    /// The same behind the name.
    pub source_behind: Vec<String>,
    /// What is no such name: "the problem", "the formula".
    pub grounds: Vec<String>,
    /// Nouns that stand for an option; used for choices alone, as the next three.
    pub option: Vec<String>,
    /// Verbs that choose the option behind them.
    pub pick: Vec<String>,
    /// What is said of an option that is right.
    pub right: Vec<String>,
    /// What is said of an option that is wrong.
    pub wrong: Vec<String>,
}

/// The data file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    language: Vec<Language>,
}

/// Those of the program.
pub(super) static TABLE: LazyLock<Vec<Language>> = LazyLock::new(|| {
    let table: Table = toml::from_str(include_str!("closings.toml")).expect("the table is part of the program");
    table.language
});

/// The patterns that every language makes; an error names the language.
pub(super) fn collect(
    languages: &[Language],
    make: impl Fn(&Language) -> Result<Vec<String>, String>,
) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for language in languages {
        all.extend(make(language).map_err(|reason| format!("closings of `{}`: {reason}", language.name))?);
    }
    Ok(all)
}

/// The patterns of the phrases of one kind, in every language.
///
/// # Errors
/// Which phrase cannot be read, and why.
pub(super) fn sources(languages: &[Language], part: fn(&Language) -> &Vec<String>) -> Result<Vec<String>, String> {
    collect(languages, |language| part(language).iter().map(|phrase| phrase::source(phrase)).collect())
}
