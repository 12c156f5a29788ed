//! Real numbers to a stated precision, each with a bound on its error.

use std::cmp::Ordering;

use dashu::{
    base::{Abs, Approximation, Signed},
    float::{Context, FBig, FpResult, round::mode::HalfEven},
    integer::IBig,
    rational::RBig,
};

/// A binary floating-point number of any precision.
pub(super) type Float = FBig<HalfEven, 2>;

/// Error bound of a number that is exact; far below every real bound, and safe to add to itself.
const EXACT: i64 = i64::MIN / 8;
/// Exponents of two beyond this are refused before anything is computed.
const MAX_EXPONENT: i64 = 1 << 24;

/// Why an expression has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Division by zero, or a function outside its domain.
    Undefined,
    /// A number too large to write out.
    TooLarge,
    /// Something that has no numeric value.
    Unsupported,
    /// The work allowed for one comparison is used up.
    OutOfFuel,
}

/// A real number within `2^error` of `mid`.
#[derive(Debug, Clone)]
pub(super) struct Ball {
    pub(super) mid: Float,
    error: i64,
}

/// The power of two just above a number's magnitude.
fn magnitude(value: &Float) -> i64 {
    let repr = value.repr();
    if repr.significand().is_zero() { EXACT } else { repr.exponent() as i64 + repr.digits() as i64 }
}

impl Ball {
    /// Exactly zero.
    pub(super) fn zero() -> Self {
        Self { mid: Float::ZERO, error: EXACT }
    }

    /// Whether it is exactly zero.
    pub(super) fn is_exact_zero(&self) -> bool {
        self.error == EXACT && self.mid.repr().significand().is_zero()
    }

    /// Whether zero is certainly outside the error bound.
    pub(super) fn is_nonzero(&self) -> bool {
        magnitude(&self.mid) - 1 > self.error
    }

    /// The sign, where the error bound leaves no doubt.
    pub(super) fn sign(&self) -> Option<Ordering> {
        if self.is_exact_zero() {
            return Some(Ordering::Equal);
        }
        self.is_nonzero().then(|| if self.mid.is_negative() { Ordering::Less } else { Ordering::Greater })
    }

    /// Power of two that bounds the error.
    pub(super) fn error(&self) -> i64 {
        self.error
    }

    /// Power of two just above the value's magnitude.
    pub(super) fn size(&self) -> i64 {
        magnitude(&self.mid)
    }

    /// The negative.
    pub(super) fn negated(&self) -> Self {
        Self { mid: -self.mid.clone(), error: self.error }
    }

    /// The absolute value.
    pub(super) fn absolute(&self) -> Self {
        Self { mid: self.mid.clone().abs(), error: self.error }
    }

    /// The integer inside the error bound, where there is exactly one and the bound is narrow.
    pub(super) fn integer(&self) -> Option<IBig> {
        if self.error > -48 || self.size() > 4_096 {
            return None;
        }
        let nearest = self.mid.to_int().value();
        let gap = Float::from(nearest.clone()) - &self.mid;
        (magnitude(&gap) <= self.error + 1 || gap.repr().significand().is_zero()).then_some(nearest)
    }
}

/// Arithmetic at one precision, in bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reals {
    context: Context<HalfEven>,
    bits: i64,
}

impl Reals {
    pub(super) fn new(bits: usize) -> Self {
        Self { context: Context::new(bits), bits: bits as i64 }
    }

    /// The precision in bits.
    pub(super) fn bits(&self) -> i64 {
        self.bits
    }

    fn finish(&self, result: FpResult<Float>, inherited: i64) -> Result<Ball, Failure> {
        let (mid, rounded) = match result.map_err(|_| Failure::Undefined)? {
            Approximation::Exact(mid) => (mid, false),
            Approximation::Inexact(mid, _) => (mid, true),
        };
        if mid.repr().is_infinite() {
            return Err(Failure::Undefined);
        }
        let size = magnitude(&mid);
        if size > MAX_EXPONENT {
            return Err(Failure::TooLarge);
        }
        let own = if rounded { size.max(-MAX_EXPONENT) - self.bits } else { EXACT };
        let error = if own == EXACT && inherited <= EXACT / 2 { EXACT } else { own.max(inherited) + 2 };
        Ok(Ball { mid, error })
    }

    /// The nearest number to a rational.
    pub(super) fn rational(&self, value: &RBig) -> Ball {
        let (mid, rounded) = match value.to_float::<HalfEven, 2>(self.bits as usize) {
            Approximation::Exact(mid) => (mid, false),
            Approximation::Inexact(mid, _) => (mid, true),
        };
        let error = if rounded { magnitude(&mid) - self.bits + 1 } else { EXACT };
        Ball { mid, error }
    }

