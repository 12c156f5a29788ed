//! Where a clause ends that holds an answer, and what joins two answers.

use std::sync::LazyLock;

use regex::Regex;

/// A pattern written in the program.
pub(super) fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("the pattern is a constant and is tested")
}

static CLAUSE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i),?\s(?:because|since|which|therefore|given\s+that|so\s+that(?:[\s,]|$)|rather\s+than|instead\s+of)(?:\b|$)|,\s*(?:so|not|as|and\s+(?:not|so)|but\s+not|all\s+told|(?:it|they)\s+(?:can't|cannot|isn't|aren't)|doesn't|isn't)\b",
        r"|\s(?:not|and\s+not|non)\s"
    ))
});
/// A clause that says what follows from the one before, and comes to a number of its own.
static FOLLOWS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)^,?\s*(?:which|(?:and\s+)?(?:therefore|so)|meaning)\b.*(?:=|\bof|\bto)\s*[$\u{20ac}\u{a3}\u{a5}]?[0-9]",
    )
});
/// What may stand between two answers that are given together.
pub(super) static BETWEEN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)^(?:[\s,;.$&*~()\[\]{}]|[-+=#_]{3,}|\\\\|\\$|\\[,;!() \[\]]|\\(?:q?quad|text)|\b(?:and|or)\b|\bfor\s+part\s+\(?\w+\)?",
        r"|\b[A-Za-z](?:_\{?\w+\}?)?(?:\([a-z]\))?\s*=\s*\$?$)*$"
    ))
});
/// Where a clause follows that gives reasons or takes something back.
pub(super) fn clause_end(text: &str) -> usize {
    CLAUSE.find(text).filter(|clause| clause.start() > 0).map_or(text.len(), |clause| clause.start())
}

/// Whether a clause behind an answer draws a conclusion that is another one.
pub(super) fn follows(tail: &str) -> bool {
    FOLLOWS.is_match(tail)
}
