//! The characters of an answer, and the place up to which they were read.

/// A reader over the characters of one piece of source.
pub(super) struct Source {
    pub(super) chars: Vec<char>,
    pub(super) at: usize,
    /// Open brackets before this place: a comma inside them separates.
    pub(super) open: Vec<usize>,
}

impl Source {
    pub(super) fn new(text: &str) -> Self {
        Self { chars: text.chars().collect(), at: 0, open: Vec::new() }
    }

    /// The character so far ahead.
    pub(super) fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// Whether the source goes on with `text` at `at`.
    pub(super) fn looking_at(&self, at: usize, text: &str) -> bool {
        text.chars().enumerate().all(|(index, c)| self.chars.get(at + index) == Some(&c))
    }

    /// Takes `\circ` in its spellings after a caret.
    pub(super) fn skip_degree(&mut self) -> bool {
        let rest: String = self.chars[self.at..].iter().take(24).collect();
        let inner = rest.trim_start();
        let (inner, braced) = inner.strip_prefix('{').map_or((inner, false), |inner| (inner.trim_start(), true));
        let Some(after) = inner.strip_prefix("\\circ").or_else(|| inner.strip_prefix("\\degree")) else { return false };
        let (end, closed) = if braced {
            let trimmed = after.trim_start();
            (trimmed.strip_prefix('}').unwrap_or(trimmed), trimmed.starts_with('}'))
        } else {
            (after, true)
        };
        if closed {
            self.at += rest.chars().count() - end.chars().count();
        }
        closed
    }

    /// The content of the braces at this place, which are taken.
    ///
    /// # Errors
    /// When the braces do not close.
    pub(super) fn braced(&mut self) -> Result<String, &'static str> {
        let close = matching_brace(&self.chars, self.at).ok_or("a brace is not closed")?;
        let inner = self.chars[self.at + 1..close].iter().collect();
        self.at = close + 1;
        Ok(inner)
    }
}

/// The place of the brace that closes the one at `open`.
pub(super) fn matching_brace(chars: &[char], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = open;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 1,
            '{' => depth += 1,
            '}' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}
