//! A number as evaluation gives it: an exact rational as long as it is one, else a complex ball.

use dashu::{
    base::{BitTest, Signed},
    integer::{IBig, UBig},
    rational::RBig,
};

use super::{
    complex::Complex,
    real::{Ball, Failure, Reals},
};

/// Exact numbers with more bits than this are refused.
pub(super) const MAX_BITS: usize = 40_000;

/// The work that one comparison may still do; a unit is roughly a big-number addition.
#[derive(Debug)]
pub(super) struct Fuel(u64);

impl Fuel {
    pub(super) fn new(units: u64) -> Self {
        Self(units)
    }

    /// # Errors
    /// [`Failure::OutOfFuel`] when nothing is left.
    pub(super) fn spend(&mut self, units: u64) -> Result<(), Failure> {
        if self.0 < units {
            self.0 = 0;
            return Err(Failure::OutOfFuel);
        }
        self.0 -= units;
        Ok(())
    }
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Number {
    Exact(RBig),
    Inexact(Complex),
}

/// The bits that an exact number takes.
pub(super) fn bits(value: &RBig) -> usize {
    value.numerator().bit_len() + value.denominator().bit_len()
}

impl Number {
    /// An exact number that is not too large.
    pub(super) fn exact(value: RBig) -> Result<Self, Failure> {
        if bits(&value) > MAX_BITS { Err(Failure::TooLarge) } else { Ok(Self::Exact(value)) }
    }

    /// How far it is from one, as a power of two either way; of an exact number the digits that it takes.
    pub(super) fn reach(&self) -> i64 {
        match self {
            Self::Exact(value) => value.numerator().bit_len().max(value.denominator().bit_len()) as i64,
            Self::Inexact(value) => {
                let size = |ball: &super::real::Ball| if ball.is_nonzero() { ball.size().abs() } else { 0 };
                size(&value.re).max(size(&value.im))
            }
        }
    }

    /// The integer it is, where that is certain.
    pub(super) fn integer(&self) -> Option<IBig> {
        match self {
            Self::Exact(value) => value.denominator().is_one().then(|| value.numerator().clone()),
            Self::Inexact(value) if value.is_real() => value.re.integer(),
            Self::Inexact(_) => None,
        }
    }

    /// The same value as a complex ball.
    pub(super) fn ball(&self, reals: &Reals) -> Complex {
        match self {
            Self::Exact(value) => Complex::real(reals.rational(value)),
            Self::Inexact(value) => value.clone(),
        }
    }

    /// The real ball.
    ///
    /// # Errors
    /// [`Failure::Undefined`] when the number is not real.
    pub(super) fn real(&self, reals: &Reals) -> Result<Ball, Failure> {
        let value = self.ball(reals);
        if value.is_real() { Ok(value.re) } else { Err(Failure::Undefined) }
    }

    pub(super) fn negated(&self) -> Self {
        match self {
            Self::Exact(value) => Self::Exact(-value.clone()),
            Self::Inexact(value) => Self::Inexact(value.negated()),
        }
    }

    pub(super) fn add(&self, other: &Self, reals: &Reals) -> Result<Self, Failure> {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => Self::exact(a + b),
            _ => Ok(Self::Inexact(reals.complex_add(&self.ball(reals), &other.ball(reals))?)),
        }
    }

    pub(super) fn multiply(&self, other: &Self, reals: &Reals) -> Result<Self, Failure> {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => Self::exact(a * b),
            (Self::Exact(zero), _) | (_, Self::Exact(zero)) if zero.is_zero() => Ok(Self::Exact(RBig::ZERO)),
            _ => Ok(Self::Inexact(reals.complex_multiply(&self.ball(reals), &other.ball(reals))?)),
        }
    }

    pub(super) fn divide(&self, other: &Self, reals: &Reals) -> Result<Self, Failure> {
        match (self, other) {
            (_, Self::Exact(zero)) if zero.is_zero() => Err(Failure::Undefined),
            (Self::Exact(a), Self::Exact(b)) => Self::exact(a / b),
            _ => Ok(Self::Inexact(reals.complex_divide(&self.ball(reals), &other.ball(reals))?)),
        }
    }

    /// This number to a whole power.
    pub(super) fn whole_power(&self, exponent: &IBig, reals: &Reals, fuel: &mut Fuel) -> Result<Self, Failure> {
        let negative = exponent.is_negative();
        let steps = usize::try_from(exponent.clone().into_parts().1).ok();
        if let Self::Exact(base) = self {
            if let Some(simple) = unit_power(base, exponent) {
                return simple;
            }
            let size = steps.and_then(|steps| steps.checked_mul(bits(base).saturating_sub(1).max(1)));
            if let (Some(steps), Some(size)) = (steps, size)
                && size <= MAX_BITS
            {
                fuel.spend(1 + (size / 64).pow(2) as u64 / 500)?;
                let power = RBig::from_parts(base.numerator().pow(steps), UBig::ONE)
                    / RBig::from_parts(IBig::from(base.denominator().pow(steps)), UBig::ONE);
                return if negative { Self::exact(RBig::ONE / power) } else { Self::exact(power) };
            }
        }
        let steps = steps.filter(|steps| *steps < 1 << 32).ok_or(Failure::TooLarge)?;
        let power = self.squared_up(steps, reals, fuel)?;
        if negative { Self::Exact(RBig::ONE).divide(&power, reals) } else { Ok(power) }
    }

    fn squared_up(&self, mut steps: usize, reals: &Reals, fuel: &mut Fuel) -> Result<Self, Failure> {
        let mut base = self.ball(reals);
        let mut power = Complex::real(reals.rational(&RBig::ONE));
        while steps > 0 {
            fuel.spend(2)?;
            if steps % 2 == 1 {
                power = reals.complex_multiply(&power, &base)?;
            }
            steps /= 2;
            if steps > 0 {
                base = reals.complex_multiply(&base, &base)?;
            }
        }
        Ok(Self::Inexact(power))
    }
}

/// Powers of 0, 1 and -1, whatever the exponent.
fn unit_power(base: &RBig, exponent: &IBig) -> Option<Result<Number, Failure>> {
    if base.is_zero() {
        return Some(match (exponent.is_zero(), exponent.is_negative()) {
            (true, _) => Ok(Number::Exact(RBig::ONE)),
            (_, true) => Err(Failure::Undefined),
            _ => Ok(Number::Exact(RBig::ZERO)),
        });
    }
    if *base == RBig::ONE {
        return Some(Ok(Number::Exact(RBig::ONE)));
    }
    (*base == -RBig::ONE).then(|| Ok(Number::Exact(if exponent.bit(0) { -RBig::ONE } else { RBig::ONE })))
}
