//! Letters that apply to an argument, and sums, products, integrals and limits with their bound variables.

use super::{
    expression::{Binder, Constant, Expr, Relation},
    parser::{Parsed, Parser},
    token::Token,
};

impl Parser<'_> {
    /// Whether a letter before a bracket names a function rather than a factor: by its name, its primes, or an argument
    /// that nobody would multiply by.
    pub(super) fn applies(&self, name: &str) -> bool {
        let Some(inner) = self.bracket_ahead() else { return false };
        let base = name.trim_end_matches('\'').split(['_', '^']).next().unwrap_or_default();
        let known = name.contains('^')
            || base.len() < name.len() && name.ends_with('\'')
            || matches!(base, "f" | "g" | "F" | "G" | "P");
        let token = |at: usize| inner.get(at).map(|lexeme| &lexeme.token);
        let lone = match inner.len() {
            1 => matches!(token(0), Some(Token::Number(..) | Token::Letter(_) | Token::Constant(_))),
            2 => token(0) == Some(&Token::Symbol('-')) && matches!(token(1), Some(Token::Number(..))),
            _ => false,
        };
        let named = inner.iter().any(|lexeme| matches!(lexeme.token, Token::Word(_)));
        known || lone || named || has_outer_comma(inner)
    }

    /// The tokens between the round bracket at this place and its partner.
    pub(super) fn bracket_ahead(&self) -> Option<&[super::token::Lexeme]> {
        if !self.is_symbol('(') {
            return None;
        }
        let mut depth = 0_usize;
        for at in self.at.. {
            match self.token(at)? {
                Token::Symbol('(' | '[' | '{') | Token::SetOpen => depth += 1,
                Token::Symbol(')' | ']' | '}') | Token::SetClose => depth = depth.checked_sub(1)?,
                _ => {}
            }
            if depth == 0 {
                return self.lexemes.get(self.at + 1..at).filter(|inner| !inner.is_empty());
            }
        }
        None
    }

    /// `\sum_{k=1}^{n} a_k`, `\int_0^1 f(x) dx`, `\lim_{x \to 0} f(x)`: the name has been seen.
    pub(super) fn bound(&mut self, name: &str) -> Parsed<Expr> {
        let (mut low, mut high) = (Expr::Text(String::new()), Expr::Text(String::new()));
        for _ in 0..2 {
            if self.is_symbol('_') {
                self.at += 1;
                low = self.index()?;
            } else if self.is_symbol('^') {
                self.at += 1;
                high = self.index()?;
            }
        }
        if name == "int" {
            return self.integral(low, high);
        }
        let (relation, binder) = match name {
            "sum" => (Relation::Equal, Binder::Sum),
            "prod" => (Relation::Equal, Binder::Product),
            _ => (Relation::Other("to"), Binder::Limit),
        };
        let body = self.expression(30)?;
        match low {
            Expr::Relation(terms, relations) if relations[..] == [relation] => match <[Expr; 2]>::try_from(terms) {
                Ok([Expr::Variable(variable), from]) => Ok(Expr::Bound(binder, variable, vec![from, high, body])),
                // A sum over i: there the letter is no imaginary unit.
                Ok([Expr::Constant(Constant::I), from]) => {
                    Ok(Expr::Bound(binder, "i".to_owned(), vec![from, high, over_i(&body)]))
                }
                _ => Err("what a sum runs over is not read"),
            },
            _ => Err("what a sum runs over is not read"),
        }
    }

    fn integral(&mut self, low: Expr, high: Expr) -> Parsed<Expr> {
        self.integrals += 1;
        let body = self.expression(0)?;
        let Some(Token::Letter(variable)) = self.token(self.at + 1).filter(|_| self.at_differential()).cloned() else {
            return Err("an integral has no differential at its end");
        };
        self.integrals -= 1;
        self.at += 2;
        Ok(Expr::Bound(Binder::Integral, variable, vec![low, high, body]))
    }

    /// Whether `d x` of an integral stands here.
    pub(super) fn at_differential(&self) -> bool {
        self.integrals > 0
            && matches!(self.peek(), Some(Token::Letter(letter)) if letter == "d")
            && matches!(self.token(self.at + 1), Some(Token::Letter(_)))
    }

    /// An index or an upper end: a relation in braces, or one operand.
    fn index(&mut self) -> Parsed<Expr> {
        if !self.is_symbol('{') {
            return self.argument();
        }
        self.at += 1;
        let inner = self.relation()?;
        self.require('}')?;
        Ok(inner)
    }
}

fn over_i(expr: &Expr) -> Expr {
    match expr {
        Expr::Constant(Constant::I) => Expr::Variable("i".to_owned()),
        other => other.map(&mut over_i),
    }
}

fn has_outer_comma(inner: &[super::token::Lexeme]) -> bool {
    let mut depth = 0_usize;
    inner.iter().any(|lexeme| {
        match lexeme.token {
            Token::Symbol('(' | '[' | '{') | Token::SetOpen => depth += 1,
            Token::Symbol(')' | ']' | '}') | Token::SetClose => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && lexeme.token == Token::Symbol(',')
    })
}
