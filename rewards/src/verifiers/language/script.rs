//! Writing systems: the script of a letter, and those of a language.

use unicode_script::UnicodeScript;

/// A writing system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Script {
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
    /// The script of a letter; nothing for what is no letter of a language.
    pub(super) fn of(letter: char) -> Option<Self> {
        if letter.is_ascii() {
            return letter.is_ascii_alphabetic().then_some(Self::Latin);
        }
        if !letter.is_alphabetic() {
            return None;
        }
        Some(match letter {
            // Signs of formulas and ordinals, which are letters to Unicode.
            '\u{aa}' | '\u{ba}' | '\u{2100}'..='\u{214f}' => return None,
            // Signs that the standard counts to no script, or to several.
            '\u{b5}' => Self::Greek,
            '\u{30fc}' | '\u{ff70}' => Self::Kana,
            '\u{3006}' => Self::Han,
            _ => match letter.script() {
                unicode_script::Script::Latin => Self::Latin,
                unicode_script::Script::Han => Self::Han,
                unicode_script::Script::Hiragana | unicode_script::Script::Katakana => Self::Kana,
                unicode_script::Script::Hangul => Self::Hangul,
                unicode_script::Script::Cyrillic => Self::Cyrillic,
                unicode_script::Script::Arabic => Self::Arabic,
                unicode_script::Script::Greek => Self::Greek,
                unicode_script::Script::Common | unicode_script::Script::Inherited => return None,
                _ => Self::Other,
            },
        })
    }

    /// The scripts that a language is written in.
    pub(super) fn native(language: &str) -> &'static [Self] {
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

/// How many letters of a text are of another script than `language`. Only Han letters are told from all others, so that
/// names and formulas of Latin-like scripts pass. JSON, digits and punctuation have no language.
pub(super) fn strays_from(language: &str, text: &str) -> Option<String> {
    if text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let native = Script::native(language);
    let (han, others) = (native.contains(&Script::Han), native != [Script::Han]);
    let is_own = |letter: &char| if Script::of(*letter) == Some(Script::Han) { han } else { others };
    let strays = text.chars().filter(|letter| letter.is_alphabetic()).filter(|letter| !is_own(letter)).count();
    (strays > 0).then(|| format!("{strays} letters are not of `{language}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_their_script() {
        for (letter, script) in [
            ('a', Some(Script::Latin)),
            ('\u{e9}', Some(Script::Latin)),
            ('\u{4e2d}', Some(Script::Han)),
            ('\u{3005}', Some(Script::Han)),
            ('\u{30fc}', Some(Script::Kana)),
            ('\u{ff71}', Some(Script::Kana)),
            ('\u{d55c}', Some(Script::Hangul)),
            ('\u{436}', Some(Script::Cyrillic)),
            ('\u{628}', Some(Script::Arabic)),
            ('\u{b5}', Some(Script::Greek)),
            ('\u{e01}', Some(Script::Other)),
            ('\u{2115}', None),
            ('\u{1d465}', None),
            ('5', None),
            ('.', None),
        ] {
            assert_eq!(Script::of(letter), script, "{letter}");
        }
    }

    #[test]
    fn scripts() {
        assert_eq!(strays_from("en", "long 7,short 11"), None);
        assert!(strays_from("en", "long 7,\u{77ed} 11").is_some());
        assert!(strays_from("zh", "long").is_some());
        assert_eq!(strays_from("zh", r#"{"bbox_2d":[1,2,3,4]}"#), None);
        assert_eq!(strays_from("ja", "\u{68d2}\u{306f}\u{4e09}\u{672c}"), None, "both of its scripts");
        assert_eq!(strays_from("ru", "\u{434}\u{430}"), None);
    }
}
