//! What a short piece of text chooses: a letter, an option's text, or both.

use std::collections::BTreeMap;

use crate::closings::Closings;
use crate::extract::{MOST_ANSWERS, unwrapped};
use crate::text::normalised;

/// The options by their letter.
pub type Choices = BTreeMap<char, String>;

/// What a piece of text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    One(char),
    /// Several options, or one that does not exist: a statement that chooses nothing.
    Unclear,
    Nothing,
}

/// Where a piece of text stands, which decides how much like a choice it must look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A whole reply, or the whole content of a box or tag.
    Whole,
    /// After words that announce a choice.
    Announced,
    /// After words that may announce one: only a capital letter by itself, or an option's text.
    Hinted,
}

impl Said {
    pub(super) fn letter(self) -> Option<char> {
        match self {
            Self::One(letter) => Some(letter),
            Self::Unclear | Self::Nothing => None,
        }
    }
}

/// A text without what is put around a letter: emphasis, brackets, LaTeX, and the word `option`.
pub(super) fn bare(text: &str) -> &str {
    const AROUND: [&str; 14] = [
        "\\text{",
        "\\textbf{",
        "\\mathrm{",
        "\\mathbf{",
        "\\boxed{",
        "option ",
        "choice ",
        "letter ",
        "选项",
        "the ",
        "la ",
        "le ",
        "die ",
        "el ",
    ];
    // Marks of lists and headings, and ticks.
    const BEFORE: [&str; 14] = ["- ", "* ", "• ", "> ", "# ", "## ", "### ", "=> ", "-> ", "→", "✅", "☑", "✔", "✓"];
    let mut text = unwrapped(text);
    loop {
        while let Some(rest) = BEFORE.iter().find_map(|mark| text.strip_prefix(mark)) {
            text = unwrapped(rest);
        }
        text = text.trim_end_matches(['✅', '☑', '✔', '✓', '\u{fe0f}']).trim_end();
        text = text.strip_prefix('【').and_then(|inner| inner.strip_suffix('】')).unwrap_or(text);
        let start = AROUND.iter().find(|prefix| {
            let begin = text.get(..prefix.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
        });
        let Some(prefix) = start else { return text };
        text = unwrapped(text[prefix.len()..].trim_end_matches('}'));
    }
}

/// Whether a letter is one of a script that is written without spaces.
fn is_unspaced(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// The options of a query, and the languages in which a reply may choose one.
pub(super) struct Reading<'a> {
    pub(super) choices: &'a Choices,
    pub(super) closings: &'a Closings,
}

impl Reading<'_> {
    /// Whether a letter is written as the options are, so that it can be a choice without further words.
    pub(super) fn is_capital(&self, letter: char) -> bool {
        letter.is_ascii_uppercase() || self.choices.contains_key(&letter) && !letter.is_ascii_lowercase()
    }

    /// The option that a word is, brackets and all.
    pub(super) fn letter(&self, word: &str) -> Option<char> {
        let (letter, rest) = self.leading_letter(word)?;
        let known = self.is_capital(letter) && self.choices.contains_key(&letter);
        (known && !rest.contains(|letter: char| letter.is_alphanumeric() && !is_unspaced(letter))).then_some(letter)
    }

    /// The letter that a text begins with, standing for itself, and what follows.
    pub(super) fn leading_letter<'t>(&self, text: &'t str) -> Option<(char, &'t str)> {
        let inner = text.trim_start_matches(['(', '[', '{']);
        let letter = inner.chars().next()?;
        let rest = &inner[letter.len_utf8()..];
        let known = self.choices.contains_key(&letter) || self.choices.contains_key(&letter.to_ascii_uppercase());
        let mut next = rest.chars();
        let alone = match (next.next(), next.next(), next.next()) {
            // A word, C++, C#.
            (Some(first), ..) if "'’+#".contains(first) => false,
            (Some(first), ..) if first.is_alphanumeric() && !(letter.is_ascii() && is_unspaced(first)) => false,
            // D-Day, but not `D - Day`.
            (Some('-'), Some(second), _) => !second.is_alphanumeric(),
            // A.M.
            (Some('.'), Some(second), None | Some('.')) if second.is_ascii_uppercase() => false,
            _ => true,
        };
        (alone && (known || letter.is_ascii_alphabetic())).then_some((letter, rest))
    }

    /// Whether a text is that of an option and nothing else.
    pub(super) fn is_option(&self, text: &str) -> bool {
        let key = normalised(text);
        self.choices.values().any(|option| normalised(option) == key)
    }

    /// What a piece of text chooses when it begins with a choice, or is the text of one.
    pub(super) fn content(&self, text: &str, place: Place) -> Said {
        let named = self.option_text(text);
        if named != Said::Nothing {
            return named;
        }
        let text = bare(self.closings.without_option(bare(text)));
        let Some((letter, rest)) = self.leading_letter(text) else { return Said::Nothing };
        let capital = letter.to_ascii_uppercase();
        let after = rest.trim_start_matches([')', ']', '.', ':', '}', '*', '"', '`', '】', '」']).trim();
        let key = if self.choices.contains_key(&letter) { letter } else { capital };
        let Some(option) = self.choices.get(&key) else {
            // A letter outside the list, alone, is a choice of nothing.
            return if after.is_empty() { Said::Unclear } else { Said::Nothing };
        };
        if self.offers_another(after) {
            return Said::Unclear;
        }
        let own = normalised(option) == normalised(after);
        let accepted = if after.is_empty() || own {
            self.is_capital(letter) || place != Place::Hinted
        } else {
            place != Place::Hinted && self.is_explained(letter, rest, after, place)
        };
        if accepted { Said::One(key) } else { Said::Nothing }
    }

    /// The option that a text ends with, unless it ends a list of them.
    pub(super) fn trailing(&self, text: &str) -> Said {
        let said = self.content(text, Place::Announced);
        if said != Said::Nothing {
            return said;
        }
        let text = text.trim_end_matches(['*', ')', ' ', '"', '`', ']', '】', '」', ':']);
        let Some(letter) = text.chars().next_back().filter(|letter| self.choices.contains_key(letter)) else {
            return Said::Nothing;
        };
        let before = &text[..text.len() - letter.len_utf8()];
        let apart = before.chars().next_back().is_none_or(|before| !before.is_alphanumeric() || is_unspaced(before));
        let list = before.trim_end_matches(['(', '*', ' ', '[', '【', '「']);
        let words = list.rsplit(|letter: char| letter.is_whitespace()).next().unwrap_or_default();
        let listed = list.ends_with([',', '/', '、', '，', '&'])
            || self.closings.joint(words).is_some()
            || ["와", "과", "と", "か", "和", "或", "及"].iter().any(|joint| list.ends_with(joint));
        if apart && !listed && self.is_capital(letter) { Said::One(letter) } else { Said::Nothing }
    }

    /// The option whose text this is: as it stands, without what is put around it, without its article, or with
    /// reasons after it.
    fn option_text(&self, text: &str) -> Said {
        let only = |same: &dyn Fn(&str) -> bool| {
            let mut found = self.choices.iter().filter(|(_, option)| same(option));
            match (found.next(), found.next()) {
                (Some((letter, _)), None) => Said::One(*letter),
                (Some(_), Some(_)) => Said::Unclear,
                (None, _) => Said::Nothing,
            }
        };
        for key in [normalised(text), normalised(bare(text))] {
            let said = only(&|option| normalised(option) == key);
            if said != Said::Nothing {
                return said;
            }
        }
        let key = normalised(text);
        let said = only(&|option| without_article(&normalised(option)) == without_article(&key));
        if said != Said::Nothing {
            return said;
        }
        self.with_reasons(&key)
    }

    /// An option's text at the beginning of a sentence that goes on with reasons, and names no other option.
    fn with_reasons(&self, key: &str) -> Said {
        const PAUSES: [&str; 8] = [", ", "; ", ". ", " because ", " since ", " as ", " (", "，"];
        for (letter, option) in self.choices {
            let option = normalised(option);
            let Some(rest) = key.strip_prefix(option.as_str()).filter(|_| is_worded(&option)) else { continue };
            if !PAUSES.iter().any(|pause| rest.starts_with(pause)) {
                continue;
            }
            let words: Vec<&str> = rest.split(|letter: char| !letter.is_alphanumeric()).collect();
            let other = self.choices.iter().filter(|(other, _)| *other != letter).any(|(other, text)| {
                let text = normalised(text);
                is_worded(&text) && format!(" {} ", words.join(" ")).contains(&format!(" {text} "))
                    || rest.contains(&format!("({})", other.to_ascii_lowercase()))
            });
            return if other || is_doubtful(&words) { Said::Unclear } else { Said::One(*letter) };
        }
        Said::Nothing
    }

    /// The option whose text ends a sentence or clause, when it is the only one there and nothing denies or doubts it.
    pub(super) fn mentions(&self, sentence: &str) -> Said {
        let text = normalised(sentence);
        let mut places: Vec<(usize, usize, char)> = Vec::new();
        for (letter, option) in self.choices {
            let option = normalised(option);
            let option = without_article(&option);
            if is_telling(option) {
                let found = text.match_indices(option).filter(|(at, _)| stands_apart(&text, *at, at + option.len()));
                places.extend(found.map(|(at, _)| (at, at + option.len(), *letter)));
            }
        }
        // `red` in `dark red` is no mention of it.
        let inside = |(start, end, _): &(usize, usize, char), (from, to, _): &(usize, usize, char)| {
            from <= start && end <= to && to - from > end - start
        };
        let mut letters: Vec<char> = Vec::new();
        for place in &places {
            if !places.iter().any(|other| inside(place, other)) && !letters.contains(&place.2) {
                letters.push(place.2);
            }
        }
        let [letter] = letters[..] else {
            return if letters.is_empty() { Said::Nothing } else { Said::Unclear };
        };
        // "A man walks by the river" tells of the picture, and chooses nothing.
        let ends = |end: usize| {
            let rest = text[end..].trim_start_matches(['*', '"', '`', '$', ' ']);
            rest.is_empty()
                || rest.starts_with(['.', ',', ';', '!', ')', '。', '，', '、', '।'])
                || self.closings.is_verb_at_end(rest.trim_end_matches(['.', '。', '।', '!', ' ']))
                || COPULAS.iter().any(|verb| rest.starts_with(verb)) && self.closings.verdict(rest) == Some(true)
        };
        if !places.iter().any(|(_, end, _)| ends(*end)) {
            return Said::Nothing;
        }
        let words: Vec<&str> = text.split(|letter: char| !letter.is_alphanumeric()).collect();
        // A letter beside the text says the same or nothing at all.
        let other = sentence
            .split(|letter: char| letter.is_whitespace() || ",.;:*\"".contains(letter))
            .filter(|word| word.starts_with('(') || word.ends_with(')'))
            .any(|word| self.letter(word.trim_matches(['(', ')'])).is_some_and(|named| named != letter));
        let asked = sentence.trim_end().ends_with('?');
        if other || asked || is_doubtful(&words) || self.closings.denies(&text) {
            Said::Unclear
        } else {
            Said::One(letter)
        }
    }

    /// Whether what follows a letter is an explanation of the choice, and not the rest of a sentence that begins with
    /// it.
    fn is_explained(&self, letter: char, rest: &str, after: &str, place: Place) -> bool {
        let first_word = after.split([' ', ',', ';']).next().unwrap_or_default().to_lowercase();
        let verb =
            ["is", "was", "isn't", "are", "cannot", "can't", "does", "doesn't", "has"].contains(&first_word.as_str());
        // "B: no", "B - wrong".
        let called = after.trim_start_matches(['-', '–', '—', ' ']);
        let names_another = called.split(' ').skip(1).any(|word| self.letter(word).is_some());
        if !after.starts_with([',', '，', '、', '،']) && self.closings.begins_wrong(called) && !names_another {
            return false;
        }
        if rest.starts_with([')', ']', '.', ':', '}', '】', '」']) {
            return !verb;
        }
        let paused = after.starts_with([',', ';', '-', '–', '—', '，', '；', '、', '،', '(', '（'])
            || after.starts_with("因为")
            || after.starts_with("因為");
        let verb_allowed = verb && place == Place::Announced && letter != 'I';
        self.is_capital(letter) && (paused || verb_allowed || REASONS.contains(&first_word.as_str()))
    }

    /// Whether what follows a letter names a second option beside it.
    fn offers_another(&self, after: &str) -> bool {
        // A row of letters, as in `(A) (B)`.
        let letter = |token: &str| {
            let mut inner = token.trim_matches(|letter: char| !letter.is_alphanumeric()).chars();
            matches!((inner.next(), inner.next()), (Some(letter), None) if self.choices.contains_key(&letter))
        };
        if !after.is_empty() && after.split_whitespace().take(MOST_ANSWERS).all(letter) {
            return true;
        }
        let mut next = after;
        let mut joined = false;
        while let Some(end) =
            self.closings.joint(next).or_else(|| next.starts_with(['/', ',', '&', '、', '，', '،', '+']).then_some(1))
        {
            joined = true;
            let end = (end..=next.len()).find(|end| next.is_char_boundary(*end)).unwrap_or(next.len());
            next = next[end..].trim_start();
        }
        joined
            && self.leading_letter(bare(self.closings.without_option(bare(next)))).is_some_and(|(letter, rest)| {
                let alone = rest.trim_start().is_empty() || !rest.starts_with(' ');
                let known =
                    self.choices.contains_key(&letter.to_ascii_uppercase()) || self.choices.contains_key(&letter);
                known && (self.is_capital(letter) && letter != 'I' || alone)
            })
    }
}

