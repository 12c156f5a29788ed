//! Whether two mathematical answers are one: `\frac{1}{2}`, `0.5` and `50\%` are, 2^53 and 2^53 + 1 are not.
//!
//! An answer goes through one alphabet (`symbols`), tokens (`lexer` with `numerals` and `names`, `merge`), a tree (`parser`
//! with `operand`, `brackets` and `quantity`) and a typed value (`value`); values of a type are compared by the rule of the
//! type (`compare`, `region`, `inequality`), numbers exactly or to hundreds of bits and expressions in variables modulo
//! primes or at points (`scalar`). Everything is pure and bounded: length, depth, parts, and a number of arithmetic steps
//! that no clock measures.

mod binding;
mod boxes;
mod brackets;
mod chain;
mod choice;
mod clause;
mod compare;
mod complex;
mod dates;
mod derivative;
mod doubtful;
mod evaluate;
mod expression;
mod extract;
mod fonts;
mod gathered;
mod hanzi;
mod inequality;
mod joints;
mod label;
mod lead;
mod lexer;
mod list;
mod loaded;
mod matrix;
mod merge;
mod names;
mod number;
mod numerals;
mod opaque;
mod operand;
mod ordered;
mod parser;
mod percent;
mod prose;
mod quantity;
mod real;
mod region;
mod residue;
mod scalar;
mod source;
mod struck;
mod surroundings;
mod symbols;
mod template;
mod token;
mod trace;
mod units;
mod value;
mod verdict;
mod wording;
mod words;
mod worked;

#[cfg(test)]
mod tests;

use sapo_datasets::Query;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::closings::{Closings, FurtherClosings};
use crate::kind::{Example, Verifier, answered};
use crate::reward::{Item, probe};
use crate::score::{FailureKind, PartScore};
use crate::text::{accepted, normalised};
use choice::Choice;
pub use extract::Place;
use scalar::Session;
use token::{Lexeme, Token};
use value::Value;
pub use verdict::Verdict;

/// A mathematical answer of any form: number, surd, percent, unit, tuple, set, interval, relation, matrix, text.
///
/// The ground truth may be a whole worked solution. An answer that cannot be compared with it gets 0, and 1 in the metric
/// `unknown`: somebody else would have to be asked about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Math {
    /// Where the answer is looked for.
    pub answer: Place,
    /// Phrases that announce an answer, in languages that the table lacks.
    pub closings: FurtherClosings,
}

impl Verifier for Math {
    const VERSION: &'static str = "math/8";

    fn score(&self, item: &Item<'_>) -> PartScore {
        // A question may be the sum that is asked for: said again, it answers nothing.
        let question = normalised(&item.query.question());
        answered(item, |truth, answer| match normalised(answer) == question {
            true => PartScore::verdict(false, "the question again"),
            false => score_at(truth, answer, self.answer, self.closings.closings()),
        })
    }

    fn check_truth(&self, query: &Query) -> Result<(), String> {
        check_truth(query)
    }

    fn example() -> Example {
        Example::new("\\frac{1}{2}", "So we get \\boxed{0.5}.", 1.0)
    }
}

/// Whether the ground truth is a text, and each of its answers is a choice, prose, or something that can be read: else no
/// answer but the very same text would ever be right.
pub(crate) fn check_truth(query: &Query) -> Result<(), String> {
    probe(query, |item| answered(item, score))?;
    for gold in query.ground_truth.as_ref().map_or(Ok(Vec::new()), accepted)? {
        let gold = worked::answer(&gold, Closings::built_in()).unwrap_or(gold);
        let gold = worked::written(&gold).unwrap_or(gold);
        let reading = Reading::new(&gold);
        let value = |letter_units| reading.value(letter_units, &mut Session::new());
        if reading.choice.is_none()
            && !reading.is_prose()
            && !reading.has_words()
            && let Err(reason) = value(true).or_else(|_| value(false))
        {
            return Err(format!("the ground truth `{}` cannot be read: {reason}", shortened(&gold)));
        }
    }
    Ok(())
}

/// Longer answers are not read, in bytes.
const MAX_ANSWER_BYTES: usize = 4_096;

/// What the prediction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A final answer, as it would stand in a box.
    Answer,
    /// A whole reply, from which the answer is to be extracted.
    Response,
}

