//! Fonts: what stands in `\text{...}` and behind `\mathcal`.

use super::{
    lexer::Lexer,
    names,
    token::{Style, Token},
    units,
    words::is_short_word,
};

/// How deep `\text{...}` may nest.
const TEXT_DEPTH: usize = 12;

impl Lexer {
    /// A single letter in braces behind a style is that letter: `\mathcal{O}(n)`. Two or three bold capitals are matrices.
    pub(super) fn styled(&mut self, bold: bool) {
        self.skip_spaces();
        let capitals = (1..5).map_while(|at| self.source.peek(at).filter(char::is_ascii_uppercase));
        let capitals: Vec<char> = capitals.collect();
        let opens = self.source.peek(0) == Some('{') && self.source.peek(capitals.len() + 1) == Some('}');
        if bold && opens && matches!(capitals.len(), 2 | 3) {
            for capital in &capitals {
                self.push(names::letter(*capital));
                self.mark(Style::Bold);
            }
            self.source.at += capitals.len() + 2;
            return;
        }
        let (letter, used) = match (self.source.peek(0), self.source.peek(1), self.source.peek(2)) {
            (Some('{'), Some(letter), Some('}')) => (letter, 3),
            (Some(letter), ..) if bold => (letter, 1),
            _ => return,
        };
        if letter.is_alphabetic() {
            self.push(names::letter(letter));
            self.source.at += used;
            if bold {
                self.mark(Style::Bold);
            }
        }
    }

    /// A font command that holds text: its content is read as text.
    pub(super) fn roman(&mut self, name: &str) -> Result<(), &'static str> {
        self.skip_spaces();
        if self.source.peek(0) != Some('{') {
            return Ok(());
        }
        if self.depth >= TEXT_DEPTH {
            return Err("text is nested too deep");
        }
        let inner = self.source.braced()?;
        if let Some(function) = names::text_name(inner.trim()).filter(|_| self.source.peek(0) == Some('(')) {
            self.push(function);
            return Ok(());
        }
        let operand = matches!(self.last(), Some(Token::Number(..) | Token::Symbol(')' | '}' | '/')));
        // Upright letters that are no unit and no word are variables side by side.
        if name == "mathrm"
            && !operand
            && let [first, second] = inner.trim().chars().collect::<Vec<_>>().as_slice()
            && first.is_ascii_lowercase()
            && second.is_ascii_lowercase()
            && !units::is_unit(inner.trim())
            && !is_short_word(inner.trim())
        {
            self.push(names::letter(*first));
            self.push(names::letter(*second));
            return Ok(());
        }
        // An upright letter is a variable or a constant; after a number it is a unit, unless it is i or e.
        if name == "mathrm"
            && let [letter] = inner.trim().chars().collect::<Vec<_>>().as_slice()
            && letter.is_alphabetic()
            && (!operand || matches!(letter, 'i' | 'e'))
        {
            self.push(names::letter(*letter));
            return Ok(());
        }
        let mut lexer = Self::new(&inner, true, self.depth + 1);
        lexer.spaced = true;
        lexer.run()?;
        self.out.append(&mut lexer.out);
        self.spaced |= lexer.spaced;
        Ok(())
    }
}