    pub(super) fn add(&self, a: &Ball, b: &Ball) -> Result<Ball, Failure> {
        self.finish(self.context.add(a.mid.repr(), b.mid.repr()), a.error.max(b.error))
    }

    pub(super) fn subtract(&self, a: &Ball, b: &Ball) -> Result<Ball, Failure> {
        self.add(a, &b.negated())
    }

    pub(super) fn multiply(&self, a: &Ball, b: &Ball) -> Result<Ball, Failure> {
        if a.is_exact_zero() || b.is_exact_zero() {
            return Ok(Ball::zero());
        }
        let inherited = (a.size() + b.error).max(b.size() + a.error).max(a.error + b.error);
        self.finish(self.context.mul(a.mid.repr(), b.mid.repr()), inherited)
    }

    /// # Errors
    /// [`Failure::Undefined`] when the divisor may be zero.
    pub(super) fn divide(&self, a: &Ball, b: &Ball) -> Result<Ball, Failure> {
        if !b.is_nonzero() || b.size() - 3 < b.error {
            return Err(Failure::Undefined);
        }
        if a.is_exact_zero() {
            return Ok(Ball::zero());
        }
        let result = self.context.div(a.mid.repr(), b.mid.repr());
        let size = result.as_ref().map(|value| magnitude(value.value_ref())).unwrap_or(0);
        let inherited = a.error.max(size + b.error) - (b.size() - 2);
        self.finish(result, inherited)
    }

    /// The root of a number that is not negative.
    pub(super) fn root(&self, a: &Ball, index: usize) -> Result<Ball, Failure> {
        if a.is_exact_zero() {
            return Ok(Ball::zero());
        }
        if !a.is_nonzero() || a.size() - 3 < a.error {
            // The value cannot be told from zero: the root is zero within the root of the bound.
            let error = (a.error.max(a.size()) + 1).div_euclid(index as i64) + 2;
            return Ok(Ball { mid: Float::ZERO, error });
        }
        if a.mid.is_negative() {
            return Err(Failure::Undefined);
        }
        let result =
            if index == 2 { self.context.sqrt(a.mid.repr()) } else { self.context.nth_root(index, a.mid.repr()) };
        let size = result.as_ref().map(|value| magnitude(value.value_ref())).unwrap_or(0);
        self.finish(result, a.error - (a.size() - 2) + size)
    }

    pub(super) fn exp(&self, a: &Ball) -> Result<Ball, Failure> {
        if a.size() > 24 {
            return Err(Failure::TooLarge);
        }
        if a.error > -2 {
            return Err(Failure::Undefined);
        }
        let result = self.context.exp(a.mid.repr(), None);
        let size = result.as_ref().map(|value| magnitude(value.value_ref())).unwrap_or(0);
        self.finish(result, size + a.error + 1)
    }

    /// # Errors
    /// [`Failure::Undefined`] unless the number is certainly positive.
    pub(super) fn ln(&self, a: &Ball) -> Result<Ball, Failure> {
        if a.sign() != Some(Ordering::Greater) || a.size() - 3 < a.error {
            return Err(Failure::Undefined);
        }
        self.finish(self.context.ln(a.mid.repr(), None), a.error - (a.size() - 2))
    }

    /// Sine and cosine.
    pub(super) fn sin_cos(&self, a: &Ball) -> Result<(Ball, Ball), Failure> {
        if a.size() > 400 {
            return Err(Failure::TooLarge);
        }
        if a.is_exact_zero() {
            return Ok((Ball::zero(), self.rational(&RBig::ONE)));
        }
        Ok((
            self.finish(self.context.sin(a.mid.repr(), None), a.error)?,
            self.finish(self.context.cos(a.mid.repr(), None), a.error)?,
        ))
    }

    /// The angle of the point (x, y).
    pub(super) fn atan2(&self, y: &Ball, x: &Ball) -> Result<Ball, Failure> {
        if y.is_exact_zero() && x.sign() == Some(Ordering::Greater) {
            return Ok(Ball::zero());
        }
        let size = y.size().max(x.size());
        let error = y.error.max(x.error);
        if size - 3 < error {
            return Err(Failure::Undefined);
        }
        self.finish(self.context.atan2(y.mid.repr(), x.mid.repr(), None), error - (size - 1) + 2)
    }

    pub(super) fn pi(&self) -> Ball {
        let mid = self.context.pi::<2>(None).value();
        Ball { error: 2 - self.bits, mid }
    }

    /// The greatest integer not above the number, where the error bound leaves no doubt.
    pub(super) fn floor(&self, a: &Ball) -> Result<IBig, Failure> {
        if a.size() > 4_096 {
            return Err(Failure::TooLarge);
        }
        if let Some(whole) = a.integer() {
            return Ok(whole);
        }
        if a.error > -8 {
            return Err(Failure::Undefined);
        }
        let floor = a.mid.clone().floor();
        Ok(floor.to_int().value())
    }
}