/// The verdict on a prediction, with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Whether gold and prediction are one answer.
    pub verdict: Verdict,
    /// The answer that was compared, where there was one.
    pub extracted: Option<String>,
    /// The reason in one line.
    pub evidence: String,
}

/// Reads the longest whole number at the start of some words: its digits, and how many words it took.
pub(crate) fn number_in_words(words: &[String]) -> Option<(String, usize)> {
    let (value, used) = words::read_number(words)?;
    value.is_int().then(|| (value.numerator().to_string(), used))
}

/// Compares a prediction with the gold answer, looked for in every place. Pure, deterministic, bounded; never panics.
pub fn equivalent(gold: &str, prediction: &str, form: Form) -> Comparison {
    equivalent_at(gold, prediction, form, Place::default(), Closings::built_in())
}

/// Compares the answer in one place of a prediction with the gold answer, which may be a whole worked solution.
fn equivalent_at(gold: &str, prediction: &str, form: Form, place: Place, closings: &Closings) -> Comparison {
    surroundings::ready();
    let readings = match form {
        Form::Answer => {
            Some(vec![struck::kept(prediction.trim()).into_owned()]).filter(|answers| !answers[0].is_empty())
        }
        Form::Response => extract::extract(prediction, place, closings),
    };
    let Some(readings) = readings else {
        return Comparison { verdict: Verdict::Different, extracted: None, evidence: "there is no answer".to_owned() };
    };
    let Some(answer) = readings.first().filter(|answer| !answer.is_empty()).cloned() else {
        let evidence = "no answer was found in the reply".to_owned();
        return Comparison { verdict: Verdict::Unknown, extracted: None, evidence };
    };
    let worked = worked::answer(gold, closings);
    let golds: Vec<&str> =
        worked.as_deref().into_iter().chain([gold]).filter(|gold| gold.len() <= MAX_ANSWER_BYTES).collect();
    if answer.len() > MAX_ANSWER_BYTES || golds.is_empty() {
        let evidence = format!("an answer is longer than {MAX_ANSWER_BYTES} bytes");
        return Comparison { verdict: Verdict::Unknown, extracted: Some(shortened(&answer)), evidence };
    }
    let mut first = None;
    for reading in readings.iter().filter(|reading| reading.len() <= MAX_ANSWER_BYTES) {
        for gold in &golds {
            let (verdict, evidence) = compare_answers(gold, reading);
            if verdict == Verdict::Equal {
                return Comparison { verdict, extracted: Some(reading.clone()), evidence };
            }
            first.get_or_insert((verdict, evidence));
        }
    }
    let (verdict, evidence) = first.unwrap_or((Verdict::Unknown, String::new()));
    Comparison { verdict, extracted: Some(answer), evidence }
}

/// 1 when the answer of a reply without its thinking is equivalent to the truth, or to one of a list of texts.
pub fn score(truth: &serde_json::Value, text: &str) -> PartScore {
    score_at(truth, text, Place::default(), Closings::built_in())
}

fn score_at(truth: &serde_json::Value, text: &str, place: Place, closings: &Closings) -> PartScore {
    let golds = match accepted(truth) {
        Ok(golds) => golds,
        Err(fault) => return PartScore::failed(FailureKind::GroundTruth, fault),
    };
    let is_long = |gold: &&String| gold.len() > MAX_ANSWER_BYTES && worked::answer(gold, closings).is_none();
    if let Some(long) = golds.iter().find(is_long) {
        let fault = format!("the ground truth `{}` is longer than {MAX_ANSWER_BYTES} bytes", shortened(long));
        return PartScore::failed(FailureKind::GroundTruth, fault);
    }
    let found = golds.iter().map(|gold| equivalent_at(gold, text, Form::Response, place, closings));
    // The best verdict, the first of equals.
    let rank = |verdict: Verdict| match verdict {
        Verdict::Equal => 2,
        Verdict::Unknown => 1,
        Verdict::Different => 0,
    };
    let Some(best) = found.reduce(|best, next| if rank(next.verdict) > rank(best.verdict) { next } else { best })
    else {
        return PartScore::failed(FailureKind::GroundTruth, "the ground truth is an empty list");
    };
    let mut score = PartScore::verdict(best.verdict == Verdict::Equal, best.evidence);
    score.metrics.insert(UNKNOWN.to_owned(), f64::from(u8::from(best.verdict == Verdict::Unknown)));
    match best.extracted {
        Some(extracted) => score.extracted(shortened(&extracted)),
        None => score,
    }
}

