//! The registry of constraints: IFEval's under its own names, and more of the same manner.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::parameters::{Parameters, Relation};
use super::reading::{Reading, words};
use crate::verifiers::language;

/// Whether an answer keeps a constraint; an error is a fault of the parameters.
pub(super) type Check = fn(&Reading, &Parameters<'_>) -> Result<bool, String>;

/// A kind of constraint.
pub struct Kind {
    /// What stands at `kind`.
    pub name: &'static str,
    /// Its parameters, those that may be left out with a question mark.
    pub parameters: &'static [&'static str],
    /// What is asked for.
    pub summary: &'static str,
    /// The check.
    pub(super) check: Check,
}

macro_rules! kinds {
    ($($name:literal [$($parameter:literal),*] $summary:literal $check:expr;)*) => {
        /// All kinds.
        pub static KINDS: &[Kind] = &[$(Kind { name: $name, parameters: &[$($parameter),*], summary: $summary, check: $check }),*];
    };
}

kinds! {
    "keywords:existence" ["keywords"] "all these words" |text, given| {
        Ok(given.texts("keywords")?.iter().all(|word| text.occurrences(word) > 0))
    };
    "keywords:frequency" ["keyword", "frequency", "relation?"] "a word so often" |text, given| {
        Ok(given.bound("frequency", "relation", Relation::AtLeast)?.holds(text.occurrences(given.text("keyword")?)))
    };
    "keywords:forbidden_words" ["forbidden_words"] "none of these words, even hidden" |text, given| {
        let raw = text.raw.to_lowercase();
        Ok(given.texts("forbidden_words")?.iter().all(|word| text.occurrences(word) == 0 && !words(&raw).contains(&word.to_lowercase().as_str())))
    };
    "keywords:letter_frequency" ["letter", "let_frequency", "let_relation?"] "a letter so often" |text, given| {
        let letter = given.text("letter")?.to_lowercase();
        let bound = given.bound("let_frequency", "let_relation", Relation::AtLeast)?;
        let found = text.lower.matches(letter.as_str()).count();
        Ok(bound.holds_for(if text.is_repetitive() { 0 } else { found }, found))
    };
    "keywords:order" ["keywords"] "these words, first in this order" |text, given| {
        let places: Option<Vec<usize>> = given.texts("keywords")?.iter()
            .map(|word| if text.occurrences(word) > 0 { text.lower.find(&word.to_lowercase()) } else { None }).collect();
        Ok(places.is_some_and(|places| places.is_sorted()))
    };
    "language:response_language" ["language"] "wholly in a language, as en or zh" |text, given| {
        let found = language::examine(&text.raw, given.text("language")?);
        Ok(!found.mixed && !found.wrong_language)
    };
    "length_constraints:number_sentences" ["num_sentences", "relation?"] "so many sentences" |text, given| {
        let sentences = text.sentences();
        Ok(given.bound("num_sentences", "relation", Relation::AtLeast)?.holds_for(distinct(&sentences), sentences.len()))
    };
    "length_constraints:number_paragraphs" ["num_paragraphs"] "exactly so many paragraphs, parted by ***" |text, given| {
        let parts: Vec<&str> = text.seen.split("***").map(str::trim).collect();
        let inner = &parts[usize::from(parts[0].is_empty())..];
        let inner = if inner.last().is_some_and(|last| last.is_empty()) { &inner[..inner.len() - 1] } else { inner };
        Ok(inner.iter().all(|part| has_words(part)) && distinct(inner) == inner.len() && inner.len() == given.count("num_paragraphs")?)
    };
    "length_constraints:number_words" ["num_words", "relation?"] "so many words" |text, given| {
        Ok(given.bound("num_words", "relation", Relation::AtLeast)?.holds_for(text.honest_words(), text.words().len()))
    };
    "length_constraints:number_characters" ["num_characters", "relation?"] "so many characters, spaces apart" |text, given| {
        let all = text.seen.chars().filter(|letter| !letter.is_whitespace()).count();
        let honest = if text.is_repetitive() { 0 } else { all };
        Ok(given.bound("num_characters", "relation", Relation::AtMost)?.holds_for(honest, all))
    };
    "length_constraints:number_lines" ["num_lines", "relation?"] "so many lines that are not blank" |text, given| {
        let lines = text.lines();
        Ok(given.bound("num_lines", "relation", Relation::Exactly)?.holds_for(distinct(&lines), lines.len()))
    };
    "length_constraints:sentence_words" ["num_words"] "no sentence of more words than this" |text, given| {
        let most = given.count("num_words")?;
        Ok(text.sentences().iter().all(|sentence| words(sentence).len() <= most))
    };
    "length_constraints:nth_paragraph_first_word" ["num_paragraphs", "nth_paragraph", "first_word"]
        "so many paragraphs, parted by blank lines, one of which begins with a word" |text, given| {
        let parts: Vec<&str> = text.seen.split("\n\n").map(str::trim).filter(|part| has_words(part)).collect();
        let at = given.count("nth_paragraph")?;
        let first = at.checked_sub(1).and_then(|at| parts.get(at)).and_then(|part| words(part).first().copied());
        let wanted = given.text("first_word")?;
        Ok(parts.len() == given.count("num_paragraphs")? && first.is_some_and(|word| word.to_lowercase() == wanted.trim().to_lowercase()))
    };
    "detectable_content:number_placeholders" ["num_placeholders"] "at least so many placeholders in square brackets" |text, given| {
        Ok(found(&BRACKETS, &text.seen).len() >= given.count("num_placeholders")?)
    };
    "detectable_content:postscript" ["postscript_marker?"] "a postscript, as P.S., with text" |text, given| {
        let marker = given.text_or("postscript_marker", "P.S.")?.to_lowercase();
        Ok(text.lower.rfind(&marker).is_some_and(|at| has_words(&text.lower[at + marker.len()..]) && at > 0))
    };
    "detectable_content:question" ["num_questions?"] "at least so many questions" |text, given| {
        let asked: Vec<&str> = text.sentences().into_iter().filter(|sentence| sentence.ends_with(['?', '？'])).collect();
        Ok(distinct(&asked) >= given.count_or("num_questions", 1)?)
    };
    "detectable_content:number" ["num_numbers?"] "at least so many different numbers" |text, given| {
        Ok(found(&NUMBERS, &text.seen).len() >= given.count_or("num_numbers", 1)?)
    };
    "detectable_content:no_digits" [] "no digit" |text, _| Ok(!text.raw.chars().any(char::is_numeric));
    "detectable_content:no_emoji" [] "no emoji" |text, _| Ok(!text.raw.chars().any(is_emoji));
    "detectable_content:no_links" [] "no address of a page" |text, _| Ok(!text.raw.contains("://") && !text.raw.contains("www."));
    "detectable_format:number_bullet_lists" ["num_bullets"] "exactly so many bullet points" |text, given| {
        let bullets: Vec<&str> = text.lines().into_iter().filter_map(|line| line.strip_prefix("* ").or_else(|| line.strip_prefix("- ")))
            .map(str::trim).filter(|item| has_words(item)).collect();
        Ok(bullets.len() == given.count("num_bullets")? && distinct(&bullets) == bullets.len())
    };
    "detectable_format:numbered_list" ["num_items"] "exactly so many items 1., 2., ..." |text, given| {
        let items: Vec<(usize, &str)> = text.lines().into_iter().filter_map(numbered).collect();
        let texts: Vec<&str> = items.iter().map(|(_, item)| *item).collect();
        let in_order = items.iter().enumerate().all(|(at, (number, item))| *number == at + 1 && has_words(item));
        Ok(in_order && items.len() == given.count("num_items")? && distinct(&texts) == items.len())
    };
    "detectable_format:constrained_response" ["options?"] "one of certain answers, and nothing else" |text, given| {
        const USUAL: [&str; 3] = ["My answer is yes.", "My answer is no.", "My answer is maybe."];
        let options = given.texts("options").or_else(|fault| if given.has("options") { Err(fault) } else { Ok(USUAL.to_vec()) })?;
        Ok(options.contains(&text.seen.as_str()))
    };
    "detectable_format:number_highlighted_sections" ["num_highlights"] "at least so many *highlighted* parts" |text, given| {
        Ok(found(&HIGHLIGHTS, &text.seen).len() >= given.count("num_highlights")?)
    };
    "detectable_format:multiple_sections" ["section_spliter?", "num_sections"] "at least so many numbered sections" |text, given| {
        let mark = given.text_or("section_spliter", "Section")?;
        let pattern = Regex::new(&format!(r"(?i)(?:^|\s){}\s*\d+", regex::escape(mark.trim()))).map_err(|fault| fault.to_string())?;
        let parts: Vec<&str> = pattern.split(&text.seen).skip(1).map(|part| part.trim_matches([':', '.', ' ', '\n', '*', '#'])).collect();
        Ok(parts.iter().all(|part| has_words(part)) && distinct(&parts) >= given.count("num_sections")?)
    };
    "detectable_format:json_format" [] "one JSON value that is not empty, and nothing else" |text, _| {
        let inner = text.raw.trim_start_matches("```json").trim_start_matches("```JSON").trim_matches('`').trim();
        let value: Option<Value> = serde_json::from_str(inner).ok();
        Ok(value.is_some_and(|value| !crate::verifiers::json::is_empty(&value)))
    };
    "detectable_format:title" [] "a title in <<double angle brackets>>" |text, _| {
        Ok(TITLE.captures_iter(&text.raw).any(|title| has_words(&title[1])))
    };
    "detectable_format:headings" ["num_headings"] "at least so many Markdown headings with text below" |text, given| {
        let lines = text.lines();
        let heads = lines.iter().enumerate().filter(|(at, line)| {
            line.starts_with('#') && has_words(line) && lines.get(at + 1).is_some_and(|next| !next.starts_with('#'))
        });
        let heads: Vec<&str> = heads.map(|(_, line)| *line).collect();
        Ok(distinct(&heads) >= given.count("num_headings")?)
    };
    "detectable_format:table" ["rows?", "columns?"] "a Markdown table of at least so many rows and columns" |text, given| {
        let lines = text.lines();
        let ruler = lines.iter().position(|line| line.contains('-') && line.starts_with('|') && line.chars().all(|letter| "|-: ".contains(letter)));
        let cells = |line: &str| line.trim_matches('|').split('|').filter(|cell| has_words(cell)).count();
        let Some(at) = ruler.filter(|at| *at > 0) else { return Ok(false) };
        let rows: Vec<&str> = lines[at + 1..].iter().copied().take_while(|line| line.starts_with('|')).collect();
        let columns = given.count_or("columns", 1)?;
        Ok(cells(lines[at - 1]) >= columns && distinct(&rows) >= given.count_or("rows", 1)? && rows.iter().all(|row| cells(row) >= columns.min(1)))
    };
    "detectable_format:code_block" ["language?"] "a fenced block of code that is not blank" |text, given| {
        let language = given.text_or("language", " ")?.trim().to_lowercase();
        Ok(CODE.captures_iter(&text.raw).any(|block| has_words(&block[2]) && (language.is_empty() || block[1].to_lowercase() == language)))
    };
    "combination:two_responses" [] "two different responses, parted by six asterisks" |text, _| {
        let parts: Vec<&str> = text.seen.split("******").map(str::trim).filter(|part| has_words(part)).collect();
        Ok(parts.len() == 2 && distinct(&parts) == 2)
    };
    "combination:repeat_prompt" ["prompt_to_repeat"] "the prompt again, then the answer" |text, given| {
        let wanted = given.text("prompt_to_repeat")?.trim().to_lowercase();
        Ok(text.lower.strip_prefix(&wanted).is_some_and(has_words))
    };
    "startend:end_checker" ["end_phrase"] "a phrase at the very end, after other words" |text, given| {
        let wanted = given.text("end_phrase")?.trim().to_lowercase();
        Ok(text.lower.trim_end_matches(['"', '”', ' ']).strip_suffix(wanted.as_str()).is_some_and(has_words))
    };
    "startend:start_checker" ["start_phrase"] "a phrase at the very start, before other words" |text, given| {
        let wanted = given.text("start_phrase")?.trim().to_lowercase();
        Ok(text.lower.strip_prefix(wanted.as_str()).is_some_and(has_words))
    };
    "startend:quotation" [] "all of it in double quotation marks" |text, _| {
        let inner = text.seen.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let inner = inner.or_else(|| text.seen.strip_prefix('“').and_then(|text| text.strip_suffix('”')));
        Ok(inner.is_some_and(has_words))
    };
    "startend:line_prefix" ["prefix"] "every line begins with this" |text, given| {
        let prefix = given.text("prefix")?;
        Ok(text.lines().iter().all(|line| line.strip_prefix(prefix).is_some_and(has_words)))
    };
    "change_case:capital_word_frequency" ["capital_frequency", "capital_relation?"] "so many words in capitals" |text, given| {
        let capitals: Vec<&str> = text.words().into_iter().filter(|word| is_shout(word)).collect();
        Ok(given.bound("capital_frequency", "capital_relation", Relation::AtLeast)?.holds_for(distinct(&capitals), capitals.len()))
    };
    "change_case:english_capital" [] "English in capitals only" |text, _| Ok(in_english(text) && !text.seen.chars().any(char::is_lowercase));
    "change_case:english_lowercase" [] "English without capitals" |text, _| Ok(in_english(text) && !text.seen.chars().any(char::is_uppercase));
    "change_case:title_case" [] "a capital at the start of every word of four letters and more" |text, _| {
        Ok(text.words().iter().all(|word| word.chars().count() < 4 || !word.starts_with(char::is_lowercase)))
    };
    "punctuation:no_comma" [] "no comma" |text, _| Ok(!text.raw.contains([',', '，', '、']));
    "punctuation:forbidden" ["marks"] "none of these characters" |text, given| {
        let marks = given.text("marks")?;
        Ok(!text.raw.contains(|letter: char| marks.contains(letter) && !letter.is_whitespace()))
    };
    "punctuation:end_mark" ["mark"] "every sentence ends with this mark" |text, given| {
        let mark = given.text("mark")?;
        Ok(text.sentences().iter().all(|sentence| sentence.ends_with(mark)))
    };
}

