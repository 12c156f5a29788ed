//! Language: whether running text mixes languages, or is wholly in another one than it should be.
//!
//! Scripts are told apart letter by letter; languages of the Latin script by their small words. Code, formulas, quoted
//! text, names, technical terms and words under discussion are no mixing.

mod lexicon;
mod running;

use sapo_datasets::{Query, Transcript};

use crate::extract;
use crate::score::PartScore;
use crate::verify::strays_from;
use lexicon::{Known, LATIN, bit, known};

/// What was found in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Running text changes its language without a reason.
    pub mixed: bool,
    /// The text is wholly in another language.
    pub wrong_language: bool,
    /// The words that gave it away.
    pub evidence: Option<String>,
}

impl Finding {
    fn mixed(evidence: impl Into<String>) -> Self {
        Self { mixed: true, wrong_language: false, evidence: Some(evidence.into()) }
    }

    fn wrong(evidence: impl Into<String>) -> Self {
        Self { mixed: false, wrong_language: true, evidence: Some(evidence.into()) }
    }
}

/// A writing system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Script {
    Latin,
    Han,
    Kana,
    Hangul,
    Cyrillic,
    Arabic,
    Greek,
    Other,
}

impl Script {
    fn of(letter: char) -> Option<Self> {
        if letter.is_ascii() {
            return letter.is_ascii_alphabetic().then_some(Self::Latin);
        }
        if !letter.is_alphabetic() {
            return None;
        }
        Some(match letter {
            '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1eff}' => Self::Latin,
            '\u{aa}' | '\u{ba}' | '\u{2100}'..='\u{214f}' | '\u{1d400}'..='\u{1d7ff}' => return None,
            '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' | '\u{b5}' => Self::Greek,
            '\u{400}'..='\u{52f}' => Self::Cyrillic,
            '\u{600}'..='\u{6ff}' | '\u{750}'..='\u{77f}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}' => {
                Self::Arabic
            }
            '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' => Self::Kana,
            '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7af}' | '\u{3130}'..='\u{318f}' => Self::Hangul,
            '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}' | '\u{3005}' => Self::Han,
            _ => Self::Other,
        })
    }

    /// The scripts that a language is written in.
    fn native(language: &str) -> &'static [Self] {
        match language {
            "zh" => &[Self::Han],
            "ja" => &[Self::Kana, Self::Han],
            "ko" => &[Self::Hangul],
            "ru" | "uk" | "bg" | "sr" => &[Self::Cyrillic],
            "ar" | "fa" | "ur" => &[Self::Arabic],
            "el" => &[Self::Greek],
            "he" | "th" | "hi" | "bn" | "ta" | "ka" | "hy" => &[Self::Other],
            _ => &[Self::Latin],
        }
    }
}

/// A run of letters of one script.
#[derive(Clone, Copy, Debug)]
struct Word<'t> {
    text: &'t str,
    script: Script,
    /// What is known of it; of Latin words alone.
    known: Known,
    /// No letter is a capital.
    lower: bool,
    sentence: usize,
    /// Counts commas and colons too.
    clause: usize,
    /// It touches a word of another script, without even a space between.
    glued_to: Option<Script>,
    /// It stands in brackets, as the original of a name does.
    bracketed: bool,
}

impl Word<'_> {
    fn letters(&self) -> usize {
        self.text.chars().count()
    }

    fn look_up(&mut self) {
        self.lower = if self.text.is_ascii() {
            !self.text.bytes().any(|byte| byte.is_ascii_uppercase())
        } else {
            !self.text.chars().any(char::is_uppercase)
        };
        if self.script == Script::Latin {
            self.known = if self.lower { known(self.text) } else { known(&self.text.to_lowercase()) };
        }
    }
}

/// Looks for another language than `expected` (a code as `en` or `zh`) in the running text of a response.
pub fn examine(text: &str, expected: &str) -> Finding {
    let running = running::running(text);
    let words = split(&running);
    let native = Script::native(expected);
    if let Some(word) = disguised(&words) {
        return Finding::mixed(format!("look-alike letters in `{word}`"));
    }
    let other = |word: &&Word<'_>| !native.contains(&word.script) && word.script != Script::Latin;
    let discussed = if words.iter().any(|word| other(&word)) { discussed_sentences(&running) } else { Vec::new() };
    let foreign = words.iter().filter(|word| other(word) && !is_excused(word, &discussed));
    let foreign: Vec<&Word<'_>> = foreign.collect();
    let finding = if native == [Script::Latin] {
        in_latin(&words, &foreign, expected)
    } else {
        // Han letters are Chinese only in sentences without kana.
        let kana = |sentence: usize| words.iter().any(|word| word.sentence == sentence && word.script == Script::Kana);
        let own = words.iter().any(|word| {
            native.contains(&word.script) && !(expected == "zh" && foreign.len() > 1 && kana(word.sentence))
        });
        beside_latin(&words, &foreign, own, expected)
    };
    if finding == Finding::default() && expected == "ja" { without_kana(&words) } else { finding }
}

