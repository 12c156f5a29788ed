//! Derivatives as Leibniz wrote them: `\frac{dy}{dx}`, `dy/dx`, `\frac{\partial^2 u}{\partial x \partial t}`.

use dashu::rational::RBig;

use super::{
    expression::{Expr, Factor},
    parser::{Parsed, Parser},
    token::Token,
};

/// What the name of a derivative begins with, as of a function that is applied to what is derived.
const NAME: &str = "derivative";

/// What a differential or a difference begins with.
const SIGNS: [&str; 4] = ["d", "partial", "Delta", "delta"];

/// Whether an applied function is a derivative.
pub(super) fn is_derivative(name: &str) -> bool {
    name.starts_with(NAME)
}

impl Parser<'_> {
    /// A quotient, or the derivative that it is: `\frac{d}{dx}` is applied to the factor behind it.
    pub(super) fn quotient(&mut self, above: Expr, below: Expr) -> Parsed<Expr> {
        let Some((name, derived)) = derivative(&above, &below) else {
            return Ok(Expr::Quotient(Box::new(above), Box::new(below)));
        };
        let derived = match derived {
            Some(derived) => derived,
            None if self.starts_factor() => self.expression(31)?,
            None => return Err("a derivative of nothing"),
        };
        let place = self.bracket_ahead().is_some_and(|inner| inner.len() == 1);
        if place { Err("a derivative is taken at a place") } else { Ok(Expr::Apply(name, vec![derived])) }
    }

    /// `dy/dx` on one line, where the `d` before it has been read.
    pub(super) fn derivative_on_a_line(&mut self, sign: &str) -> Parsed<Option<Expr>> {
        let is_sign = |token: Option<&Token>| matches!(token, Some(Token::Letter(own)) if own == sign);
        if !SIGNS.contains(&sign) {
            return Ok(None);
        }
        // `d^2y/dx^2`: the slash stands behind the exponent and the letter.
        let slash = (self.at..self.at + 4).find(|at| self.token(*at) == Some(&Token::Symbol('/')));
        let Some(slash) = slash.filter(|at| is_sign(self.token(at + 1)) && (sign != "d" || !self.is_spaced(at + 2)))
        else {
            return Ok(None);
        };
        let (start, state) = (self.at, self.depth);
        let whole = |factors: Vec<Expr>| Expr::product(factors);
        let mut above = vec![self.raised(Expr::Variable(sign.to_owned()))?];
        if self.at < slash {
            above.push(self.expression(31)?);
        }
        if self.at == slash {
            self.at += 2;
            if matches!(self.peek(), Some(Token::Letter(_))) {
                let below = self.expression(31)?;
                let below = whole(vec![Expr::Variable(sign.to_owned()), below]);
                if derivative(&whole(above.clone()), &below).is_some() {
                    return self.quotient(whole(above), below).map(Some);
                }
            }
        }
        (self.at, self.depth) = (start, state);
        Ok(None)
    }

    /// A letter with the exponent that stands here.
    fn raised(&mut self, base: Expr) -> Parsed<Expr> {
        if !self.is_symbol('^') {
            return Ok(base);
        }
        self.at += 1;
        Ok(Expr::Power(Box::new(base), Box::new(self.argument()?)))
    }
}

/// The name of a derivative, and what is derived where that stands above the line.
fn derivative(above: &Expr, below: &Expr) -> Option<(String, Option<Expr>)> {
    let factors = plain_factors(above)?;
    let (sign, order) = power(factors.first()?)?;
    let mut by = Vec::new();
    for pair in plain_factors(below)?.chunks(2) {
        let [own, letter] = pair else { return None };
        let (Expr::Variable(own), (letter, times)) = (own, power(letter)?) else { return None };
        by.push((own == sign).then_some((letter, times))?);
    }
    let total = by.iter().fold(RBig::ZERO, |total, (_, times)| total + times);
    if !SIGNS.contains(&sign) || total != order {
        return None;
    }
    by.sort();
    let by: Vec<String> = by.into_iter().map(|(letter, times)| format!("{letter}^{times}")).collect();
    let derived: Vec<Expr> = factors[1..].iter().map(|factor| (*factor).clone()).collect();
    let derived = (!derived.is_empty()).then(|| super::parser::single_or(derived, Expr::product));
    Some((format!("{NAME} {sign} {}", by.join(" ")), derived))
}

/// The factors of a product in which nothing divides.
fn plain_factors(expr: &Expr) -> Option<Vec<&Expr>> {
    match expr {
        Expr::Product(factors) => factors.iter().map(|Factor { expr, inverse }| (!inverse).then_some(expr)).collect(),
        other => Some(vec![other]),
    }
}

/// A letter and how often it is multiplied by itself.
fn power(expr: &Expr) -> Option<(&str, RBig)> {
    match expr {
        Expr::Variable(letter) => Some((letter, RBig::ONE)),
        Expr::Power(base, exponent) => match (&**base, &**exponent) {
            (Expr::Variable(letter), Expr::Number(times)) => Some((letter, times.clone())),
            _ => None,
        },
        _ => None,
    }
}
