//! What a reader sees of an answer: without comments, hidden or white text, code, and letters that cannot be seen.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("the pattern is a constant and is tested")
}

/// What is taken out, in this order, with a text without which there is none. All patterns run in linear time.
static HIDDEN: LazyLock<Vec<(&'static str, Regex)>> = LazyLock::new(|| {
    let style = r#"(?:(?:color\s*[:=]\s*["']?\s*(?:white|#fff(?:fff)?\b|rgba?\(\s*255\s*,\s*255\s*,\s*255[^)]*\)|transparent))|display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0(?:[;"'\s]|\.0)|\shidden\b)"#;
    let mut patterns = vec![
        ("<!--", pattern(r"(?s)<!--.*?(?:-->|\z)")),
        ("```", pattern(r"(?s)```.*?(?:```|\z)")),
        ("~~~", pattern(r"(?s)~~~.*?(?:~~~|\z)")),
        ("`", pattern(r"`[^`\n]*`")),
        ("]:", pattern(r"(?m)^\s*\[(?://|comment|#|hidden)\]:.*$")),
    ];
    patterns.extend(
        [
            "span", "div", "p", "font", "b", "i", "small", "sub", "sup", "em", "strong", "td", "section", "script",
            "style",
        ]
        .map(|tag| {
            let always = matches!(tag, "script" | "style");
            let attributes = if always { r"[^>]*".to_owned() } else { format!("[^>]*{style}[^>]*") };
            ("<", pattern(&format!(r"(?is)<{tag}\b{attributes}>.*?(?:</{tag}\s*>|\z)")))
        }),
    );
    patterns.extend([
        ("\\textcolor", pattern(r"\\textcolor\s*\{\s*[Ww]hite\s*\}\s*\{[^{}]*\}")),
        ("\\color", pattern(r"\\color\s*\{\s*[Ww]hite\s*\}\s*\{[^{}]*\}")),
        ("\\color", pattern(r"\{\s*\\color\s*\{\s*[Ww]hite\s*\}[^{}]*\}")),
        ("phantom", pattern(r"\\[hv]?phantom\s*\{[^{}]*\}")),
        // Addresses of links and pictures, and what is left of tags.
        ("](", pattern(r"\]\([^)\n]*\)")),
        ("<", pattern(r"</?[A-Za-z][^<>]*>")),
    ]);
    patterns
});

/// Letters that cannot be seen, and those that hide text inside themselves.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}' | '\u{180e}'
        | '\u{e0000}'..='\u{e007f}' | '\u{3164}' | '\u{115f}' | '\u{1160}')
}

/// The text that a reader sees; a letter that cannot be seen parts the words around it.
pub(super) fn visible(text: &str) -> String {
    let mut text = Cow::Borrowed(text);
    for (mark, hidden) in HIDDEN.iter() {
        if !text.contains(mark) {
            continue;
        }
        if let Cow::Owned(kept) = hidden.replace_all(&text, " ") {
            text = Cow::Owned(kept);
        }
    }
    text.chars().map(|letter| if is_invisible(letter) { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_goes() {
        for text in [
            "a <!-- sea --> b",
            "a ```sea``` b",
            "a `sea` b",
            "a <span style=\"color:white\">sea</span> b",
            "a <span style='font-size:0px'>sea</span> b",
            "a <div hidden>sea</div> b",
            "a <font color=\"#FFFFFF\">sea</font> b",
            "a \\textcolor{white}{sea} b",
            "a {\\color{white} sea} b",
            "a \\phantom{sea} b",
            "a se\u{200b}a b",
            "a <x y=\"sea\"> b",
            "a\n[//]: # (sea)\nb",
            "a b <!-- sea",
        ] {
            let seen = visible(text);
            assert!(!seen.contains("sea") && seen.contains('a') && seen.contains('b'), "{text}: {seen}");
        }
        assert_eq!(visible("the sea, <b>blue</b>").split_whitespace().collect::<Vec<_>>(), ["the", "sea,", "blue"]);
        assert!(visible("x < 3 and y > 4").contains("3 and y"));
    }
}