fn split(running: &str) -> Vec<Word<'_>> {
    let mut words: Vec<Word<'_>> = Vec::new();
    let (mut sentence, mut clause, mut depth, mut open, mut start) = (0, 0, 0_usize, false, 0);
    let bytes = running.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        // A run of plain letters is taken at once.
        let plain = bytes[at..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let (letter, length) = match running[at..].chars().next() {
            Some(letter) if plain == 0 => (letter, letter.len_utf8()),
            Some(letter) => (letter, plain),
            None => break,
        };
        let here = at;
        at += length;
        let Some(script) = Script::of(letter) else {
            // A mark that combines with a letter belongs to its word.
            if !matches!(letter, '\u{300}'..='\u{36f}' | '\u{64b}'..='\u{652}') {
                open = false;
            }
            match letter {
                '(' | '（' | '[' => depth += 1,
                ')' | '）' | ']' => depth = depth.saturating_sub(1),
                '.' | '!' | '?' | ';' | '\n' | '。' | '！' | '？' | '；' => {
                    sentence += 1;
                    clause += 1;
                }
                ',' | ':' => clause += 1,
                _ => {}
            }
            continue;
        };
        match words.last_mut() {
            Some(word) if open && word.script == script => word.text = &running[start..at],
            before => {
                let glued_to = before.filter(|_| open).map(|word| {
                    word.glued_to = word.glued_to.or(Some(script));
                    word.script
                });
                start = here;
                let text = &running[here..at];
                let (known, bracketed) = (Known::default(), depth > 0);
                words.push(Word { text, script, known, lower: true, sentence, clause, glued_to, bracketed });
            }
        }
        open = true;
    }
    words.iter_mut().for_each(Word::look_up);
    words
}

/// A word that hides letters of another script among those of its own, as a Cyrillic a in a Latin word.
fn disguised<'t>(words: &[Word<'t>]) -> Option<&'t str> {
    let found = words.iter().find(|word| match (word.script, word.glued_to) {
        (Script::Cyrillic, Some(Script::Latin)) => true,
        (Script::Greek, Some(Script::Latin)) => {
            !word.text.contains(['Δ', 'Σ', 'Ω', 'μ', 'µ', 'π', 'θ', 'λ', 'σ', 'δ', 'β', 'φ'])
        }
        _ => false,
    });
    // One letter glued to one letter is a formula.
    let long = |word: &&Word<'_>| words.iter().any(|other| other.glued_to == Some(word.script) && other.letters() > 1);
    found.filter(|word| word.script == Script::Cyrillic || long(word)).map(|word| word.text)
}

/// Which sentences speak about words of a language, or about what is written somewhere.
fn discussed_sentences(running: &str) -> Vec<bool> {
    const TALK: [&str; 26] = [
        "translat",
        "chinese",
        "japanese",
        "korean",
        "russian",
        "arabic",
        "mandarin",
        "kanji",
        "pinyin",
        "character",
        "the word",
        "word for",
        "spelled",
        "pronounced",
        "french",
        "german",
        "spanish",
        "italian",
        "english",
        "翻译",
        "英文",
        "英语",
        "单词",
        "意思是",
        "日语",
        "法语",
    ];
    let lower = running.to_lowercase();
    lower
        .split(['.', '!', '?', ';', '\n', '。', '！', '？', '；'])
        .map(|sentence| TALK.iter().any(|word| sentence.contains(word)))
        .collect()
}

/// Whether a word of another script is a name, a symbol or a word under discussion.
fn is_excused(word: &Word<'_>, discussed: &[bool]) -> bool {
    const SHORT: usize = 8;
    match word.script {
        Script::Greek if word.letters() < 3 => true,
        // The particle that shops put into their names.
        Script::Kana if word.text == "の" => true,
        _ => (word.bracketed || discussed.get(word.sentence).copied().unwrap_or(false)) && word.letters() <= SHORT,
    }
}