/// Whether a text has words, so that it cannot go on as numbers do.
fn is_worded(option: &str) -> bool {
    option.chars().filter(|letter| letter.is_alphabetic()).count() > 1
}

/// Whether an option's text says something by itself in a sentence, and is none of the words that any sentence has.
fn is_telling(option: &str) -> bool {
    const EVERYDAY: [&str; 26] = [
        "yes",
        "no",
        "may",
        "can",
        "will",
        "right",
        "left",
        "one",
        "two",
        "none",
        "all",
        "both",
        "true",
        "false",
        "some",
        "other",
        "same",
        "more",
        "less",
        "correct",
        "incorrect",
        "wrong",
        "unknown",
        "here",
        "there",
        "and",
    ];
    let letters = option.chars().filter(|letter| letter.is_alphabetic()).count();
    let least = if option.chars().any(is_unspaced) { 2 } else { 3 };
    letters >= least && !EVERYDAY.contains(&option)
}

/// Whether a piece of a text is no part of longer words.
fn stands_apart(text: &str, start: usize, end: usize) -> bool {
    let joined = |a: Option<char>, b: Option<char>| {
        let word = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() && !is_unspaced(letter));
        word(a) && word(b)
    };
    let (before, after) = (&text[..start], &text[end..]);
    let piece = &text[start..end];
    !joined(before.chars().next_back(), piece.chars().next())
        && !joined(piece.chars().next_back(), after.chars().next())
}

fn is_doubtful(words: &[&str]) -> bool {
    const DOUBTS: [&str; 12] = [
        "or", "maybe", "perhaps", "either", "possibly", "might", "could", "neither", "if", "whether", "unsure", "guess",
    ];
    words.iter().any(|word| DOUBTS.contains(word))
}

fn without_article(text: &str) -> &str {
    ["a ", "an ", "the "].iter().find_map(|article| text.strip_prefix(article)).unwrap_or(text)
}

/// Verbs before a verdict behind an option's text: "None of the above is correct".
const COPULAS: [&str; 7] = ["is ", "are ", "ist ", "est ", "es ", "è ", "é "];
/// What may stand between a letter and the reasons for it.
const REASONS: [&str; 12] =
    ["because", "since", "as", "for", "due", "which", "given", "based", "with", "rather", "instead", "not"];