/// The metric that says whether a rule could not tell: 1 when it could not, and somebody else would have to be asked.
pub const UNKNOWN: &str = "unknown";

/// An answer as text and as tokens.
struct Reading {
    text: String,
    lexemes: Result<Vec<Lexeme>, &'static str>,
    choice: Option<Choice>,
}

impl Reading {
    fn new(answer: &str) -> Self {
        let text = set_in_braces(symbols::to_ascii(unwrapped(answer)));
        let lexemes =
            if doubtful::is_range_of_money(&text) { Err("it is a range of money") } else { lexer::tokens(&text) };
        let choice = choice::read(&text);
        Self { text, lexemes, choice }
    }

    fn tokens(&self) -> Option<Vec<&Token>> {
        let lexemes = self.lexemes.as_ref().ok()?;
        Some(lexemes.iter().map(|lexeme| &lexeme.token).collect())
    }

    fn value(&self, letter_units: bool, session: &mut Session) -> Result<Value, &'static str> {
        let lexemes = self.lexemes.as_ref().map_err(|reason| *reason)?;
        if lexemes.is_empty() {
            return Err("there is nothing in it");
        }
        if doubtful::is_numbered(lexemes) {
            return Err("its parts are numbered");
        }
        let expr = parser::parse(lexemes, letter_units)?;
        session.settle(&expr)
    }

    /// Whether words stand in it.
    fn has_words(&self) -> bool {
        lexer::unmerged(&self.text)
            .is_ok_and(|lexemes| lexemes.iter().any(|lexeme| matches!(lexeme.token, Token::Word(_))))
    }

    /// Whether it holds words and punctuation only, so that it can be compared as text.
    fn is_prose(&self) -> bool {
        let plain = self.text.replace("\\$", "");
        let has_letters = plain.chars().filter(|c| c.is_alphabetic()).count() > 1;
        let signs = plain
            .chars()
            .any(|c| matches!(c, '+' | '*' | '/' | '=' | '<' | '>' | '^' | '_' | '|' | '%' | '[' | ']' | '&'));
        let dash = plain.split('-').skip(1).any(|after| after.starts_with(|c: char| c.is_ascii_digit() || c == ' '));
        let row = self.lexemes.as_ref().is_ok_and(|lexemes| doubtful::is_numbered(lexemes));
        has_letters && !signs && !dash && !row
    }
}

/// Plain braces around a rule, `{x | x > 1}`, written as those of a set, and a tilde before a number as "about".
fn set_in_braces(text: String) -> String {
    let about = text.trim().strip_prefix('~').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if let Some(number) = about.filter(|number| !number.contains('~')) {
        return format!("\\approx {number}");
    }
    let inner = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    match inner.filter(|inner| inner.matches('|').count() == 1 && !inner.contains(['{', '}'])) {
        Some(inner) => format!("\\{{{inner}\\}}"),
        None => text,
    }
}

/// An answer without the box, quotation marks or emphasis around all of it.
fn unwrapped(answer: &str) -> &str {
    let mut text = answer.trim();
    loop {
        let inner =
            [("**", "**"), ("`", "`"), ("\"", "\""), ("\u{201c}", "\u{201d}"), ("__", "__"), ("_", "_"), ("*", "*")]
                .into_iter()
                .find_map(|(open, close)| {
                    text.strip_prefix(open)?
                        .strip_suffix(close)
                        .filter(|inner| !inner.is_empty() && !inner.contains(open))
                });
        let boxed = ["\\boxed{", "\\fbox{"].into_iter().find_map(|open| {
            let chars: Vec<char> = text.strip_prefix(&open[..open.len() - 1])?.chars().collect();
            let whole = source::matching_brace(&chars, 0).is_some_and(|close| close + 1 == chars.len());
            whole.then(|| &text[open.len()..text.len() - 1])
        });
        match inner.or(boxed) {
            Some(inner) => text = inner.trim(),
            None => return text,
        }
    }
}