/// A text that should be in a language of the Latin script.
fn in_latin(words: &[Word<'_>], foreign: &[&Word<'_>], expected: &str) -> Finding {
    let latin: Vec<&Word<'_>> = words.iter().filter(|word| word.script == Script::Latin).collect();
    if let Some(first) = foreign.first() {
        let own_word = |word: &&Word<'_>| word.lower && word.letters() > 1 || word.known.small & bit(expected) != 0;
        let own = latin.iter().any(own_word);
        return if own { Finding::mixed(first.text) } else { Finding::wrong(first.text) };
    }
    let own_bit = bit(expected);
    if own_bit == 0 {
        return Finding::default();
    }
    let clauses = latin.chunk_by(|one, other| one.clause == other.clause);
    let tallies: Vec<Tally> = clauses.map(|sentence| Tally::of(sentence, own_bit)).collect();
    let own: usize = tallies.iter().map(|tally| tally.own).sum();
    let hits: usize = tallies.iter().map(|tally| tally.other).sum();
    let strange = tallies.iter().zip(latin.chunk_by(|one, other| one.clause == other.clause)).find(|(tally, words)| {
        tally.own == 0
            && tally.other >= 2
            && 4 * tally.other >= words.len()
            && words.iter().filter(|word| word.lower).count() >= 3
    });
    let strange = strange.map(|(tally, _)| tally.language);
    let lower: Vec<&Word<'_>> = latin.into_iter().filter(|word| word.lower).collect();
    if let Some(tally) = tallies.iter().max_by_key(|tally| tally.other).filter(|tally| tally.other >= 2)
        && tallies.iter().all(|tally| tally.own <= tally.other)
        && 4 * own < hits
        && 5 * hits >= lower.len()
    {
        return Finding::wrong(format!("{hits} small words of `{}`", tally.language));
    }
    match strange {
        Some(language) if own > 0 => Finding::mixed(format!("a clause of `{language}`")),
        _ => switched(&lower, own_bit),
    }
}

/// Small words of a clause.
struct Tally {
    /// Those of the expected language that the other one lacks.
    own: usize,
    /// Those of the other language that the expected one lacks.
    other: usize,
    /// The other language with the most small words.
    language: &'static str,
}

