//! Rational functions modulo a large prime: equality of polynomials of any degree without writing them out.

use std::collections::BTreeMap;

use dashu::{
    base::Signed,
    integer::{IBig, UBig},
    rational::RBig,
};

use super::{
    evaluate::{Evaluator, Point},
    expression::Expr,
    number::{Fuel, Number},
    real::{Failure, Reals},
};

/// Two primes just below 2^61.
pub(super) const PRIMES: [u64; 2] = [(1 << 61) - 1, (1 << 61) - 31];

/// A fraction modulo a prime; numbers have denominator 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fraction {
    pub(super) above: u64,
    pub(super) below: u64,
}

/// Evaluates modulo `prime`.
pub(super) struct Residues<'a> {
    pub(super) prime: u64,
    pub(super) point: &'a BTreeMap<String, u64>,
    pub(super) fuel: &'a mut Fuel,
}

impl Residues<'_> {
    pub(super) fn multiply(&self, a: u64, b: u64) -> u64 {
        (u128::from(a) * u128::from(b) % u128::from(self.prime)) as u64
    }

    fn add(&self, a: u64, b: u64) -> u64 {
        ((u128::from(a) + u128::from(b)) % u128::from(self.prime)) as u64
    }

    fn raise(&self, mut base: u64, mut exponent: u64) -> u64 {
        let mut power = 1;
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = self.multiply(power, base);
            }
            base = self.multiply(base, base);
            exponent >>= 1;
        }
        power
    }

    fn inverse(&self, value: u64) -> Result<u64, Failure> {
        if value == 0 { Err(Failure::Undefined) } else { Ok(self.raise(value, self.prime - 2)) }
    }

    fn whole(&self, value: &IBig, modulus: u64) -> u64 {
        let (sign, size) = value.clone().into_parts();
        let rest = u64::try_from(size % UBig::from(modulus)).unwrap_or(0);
        if sign == dashu::base::Sign::Negative && rest != 0 { modulus - rest } else { rest }
    }

    fn rational(&self, value: &RBig) -> Result<Fraction, Failure> {
        let below = self.whole(&IBig::from(value.denominator().clone()), self.prime);
        Ok(Fraction { above: self.multiply(self.whole(value.numerator(), self.prime), self.inverse(below)?), below: 1 })
    }

    /// The value of an expression that is a rational function of its variables.
    ///
    /// # Errors
    /// [`Failure::Unsupported`] when it is none, [`Failure::Undefined`] where a denominator vanishes.
    pub(super) fn value(&mut self, expr: &Expr) -> Result<Fraction, Failure> {
        self.fuel.spend(1)?;
        match expr {
            Expr::Number(value) => self.rational(value),
            Expr::Variable(name) => {
                self.point.get(name).map(|above| Fraction { above: *above, below: 1 }).ok_or(Failure::Unsupported)
            }
            Expr::Sum(items) => items.iter().try_fold(Fraction { above: 0, below: 1 }, |total, item| {
                let value = self.value(item)?;
                Ok(self.sum(total, value))
            }),
            Expr::Product(factors) => factors.iter().try_fold(Fraction { above: 1, below: 1 }, |total, factor| {
                let value = self.value(&factor.expr)?;
                let value = if factor.inverse { self.reciprocal(value, factor.expr.is_closed())? } else { value };
                Ok(self.product(total, value))
            }),
            Expr::Quotient(above, below) => {
                let (top, bottom) = (self.value(above)?, self.value(below)?);
                let bottom = self.reciprocal(bottom, below.is_closed())?;
                Ok(self.product(top, bottom))
            }
            Expr::Power(base, exponent) => self.power(base, exponent),
            Expr::Negative(inner) => {
                let value = self.value(inner)?;
                Ok(Fraction { above: self.multiply(self.prime - 1, value.above), ..value })
            }
            Expr::Percent(inner) => {
                let value = self.value(inner)?;
                Ok(Fraction { above: self.multiply(value.above, self.inverse(100)?), ..value })
            }
            Expr::Group(_, items, _) if items.len() == 1 => self.value(&items[0]),
            Expr::Call(..) | Expr::Radix { .. } if expr.is_closed() => {
                let exact = self.exact(expr)?;
                self.rational(&exact)
            }
            _ => Err(Failure::Unsupported),
        }
    }

    fn sum(&self, a: Fraction, b: Fraction) -> Fraction {
        if a.below == b.below {
            return Fraction { above: self.add(a.above, b.above), below: a.below };
        }
        let above = self.add(self.multiply(a.above, b.below), self.multiply(b.above, a.below));
        Fraction { above, below: self.multiply(a.below, b.below) }
    }

    fn product(&self, a: Fraction, b: Fraction) -> Fraction {
        Fraction { above: self.multiply(a.above, b.above), below: self.multiply(a.below, b.below) }
    }

    /// One over a fraction; that of a number stays a number.
    fn reciprocal(&self, value: Fraction, closed: bool) -> Result<Fraction, Failure> {
        if value.above == 0 {
            return Err(Failure::Undefined);
        }
        if closed {
            return Ok(Fraction { above: self.multiply(value.below, self.inverse(value.above)?), below: 1 });
        }
        Ok(Fraction { above: value.below, below: value.above })
    }

    fn power(&mut self, base: &Expr, exponent: &Expr) -> Result<Fraction, Failure> {
        let whole = self.exact(exponent)?;
        if !whole.denominator().is_one() {
            return Err(Failure::Unsupported);
        }
        let whole = whole.numerator();
        let value = self.value(base)?;
        let value = if whole.is_negative() { self.reciprocal(value, base.is_closed())? } else { value };
        if whole.is_zero() {
            return Ok(Fraction { above: 1, below: 1 });
        }
        let size = IBig::from(whole.clone().into_parts().1);
        // By Fermat the exponent counts modulo p - 1; a multiple of it must not become zero for the base zero.
        let steps = self.whole(&size, self.prime - 1);
        let steps = if steps == 0 { self.prime - 1 } else { steps };
        Ok(Fraction { above: self.raise(value.above, steps), below: self.raise(value.below, steps) })
    }

    fn exact(&mut self, expr: &Expr) -> Result<RBig, Failure> {
        if !expr.is_closed() {
            return Err(Failure::Unsupported);
        }
        let point = Point::new();
        let mut evaluator =
            Evaluator { reals: Reals::new(256), point: &point, real_only: false, fuel: self.fuel, reach: 0 };
        let value = evaluator.value(expr)?;
        match (&value, value.integer()) {
            (Number::Exact(value), _) => Ok(value.clone()),
            _ => Err(Failure::Unsupported),
        }
    }
}
