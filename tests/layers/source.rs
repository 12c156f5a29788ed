//! Rust source as tokens: no comments, no strings, no tests, and every token knows its line.

use std::path::{Path, PathBuf};

/// A word, `::` or one sign, with its line counted from 1. Strings, numbers and characters are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    /// Whether it is a word: a name or a keyword.
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// The tokens of a file in order.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: text, line: 1, tokens: Vec::new() };
    while let Some(first) = lexer.rest.chars().next() {
        lexer.next(first);
    }
    lexer.tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn next(&mut self, first: char) {
        match first {
            '/' if self.rest.starts_with("//") => self.skip(self.rest.find('\n').unwrap_or(self.rest.len())),
            '/' if self.rest.starts_with("/*") => self.skip(comment_length(self.rest)),
            '"' => self.skip(string_length(self.rest)),
            '\'' => self.skip(quote_length(self.rest)),
            ':' if self.rest.starts_with("::") => self.push(2),
            _ if first.is_ascii_digit() => self.skip(word_length(self.rest)),
            _ if first.is_alphabetic() || first == '_' => self.word(),
            _ if first.is_whitespace() => self.skip(first.len_utf8()),
            _ => self.push(first.len_utf8()),
        }
    }

    /// A word, unless it is the prefix of a string (`b"..."`, `r#"..."#`).
    fn word(&mut self) {
        let length = word_length(self.rest);
        let (word, after) = self.rest.split_at(length);
        let hashes = after.len() - after.trim_start_matches('#').len();
        let is_prefix = ["r", "b", "c", "br", "cr"].contains(&word) && after[hashes..].starts_with('"');
        if !is_prefix {
            return self.push(length);
        }
        if word.contains('r') {
            let (opened, end) = (length + hashes + 1, format!("\"{}", "#".repeat(hashes)));
            let closed = self.rest[opened..].find(&end).map_or(self.rest.len(), |at| opened + at + end.len());
            return self.skip(closed);
        }
        self.skip(length + string_length(after));
    }

    fn push(&mut self, length: usize) {
        self.tokens.push(Token { text: self.rest[..length].to_owned(), line: self.line });
        self.rest = &self.rest[length..];
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length);
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }
}

fn word_length(text: &str) -> usize {
    text.find(|sign: char| !sign.is_alphanumeric() && sign != '_').unwrap_or(text.len())
}

fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, sign) in text.char_indices().skip(1) {
        if sign == '"' && !escaped {
            return at + 1;
        }
        escaped = sign == '\\' && !escaped;
    }
    text.len()
}

/// A character in quotes, or the quote of a lifetime alone.
fn quote_length(text: &str) -> usize {
    let mut signs = text.char_indices().skip(1);
    match (signs.next(), signs.next()) {
        // What stands after the backslash may be a quote itself.
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            text[from..].find('\'').map_or(text.len(), |end| from + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

fn comment_length(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(found) = text[at..].find(['/', '*']) {
        at += found;
        if text[at..].starts_with("/*") {
            (at, depth) = (at + 2, depth + 1);
        } else if text[at..].starts_with("*/") {
            (at, depth) = (at + 2, depth - 1);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The tokens less every item under `#[cfg(test)]`; a file under `#![cfg(test)]` has none left.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_inner = starts_with(&tokens[at..], &["#", "!", "[", "cfg", "(", "test", ")"]);
        if is_inner {
            return Vec::new();
        }
        if starts_with(&tokens[at..], &["#", "[", "cfg", "(", "test", ")"]) {
            at = item_end(tokens, at);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Where the item that starts at `at` with its attributes ends: after its block, or after its semicolon.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while starts_with(&tokens[at..], &["#", "["]) {
        at = closing(tokens, at + 1) + 1;
    }
    let is_use = tokens[at..].iter().take(6).take_while(|token| token.text != ";").any(|token| token.text == "use");
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" if !is_use => return closing(tokens, at) + 1,
            "(" | "[" | "{" => at = closing(tokens, at) + 1,
            ";" => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// The place of the bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len() - 1
}

/// Whether the tokens begin with these texts.
pub(crate) fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

/// Every Rust file in and under a folder, in order of their paths.
pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry of a folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        tokens(text).into_iter().filter(Token::is_word).map(|token| token.text).collect()
    }

    #[test]
    fn strings_comments_and_characters_are_no_words() {
        let text = r####"a "b \" c" r#"d " e"# b"f" 'g' '\'' '"' /* h /* i */ j */ k // l
            'm n 1u32 r#type"####;
        assert_eq!(words(text), ["a", "k", "m", "n", "r", "type"]);
        assert_eq!(tokens("a\n\"\n\n\" b").last().map(|token| token.line), Some(4));
    }

    #[test]
    fn items_of_tests_are_left_out() {
        let text = "fn a() {} #[cfg(test)] mod b { fn c() {} } #[cfg(test)] #[x] use d::{e}; fn f() {} \
                    #[cfg(test)] mod g; #[cfg(test)] pub(super) fn h(i: [u8; 2]) -> J { k } struct L;";
        let kept: Vec<String> = without_tests(&tokens(text)).into_iter().map(|token| token.text).collect();
        assert_eq!(kept.join(" "), "fn a ( ) { } fn f ( ) { } struct L ;");
        assert!(without_tests(&tokens("#![cfg(test)] fn a() {}")).is_empty());
    }
}
