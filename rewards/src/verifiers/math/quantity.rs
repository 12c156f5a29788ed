//! Quantities: a number with its unit.

use super::{
    expression::{Expr, Joint},
    loaded,
    parser::{Parsed, Parser},
    token::Token,
    units::{self, Unit},
};

impl Parser<'_> {
    /// Whether a capital letter stands right before coordinates, as in `A(3, 4)`; C and P before two numbers count.
    pub(super) fn names_a_point(&self) -> bool {
        let capital = matches!(self.peek(), Some(Token::Letter(letter))
            if letter.len() == 1 && letter.as_bytes()[0].is_ascii_uppercase() && !matches!(letter.as_str(), "C" | "P"));
        if !capital || self.token(self.at + 1) != Some(&Token::Symbol('(')) || self.is_spaced(self.at + 1) {
            return false;
        }
        let mut depth = 0_usize;
        for at in self.at + 1.. {
            match self.token(at) {
                None => return false,
                Some(Token::Symbol('(' | '[' | '{')) => depth += 1,
                Some(Token::Symbol(')' | ']' | '}')) if depth <= 1 => return false,
                Some(Token::Symbol(')' | ']' | '}')) => depth -= 1,
                Some(Token::Symbol(',')) if depth == 1 => return true,
                Some(_) => {}
            }
        }
        false
    }

    /// The letter at this place.
    pub(super) fn letter_here(&self) -> String {
        if let Some(Token::Letter(letter)) = self.peek() { letter.clone() } else { String::new() }
    }

    /// A quotient of units, as `\frac{\text{km}}{\text{h}}`: what stands above and below, and how many tokens that takes.
    pub(super) fn unit_quotient(&self) -> Option<(Vec<String>, Vec<String>, usize)> {
        if !self.is_command("frac") {
            return None;
        }
        let mut at = self.at + 1;
        let mut sides = [Vec::new(), Vec::new()];
        for side in &mut sides {
            if self.token(at) != Some(&Token::Symbol('{')) {
                return None;
            }
            at += 1;
            loop {
                match self.token(at)? {
                    Token::Word(word) => side.push(word.clone()),
                    Token::Letter(letter) if units::is_single_letter(letter) => side.push(letter.clone()),
                    Token::Symbol('}') => break,
                    _ => return None,
                }
                at += 1;
            }
            at += 1;
        }
        let [above, below] = sides;
        let units = |side: &[String]| {
            !side.is_empty() && side.iter().all(|word| units::is_unit(word) || units::is_single_letter(word))
        };
        (units(&above) && units(&below)).then_some((above, below, at - self.at))
    }

    pub(super) fn ends_operand(&self) -> bool {
        match self.peek() {
            None | Some(Token::Symbol(',' | ';' | ')' | ']' | '}' | '&' | '|') | Token::SetClose | Token::Row) => true,
            Some(Token::End(_) | Token::Relation(_)) => true,
            Some(Token::Word(word)) => matches!(word.to_lowercase().as_str(), "and" | "or"),
            Some(Token::Command(name)) => matches!(name.as_str(), "land" | "lor"),
            _ => false,
        }
    }

    /// Takes the unit or the counted thing after an expression.
    pub(super) fn with_unit(&mut self, expr: Expr) -> Parsed<Expr> {
        let start = self.at;
        // A unit or what is counted may stand in brackets: `9 (apples)`.
        let bracketed = self.is_symbol('(') && matches!(self.token(self.at + 1), Some(Token::Word(_)));
        self.at += usize::from(bracketed);
        let unit = self.unit()?;
        if bracketed {
            self.require(')')?;
        }
        if self.at == start {
            return Ok(expr);
        }
        if let Some(Token::Number(..)) = self.peek() {
            if !unit.is_measure() {
                return Err("a number follows words that are no unit");
            }
            let next = self.expression(30)?;
            let next = self.with_unit(next)?;
            // "1 in 5" is no length.
            if !matches!(next, Expr::Quantity(..) | Expr::List(..)) {
                return Err("a number without a unit follows one with a unit");
            }
            return Ok(Expr::List(vec![Expr::Quantity(Box::new(expr), unit), next], Joint::And));
        }
        if unit.is_empty() { Ok(expr) } else { Ok(Expr::Quantity(Box::new(expr), unit)) }
    }

    /// The unit at this place; an empty one where none stands.
    fn unit(&mut self) -> Parsed<Unit> {
        let mut unit = Unit::default();
        let mut power = 1;
        let mut sign = 1;
        let start = self.at;
        loop {
            match self.peek().cloned() {
                Some(Token::Word(word)) => {
                    let lower = word.to_lowercase();
                    match lower.as_str() {
                        "and" | "or" => break,
                        "per" => sign = -1,
                        "square" | "sq" => power = 2,
                        "cubic" | "cu" => power = 3,
                        "squared" | "cubed" => return Err("an exponent in words has no unit"),
                        _ if loaded::is_loaded(&lower) && !matches!(lower.as_str(), "in" | "any") => {
                            return Err("words change the meaning of a number");
                        }
                        _ => {
                            self.at += 1;
                            let exponent = self.unit_exponent()?.unwrap_or(power);
                            unit.multiply(&word, exponent * sign);
                            (power, sign) = (1, 1);
                            continue;
                        }
                    }
                    self.at += 1;
                }
                Some(Token::Letter(letter))
                    if self.reads_as_unit(&letter)
                        || !unit.is_empty()
                            && self.letter_units
                            && self.is_spaced(self.at)
                            && units::is_single_letter(&letter) =>
                {
                    self.at += 1;
                    let exponent = self.unit_exponent()?.unwrap_or(1);
                    unit.multiply(&letter, exponent * sign);
                    sign = 1;
                }
                Some(Token::Command(_)) if self.at == start => {
                    let Some((above, below, used)) = self.unit_quotient() else { break };
                    above.iter().for_each(|word| unit.multiply(word, 1));
                    below.iter().for_each(|word| unit.multiply(word, -1));
                    self.at += used;
                }
                Some(Token::Currency(name)) if self.at == start => {
                    self.at += 1;
                    unit.multiply(&name, 1);
                }
                Some(Token::Symbol('/')) if !unit.is_empty() => {
                    self.at += 1;
                    sign = -1;
                }
                Some(Token::Symbol('*')) if !unit.is_empty() => self.at += 1,
                _ => break,
            }
        }
        Ok(unit)
    }

    pub(super) fn reads_as_unit(&self, letter: &str) -> bool {
        if !self.letter_units || self.at == 0 || !units::is_single_letter(letter) {
            return false;
        }
        match self.token(self.at - 1) {
            Some(Token::Symbol('/' | '*')) => {
                matches!(self.token(self.at.saturating_sub(2)), Some(Token::Word(_) | Token::Letter(_)))
            }
            Some(Token::Number(..)) if letter == "Omega" => true,
            Some(Token::Number(..) | Token::Symbol(')' | '}') | Token::Word(_)) => self.is_spaced(self.at),
            _ => false,
        }
    }

    /// A written power of a unit: `^2`, `^{-1}`, "squared", "cubed".
    pub(super) fn unit_exponent(&mut self) -> Parsed<Option<i32>> {
        match self.word(self.at).as_deref() {
            Some("squared") => {
                self.at += 1;
                return Ok(Some(2));
            }
            Some("cubed") => {
                self.at += 1;
                return Ok(Some(3));
            }
            _ => {}
        }
        if !self.is_symbol('^') {
            return Ok(None);
        }
        self.at += 1;
        let (negative, number) = match self.argument()? {
            Expr::Negative(inner) => (true, *inner),
            other => (false, other),
        };
        let Expr::Number(value) = number else { return Err("the power of a unit is not a number") };
        let value = i32::try_from(value.numerator().clone()).map_err(|_| "the power of a unit is too large")?;
        if value > 12 || value == 0 {
            return Err("the power of a unit is zero or too large");
        }
        Ok(Some(if negative { -value } else { value }))
    }
}