impl Tally {
    fn of(sentence: &[&Word<'_>], own_bit: u8) -> Self {
        let only = |wanted: u8, lacked: u8| {
            let has = |word: &&&Word<'_>| word.known.small & wanted != 0 && word.known.small & lacked == 0;
            sentence.iter().filter(has).count()
        };
        let mut others = LATIN.iter().filter(|language| bit(language) != own_bit);
        // Most clauses have no word of another language: one comparison is enough for them.
        if sentence.iter().all(|word| word.known.small & !own_bit == 0) {
            let language = others.next_back().copied().unwrap_or_default();
            return Self { own: only(own_bit, bit(language)), other: 0, language };
        }
        let tallies = others.map(|language| {
            let other_bit = bit(language);
            Self { own: only(own_bit, other_bit), other: only(other_bit, own_bit), language }
        });
        tallies.max_by_key(|tally| tally.other).unwrap_or(Self { own: 0, other: 0, language: "" })
    }
}

/// A stretch of words with small words of another language and none of its own, or a connective of another language.
fn switched(lower: &[&Word<'_>], own_bit: u8) -> Finding {
    const WINDOW: usize = 6;
    const HITS: usize = 3;
    let stray = lower.iter().find(|word| {
        let Known { small, joins, .. } = word.known;
        joins != 0 && (small | joins) & own_bit == 0
    });
    if let Some(word) = stray {
        return Finding::mixed(format!("`{}` is of another language", word.text));
    }
    for language in LATIN.iter().filter(|language| bit(language) != own_bit) {
        let other_bit = bit(language);
        let strange = |word: &&&Word<'_>| word.known.small & other_bit != 0 && word.known.small & own_bit == 0;
        if lower.iter().filter(strange).take(HITS).count() < HITS {
            continue;
        }
        let found = lower.windows(WINDOW).find(|window| {
            let count = |wanted: u8, lacked: u8| {
                window.iter().filter(|word| word.known.small & wanted != 0 && word.known.small & lacked == 0).count()
            };
            count(other_bit, own_bit) >= HITS && count(own_bit, other_bit) == 0
        });
        if let Some(window) = found {
            let words: Vec<&str> = window.iter().map(|word| word.text).collect();
            return Finding::mixed(format!("`{}` of `{language}`", words.join(" ")));
        }
    }
    Finding::default()
}

/// A text that should be in another script: everyday Latin words are a switch, names and technical terms are not.
fn beside_latin(words: &[Word<'_>], foreign: &[&Word<'_>], own: bool, expected: &str) -> Finding {
    let latin = words.iter().filter(|word| word.script == Script::Latin);
    // Nothing of the own script, and small words among others that are no capitals: a sentence, and no name.
    let sentence = !own
        && latin.clone().any(|word| word.known.small != 0 && word.letters() > 1)
        && latin.clone().any(|word| word.lower && word.letters() > 2 && !["and", "the"].contains(&word.text));
    if let (true, Some(first), None) = (sentence, latin.clone().next(), foreign.first()) {
        return Finding::wrong(first.text);
    }
    let stray = || words.iter().enumerate().find(|(at, _)| is_everyday(words, *at)).map(|(_, word)| word);
    let Some(first) = foreign.first().copied().or_else(stray) else { return Finding::default() };
    match own {
        true => Finding::mixed(first.text),
        // In Japanese, Han letters alone may still be another language: that is told elsewhere.
        false if expected == "ja" && first.script == Script::Han => Finding::default(),
        false => Finding::wrong(first.text),
    }
}

/// Whether a Latin word is an everyday one, and no part of a name.
fn is_everyday(words: &[Word<'_>], at: usize) -> bool {
    let word = &words[at];
    // No term has letters with accents.
    if word.script == Script::Latin && word.lower && !word.text.is_ascii() && word.letters() > 2 {
        return true;
    }
    if names_syntax(words, at) {
        return false;
    }
    let common = word.known.small != 0 || word.known.joins != 0 || word.known.everyday;
    // These two stand inside names and terms.
    if !common || word.text.len() < 2 || word.text.eq_ignore_ascii_case("of") || word.text.eq_ignore_ascii_case("in") {
        return false;
    }
    let latin = |at: Option<usize>| at.and_then(|at| words.get(at)).filter(|word| word.script == Script::Latin);
    let capital = |at: Option<usize>| latin(at).is_some_and(|word| !word.lower);
    let (before, after) = (at.checked_sub(1), at.checked_add(1));
    if word.lower {
        return !(capital(before) && capital(after));
    }
    // A capital one is a name's, unless a lower everyday word follows.
    let shout = word.text.chars().all(char::is_uppercase);
    let follows = latin(after).is_some_and(|next| next.lower && (next.known.small != 0 || next.known.everyday));
    !shout && follows
}

/// Whether a word is a keyword that the next word calls one, as in `for 循环`.
fn names_syntax(words: &[Word<'_>], at: usize) -> bool {
    const KINDS: [&str; 15] = [
        "循环",
        "语句",
        "函数",
        "关键字",
        "变量",
        "方法",
        "命令",
        "按钮",
        "键",
        "指令",
        "标签",
        "迴圈",
        "函數",
        "文",
        "ループ",
    ];
    words.get(at + 1).is_some_and(|next| KINDS.iter().any(|kind| next.text.starts_with(kind)))
}

/// Chinese and Japanese share their Han letters: in Japanese, letters that only Chinese has give a sentence away.
fn without_kana(words: &[Word<'_>]) -> Finding {
    // Letters of simplified Chinese, and small words of Chinese.
    const CHINESE_ONLY: &str = "的是了们这个么吗呢吧没她你为应该两图车从还结给过对说时间问边长发见话题请谁总线红绿蓝鸟鱼马东门\
                                开关样种颜几无钟那哪它很把被";
    let kana = words.iter().any(|word| word.script == Script::Kana);
    let chinese = words.chunk_by(|one, other| one.sentence == other.sentence).find_map(|sentence| {
        let telling = |word: &&Word<'_>| {
            word.script == Script::Han && word.text.chars().filter(|letter| CHINESE_ONLY.contains(*letter)).count() >= 2
        };
        let japanese = sentence.iter().any(|word| word.script == Script::Kana);
        sentence.iter().find(telling).filter(|_| !japanese)
    });
    match chinese {
        Some(word) if kana => Finding::mixed(word.text),
        Some(word) => Finding::wrong(word.text),
        None => Finding::default(),
    }
}

/// How strictly languages are held apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Names, terms, quotes and formulas are excused.
    #[default]
    Prose,
    /// Any letter of another script counts: for tasks whose answers hold no names of another script.
    Script,
}

/// 1 (a penalty) when the thinking or the answer mixes languages or is in another one than the query: its column
/// `language`, else the script of its question.
pub fn score(query: &Query, transcript: &Transcript, strictness: Strictness, thinking_counts: bool) -> PartScore {
    let expected = match query.columns.get("language").and_then(|language| language.as_str()) {
        Some(language) => language.to_owned(),
        None => guess(&query.question()).to_owned(),
    };
    let texts = [
        ("thinking", Some(transcript.reasoning()).filter(|_| thinking_counts)),
        ("answer", extract::answer(transcript)),
    ];
    for (place, text) in texts {
        let Some(text) = text else { continue };
        let fault = match strictness {
            Strictness::Script => strays_from(&expected, text),
            Strictness::Prose => {
                let finding = examine(text, &expected);
                let what = if finding.mixed { "mixes languages" } else { "is in another language" };
                finding.evidence.map(|evidence| format!("{what}: {evidence}"))
            }
        };
        if let Some(fault) = fault {
            return PartScore::verdict(true, format!("{place}, {expected}: {fault}"));
        }
    }
    PartScore::verdict(false, format!("{expected} throughout"))
}

/// The language that a question is most likely in: by its script, and English for Latin letters.
pub fn guess(question: &str) -> &'static str {
    let running = running::running(question);
    let words = split(&running);
    let count = |script| words.iter().filter(|word| word.script == script).map(Word::letters).sum::<usize>();
    let latin = count(Script::Latin);
    if count(Script::Kana) > 0 && count(Script::Kana) + count(Script::Han) >= latin / 4 {
        return "ja";
    }
    let scripts = [(Script::Han, "zh"), (Script::Hangul, "ko"), (Script::Cyrillic, "ru"), (Script::Arabic, "ar")];
    // A syllable or a Chinese letter says as much as several Latin letters.
    let weight = |script| if matches!(script, Script::Han | Script::Hangul) { 4 } else { 1 };
    let best = scripts.into_iter().max_by_key(|(script, _)| count(*script) * weight(*script));
    best.filter(|(script, _)| count(*script) * weight(*script) > latin).map_or("en", |(_, language)| language)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn switches_are_found() {
        for (language, text) in [
            ("en", "The left bar is higher, donc we pick A."),
            ("en", "We count them all: 一共五个, so five."),
            ("en", "The car is red weil es so ist."),
            ("en", "First we add both bars. Después sumamos los dos y el total es quince."),
            ("zh", "这个 answer 应该是五。"),
            ("zh", "答案是 because 左边更高。"),
            ("zh", "图中有两辆车。そして、右の車は赤い。"),
            ("ru", "Здесь три столбца, therefore ответ три."),
            ("fr", "Le graphique montre trois barres, and the tallest one is July."),
            ("de", "Das Bild zeigt zwei Autos, 因此 ist die Antwort zwei."),
            ("ja", "棒は三本です。所以这个答案是三。"),
            ("en", "The bоx is red."),
        ] {
            let finding = examine(text, language);
            assert!(finding.mixed && !finding.wrong_language, "{text}: {finding:?}");
        }
    }

    #[test]
    fn other_languages_are_wrong_and_not_mixed() {
        for (language, text) in [
            ("en", "Le chien est dans le jardin et il dort."),
            ("en", "答案是五。"),
            ("zh", "The answer is five."),
            ("de", "The picture shows two cars in a street."),
            ("fr", "Das Auto steht hinter dem Baum und ist rot."),
            ("ru", "The tallest bar is the third one."),
            ("en", "Ответ пять."),
        ] {
            let finding = examine(text, language);
            assert!(finding.wrong_language && !finding.mixed, "{text}: {finding:?}");
        }
    }

    #[test]
    fn names_terms_quotes_and_formulas_are_excused() {
        for (language, text) in [
            ("en", "Beijing (北京) is the capital."),
            ("en", "The Chinese word for water is 水."),
            ("en", "Rio de Janeiro and Los Angeles are far apart."),
            ("en", "The angle Δx is small, and λ = 3 μm."),
            ("en", "See https://例子.cn/a for more."),
            ("zh", "他在 Bank of America 工作，用的是 Python 和 PyTorch。"),
            ("zh", "设 x 为 5，则 f(x) = 2x + 1。"),
            ("zh", "用 learning rate 和 dropout 训练。"),
            ("ja", "モデルは Transformer です。"),
            ("ru", "Модель GPT обучена на Python."),
            ("en", "two red circles and one blue square"),
            ("zh", "两个红色圆形和一个蓝色方形"),
            ("en", "11:35"),
            ("zh", "85"),
        ] {
            assert_eq!(examine(text, language), Finding::default(), "{text}");
        }
    }

    #[test]
    fn languages_are_guessed_by_script() {
        for (text, language) in [
            ("How many?", "en"),
            ("有几个 red 图形？", "zh"),
            ("いくつありますか", "ja"),
            ("Сколько?", "ru"),
            ("5+5", "en"),
        ] {
            assert_eq!(guess(text), language, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(\\PC|[a-zа-я一-三あ-う \"`$<>()]){0,120}", language in "(en|zh|ja|ru|fr|xx)") {
            let finding = examine(&text, &language);
            prop_assert!(!(finding.mixed && finding.wrong_language));
        }
    }
}
