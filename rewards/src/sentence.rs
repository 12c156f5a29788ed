//! Where sentences and clauses begin and end.

/// Where the first sentence of a text ends: at a line's end, or a full stop that a space or nothing follows.
pub(crate) fn sentence_end(text: &str) -> usize {
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let next = letters.peek().map(|(_, letter)| *letter);
        let ends = match letter {
            '\n' | '。' | '；' | '！' | '？' | '।' | '؟' => true,
            '.' | '!' | '?' | ';' => next.is_none_or(char::is_whitespace),
            _ => false,
        };
        if ends {
            return at;
        }
    }
    text.len()
}

/// Where the last sentence of a text begins; no more than `most` bytes are looked at.
pub(crate) fn last_sentence(text: &str, most: usize) -> usize {
    let mut next = None;
    for (at, letter) in text.char_indices().rev() {
        let ends = match letter {
            '\n' | '。' | '；' | '！' | '？' | '।' | '؟' => true,
            '.' | '!' | '?' | ';' => next.is_some_and(char::is_whitespace),
            _ => false,
        };
        if ends || text.len() - at > most {
            return at + letter.len_utf8();
        }
        next = Some(letter);
    }
    0
}

/// Where clauses of a text end: at commas outside brackets, but not inside numbers as `1,000`.
pub(crate) fn commas(text: &str) -> Vec<usize> {
    let mut depth = 0_usize;
    let mut letters = text.char_indices().peekable();
    let mut found = Vec::new();
    while let Some((at, letter)) = letters.next() {
        let next = letters.peek().map(|(_, letter)| *letter);
        match letter {
            '(' | '[' | '{' | '（' | '【' => depth += 1,
            ')' | ']' | '}' | '）' | '】' => depth = depth.saturating_sub(1),
            '，' | '、' | '،' if depth == 0 => found.push(at),
            ',' if depth == 0 && next.is_none_or(|next| !next.is_ascii_digit()) => found.push(at),
            _ => {}
        }
    }
    found
}

/// Where the last clause of a text begins: behind its last comma.
pub(crate) fn last_clause(text: &str) -> usize {
    commas(text).last().map_or(0, |at| behind(text, *at))
}

/// Where the last clause of a text begins with the list that it ends: short pieces between commas stay together.
pub(crate) fn last_list(text: &str) -> usize {
    const MOST_WORDS: usize = 2;
    const MOST_LETTERS: usize = 12;
    let commas = commas(text);
    for (index, at) in commas.iter().enumerate().rev() {
        let begins = index.checked_sub(1).map_or(0, |before| behind(text, commas[before]));
        let piece = text[begins..*at].trim();
        if piece.split_whitespace().nth(MOST_WORDS).is_some() || piece.chars().nth(MOST_LETTERS).is_some() {
            return behind(text, *at);
        }
    }
    0
}

/// Where the first clause of a text ends: at its first comma.
pub(crate) fn first_clause(text: &str) -> usize {
    commas(text).first().copied().unwrap_or(text.len())
}

/// The place behind the letter at a place.
fn behind(text: &str, at: usize) -> usize {
    at + text[at..].chars().next().map_or(0, char::len_utf8)
}