fn compare_answers(gold: &str, prediction: &str) -> (Verdict, String) {
    if gold.trim() == prediction.trim() {
        return (Verdict::Equal, "the answers are the same text".to_owned());
    }
    let rewritten = |text: &str| worked::written(text).unwrap_or_else(|| text.to_owned());
    let (gold_reading, reading) = (Reading::new(&rewritten(gold)), Reading::new(&rewritten(prediction)));
    let shown = |sign: &str| format!("{} {sign} {}", shortened(prediction.trim()), shortened(gold.trim()));
    if numerals::is_same_decimal(&gold_reading.text, &reading.text) {
        return (Verdict::Equal, shown("="));
    }
    if let Some(verdict) = compare_choices(&gold_reading, &reading) {
        return (verdict, shown(if verdict == Verdict::Equal { "is the choice" } else { "is not the choice" }));
    }
    if gold_reading.tokens().is_some_and(|tokens| !tokens.is_empty() && Some(tokens) == reading.tokens()) {
        return (Verdict::Equal, shown("="));
    }
    let (verdict, reason) = compare_values(&gold_reading, &reading);
    match (verdict, reason) {
        (Verdict::Equal, _) => (verdict, shown("=")),
        (Verdict::Different, _) => (verdict, shown("is not")),
        (Verdict::Unknown, Some(reason)) => (verdict, format!("{}: {reason}", shown("could not be compared with"))),
        (Verdict::Unknown, None) => (verdict, shown("could not be compared with")),
    }
}

/// Lettered choices, where at least one side is certainly one.
fn compare_choices(gold: &Reading, reading: &Reading) -> Option<Verdict> {
    match (&gold.choice, &reading.choice) {
        (Some(a), Some(b)) => match (&a.content, &b.content) {
            (Some(x), Some(y)) if a.letter == b.letter => Some(compare_answers(x, y).0),
            _ => Some(Verdict::when(a.letter == b.letter)),
        },
        (Some(Choice { content: Some(content), .. }), None) => {
            (compare_answers(content, &reading.text).0 == Verdict::Equal).then_some(Verdict::Equal)
        }
        (None, Some(Choice { content: Some(content), .. })) => {
            (compare_answers(&gold.text, content).0 == Verdict::Equal).then_some(Verdict::Equal)
        }
        _ => None,
    }
}

/// The verdict of both ways to read a lone letter after a number: as a unit and as a variable.
fn compare_values(gold: &Reading, reading: &Reading) -> (Verdict, Option<String>) {
    let mut doubt = None;
    let mut texts = false;
    let mut verdict = Verdict::Different;
    // Both readings share the work that a comparison may do.
    let mut session = Session::new();
    for letter_units in [true, false] {
        let (a, b) = (gold.value(letter_units, &mut session), reading.value(letter_units, &mut session));
        texts |= [&a, &b].into_iter().any(|side| matches!(side, Err(_) | Ok(Value::Text(_))));
        let found = match (&a, &b) {
            (Ok(a), Ok(b)) if session.leaves_out_percent(a, b) || session.is_rounded_gold(a, b) => Verdict::Equal,
            (Ok(a), Ok(b)) => session.equal(a, b),
            (Err(reason), _) => {
                doubt = Some(format!("the gold answer cannot be read, {reason}"));
                Verdict::Unknown
            }
            (_, Err(reason)) => {
                doubt = Some(format!("the prediction cannot be read, {reason}"));
                Verdict::Unknown
            }
        };
        match found {
            Verdict::Equal => return (found, None),
            Verdict::Unknown => verdict = found,
            Verdict::Different => {}
        }
    }
    let prose = texts && gold.is_prose() && reading.is_prose();
    if prose && wording::are_one_text(&gold.text, &reading.text) {
        return (Verdict::Equal, None);
    }
    match session.templates(&gold.text, &reading.text) {
        Some(Verdict::Equal) => (Verdict::Equal, None),
        // Words that one side alone has may say what the other says in signs.
        Some(_) if prose => (verdict, None),
        Some(_) if texts => (Verdict::Unknown, doubt),
        _ => (verdict, doubt),
    }
}

/// At most 120 characters of a text.
fn shortened(text: &str) -> String {
    if text.chars().count() <= 120 {
        return text.to_owned();
    }
    let mut start: String = text.chars().take(117).collect();
    start.push_str("...");
    start
}
