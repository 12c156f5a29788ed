//! What a short piece of text chooses: a letter, an option's text, or both.

use std::collections::BTreeMap;

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
    const AROUND: [&str; 10] =
        ["\\text{", "\\textbf{", "\\mathrm{", "\\mathbf{", "\\boxed{", "option ", "choice ", "letter ", "选项", "the "];
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

/// The letter that a text begins with, standing for itself, and what follows.
pub(super) fn leading_letter<'t>(text: &'t str, choices: &Choices) -> Option<(char, &'t str)> {
    let inner = text.trim_start_matches(['(', '[', '{']);
    let letter = inner.chars().next()?;
    let rest = &inner[letter.len_utf8()..];
    let known = choices.contains_key(&letter) || choices.contains_key(&letter.to_ascii_uppercase());
    let mut next = rest.chars();
    let alone = match (next.next(), next.next(), next.next()) {
        // A word, C++, C#.
        (Some(first), ..) if first.is_ascii_alphanumeric() || "'+#".contains(first) => false,
        // D-Day, but not `D - Day`.
        (Some('-'), Some(second), _) => !second.is_alphanumeric(),
        // A.M.
        (Some('.'), Some(second), None | Some('.')) if second.is_ascii_uppercase() => false,
        _ => true,
    };
    (alone && (known || letter.is_ascii_alphabetic())).then_some((letter, rest))
}

/// What a piece of text chooses when it begins with a choice, or is the text of one.
pub(super) fn content(text: &str, choices: &Choices, place: Place) -> Said {
    let named = option_text(text, choices);
    if named != Said::Nothing {
        return named;
    }
    let text = bare(text);
    let Some((letter, rest)) = leading_letter(text, choices) else { return Said::Nothing };
    let capital = letter.to_ascii_uppercase();
    let after = rest.trim_start_matches([')', ']', '.', ':', '}', '*', '"', '`']).trim();
    if !choices.contains_key(&capital) {
        // A letter outside the list, alone, is a choice of nothing.
        return if after.is_empty() { Said::Unclear } else { Said::Nothing };
    }
    if offers_another(after, choices) {
        return Said::Unclear;
    }
    let own = choices.get(&capital).is_some_and(|option| normalised(option) == normalised(after));
    let upper = letter.is_ascii_uppercase();
    let accepted = if after.is_empty() || own {
        upper || place != Place::Hinted
    } else {
        place != Place::Hinted && is_explained(letter, rest, after, place)
    };
    if accepted { Said::One(capital) } else { Said::Nothing }
}

/// The option whose text this is: as it stands, without what is put around it, without its article, or with reasons
/// after it.
fn option_text(text: &str, choices: &Choices) -> Said {
    let only = |same: &dyn Fn(&str) -> bool| {
        let mut found = choices.iter().filter(|(_, option)| same(option));
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
    with_reasons(&key, choices)
}

fn without_article(text: &str) -> &str {
    ["a ", "an ", "the "].iter().find_map(|article| text.strip_prefix(article)).unwrap_or(text)
}

/// What may stand between a letter and the reasons for it.
const REASONS: [&str; 12] =
    ["because", "since", "as", "for", "due", "which", "given", "based", "with", "rather", "instead", "not"];

/// An option's text at the beginning of a sentence that goes on with reasons, and names no other option.
fn with_reasons(key: &str, choices: &Choices) -> Said {
    const PAUSES: [&str; 8] = [", ", "; ", ". ", " because ", " since ", " as ", " (", "，"];
    // Numbers go on as numbers.
    let worded = |option: &str| option.chars().filter(|letter| letter.is_alphabetic()).count() > 1;
    for (letter, option) in choices {
        let option = normalised(option);
        let Some(rest) = key.strip_prefix(option.as_str()).filter(|_| worded(&option)) else { continue };
        if !PAUSES.iter().any(|pause| rest.starts_with(pause)) {
            continue;
        }
        let words: Vec<&str> = rest.split(|letter: char| !letter.is_alphanumeric()).collect();
        let other = choices.iter().filter(|(other, _)| *other != letter).any(|(other, text)| {
            let text = normalised(text);
            worded(&text) && format!(" {} ", words.join(" ")).contains(&format!(" {text} "))
                || rest.contains(&format!("({})", other.to_ascii_lowercase()))
        });
        let doubts = words.iter().any(|word| ["or", "maybe", "perhaps", "either", "possibly"].contains(word));
        return if other || doubts { Said::Unclear } else { Said::One(*letter) };
    }
    Said::Nothing
}

/// Whether what follows a letter is an explanation of the choice, and not the rest of a sentence that begins with it.
fn is_explained(letter: char, rest: &str, after: &str, place: Place) -> bool {
    let first_word = after.split([' ', ',', ';']).next().unwrap_or_default().to_lowercase();
    let verb =
        ["is", "was", "isn't", "are", "cannot", "can't", "does", "doesn't", "has"].contains(&first_word.as_str());
    if rest.starts_with([')', ']', '.', ':', '}']) {
        return !verb;
    }
    let paused = after.starts_with([',', ';', '-', '，', '；', '(', '（']) || after.starts_with("因为");
    let verb_allowed = verb && place == Place::Announced && letter != 'I';
    letter.is_ascii_uppercase() && (paused || verb_allowed || REASONS.contains(&first_word.as_str()))
}

/// Whether what follows a letter names a second option beside it.
fn offers_another(after: &str, choices: &Choices) -> bool {
    const JOINTS: [&str; 14] = [
        "or maybe ",
        "or perhaps ",
        "or possibly ",
        "and/or ",
        "or ",
        "and ",
        "/",
        ",",
        "&",
        "或者",
        "或",
        "和",
        "、",
        "以及",
    ];
    let lower = after.to_lowercase();
    // A row of letters, as in `(A) (B)`.
    let letter = |token: &str| {
        let mut inner = token.trim_matches(|letter: char| !letter.is_alphanumeric()).chars();
        matches!((inner.next(), inner.next()), (Some(letter), None) if choices.contains_key(&letter))
    };
    if !after.is_empty() && after.split_whitespace().take(MOST_ANSWERS).all(letter) {
        return true;
    }
    let Some(joint) = JOINTS.iter().find(|joint| lower.starts_with(**joint)) else { return false };
    let next = bare(after[joint.len()..].trim_start());
    let next = JOINTS.iter().find_map(|joint| next.strip_prefix(joint)).unwrap_or(next).trim_start();
    leading_letter(next, choices).is_some_and(|(letter, rest)| {
        let alone = rest.trim_start().is_empty() || !rest.starts_with(' ');
        choices.contains_key(&letter.to_ascii_uppercase()) && (letter.is_ascii_uppercase() && letter != 'I' || alone)
    })
}
