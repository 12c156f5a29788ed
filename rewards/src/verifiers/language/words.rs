//! The words of running text with their scripts, and those that are no switch of language.

use super::lexicon::{Known, known};
use super::script::Script;

/// A run of letters of one script.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'t> {
    pub(super) text: &'t str,
    pub(super) script: Script,
    /// What is known of it; of Latin words alone.
    pub(super) known: Known,
    /// No letter is a capital.
    pub(super) lower: bool,
    pub(super) sentence: usize,
    /// Counts commas and colons too.
    pub(super) clause: usize,
    /// It touches a word of another script, without even a space between.
    pub(super) glued_to: Option<Script>,
    /// It stands in brackets, as the original of a name does.
    pub(super) bracketed: bool,
}

impl Word<'_> {
    pub(super) fn letters(&self) -> usize {
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

pub(super) fn split(running: &str) -> Vec<Word<'_>> {
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
pub(super) fn disguised<'t>(words: &[Word<'t>]) -> Option<&'t str> {
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
pub(super) fn discussed_sentences(running: &str) -> Vec<bool> {
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
pub(super) fn is_excused(word: &Word<'_>, discussed: &[bool]) -> bool {
    const SHORT: usize = 8;
    match word.script {
        Script::Greek if word.letters() < 3 => true,
        // The particle that shops put into their names.
        Script::Kana if word.text == "の" => true,
        _ => (word.bracketed || discussed.get(word.sentence).copied().unwrap_or(false)) && word.letters() <= SHORT,
    }
}