impl Parameters<'_> {
    fn has(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|value| !value.is_null())
    }
}

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("the pattern is a constant and is tested")
}

static BRACKETS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\[([^\[\]\n]{1,80})\]"));
static NUMBERS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(\d+(?:[.,]\d+)*)\b"));
static HIGHLIGHTS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\*{1,3}([^*\n]{1,200})\*{1,3}"));
static TITLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"<<([^<>\n]+)>>"));
static CODE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?s)```([A-Za-z0-9+#-]*)[ \t]*\n(.*?)```"));

/// The different contents that a pattern finds.
fn found(pattern: &Regex, text: &str) -> BTreeSet<String> {
    let contents = pattern.captures_iter(text).map(|found| found[1].trim().to_lowercase());
    contents.filter(|content| has_words(content)).collect()
}

fn has_words(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

fn distinct(texts: &[&str]) -> usize {
    let same = |text: &&str| words(&text.to_lowercase()).join(" ");
    texts.iter().map(same).collect::<BTreeSet<String>>().len()
}

fn is_shout(word: &str) -> bool {
    word.chars().any(char::is_uppercase) && !word.chars().any(char::is_lowercase)
}

fn in_english(text: &Reading) -> bool {
    let found = language::examine(&text.lower, "en");
    text.seen.chars().any(char::is_alphabetic) && !found.mixed && !found.wrong_language
}

/// An item of a numbered list: its number and its text.
fn numbered(line: &str) -> Option<(usize, &str)> {
    let digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let rest = line[digits..].strip_prefix(['.', ')'])?;
    Some((line[..digits].parse().ok()?, rest.trim()))
}

fn is_emoji(letter: char) -> bool {
    matches!(letter, '\u{1f000}'..='\u{1faff}' | '\u{2600}'..='\u{27bf}' | '\u{fe0f}')
}
