//! Complex numbers to a stated precision.

use std::cmp::Ordering;

use dashu::rational::RBig;

use super::real::{Ball, Failure, Reals};

/// A complex number; the imaginary part of a real one is exactly zero.
#[derive(Debug, Clone)]
pub(super) struct Complex {
    pub(super) re: Ball,
    pub(super) im: Ball,
}

impl Complex {
    pub(super) fn real(re: Ball) -> Self {
        Self { re, im: Ball::zero() }
    }

    pub(super) fn is_real(&self) -> bool {
        self.im.is_exact_zero()
    }

    /// Whether it certainly differs from zero.
    pub(super) fn is_nonzero(&self) -> bool {
        self.re.is_nonzero() || self.im.is_nonzero()
    }

    pub(super) fn negated(&self) -> Self {
        Self { re: self.re.negated(), im: self.im.negated() }
    }

    pub(super) fn conjugate(&self) -> Self {
        Self { re: self.re.clone(), im: self.im.negated() }
    }
}

impl Reals {
    pub(super) fn complex_add(&self, a: &Complex, b: &Complex) -> Result<Complex, Failure> {
        Ok(Complex { re: self.add(&a.re, &b.re)?, im: self.add(&a.im, &b.im)? })
    }

    pub(super) fn complex_multiply(&self, a: &Complex, b: &Complex) -> Result<Complex, Failure> {
        Ok(Complex {
            re: self.subtract(&self.multiply(&a.re, &b.re)?, &self.multiply(&a.im, &b.im)?)?,
            im: self.add(&self.multiply(&a.re, &b.im)?, &self.multiply(&a.im, &b.re)?)?,
        })
    }

    pub(super) fn complex_divide(&self, a: &Complex, b: &Complex) -> Result<Complex, Failure> {
        if b.is_real() {
            return Ok(Complex { re: self.divide(&a.re, &b.re)?, im: self.divide(&a.im, &b.re)? });
        }
        let below = self.add(&self.multiply(&b.re, &b.re)?, &self.multiply(&b.im, &b.im)?)?;
        let above = self.complex_multiply(a, &b.conjugate())?;
        Ok(Complex { re: self.divide(&above.re, &below)?, im: self.divide(&above.im, &below)? })
    }

    /// The distance from zero.
    pub(super) fn modulus(&self, a: &Complex) -> Result<Ball, Failure> {
        if a.is_real() {
            return Ok(a.re.absolute());
        }
        self.root(&self.add(&self.multiply(&a.re, &a.re)?, &self.multiply(&a.im, &a.im)?)?, 2)
    }

    pub(super) fn complex_exp(&self, a: &Complex) -> Result<Complex, Failure> {
        let size = self.exp(&a.re)?;
        if a.is_real() {
            return Ok(Complex::real(size));
        }
        let (sine, cosine) = self.sin_cos(&a.im)?;
        Ok(Complex { re: self.multiply(&size, &cosine)?, im: self.multiply(&size, &sine)? })
    }

    /// The principal logarithm.
    pub(super) fn complex_ln(&self, a: &Complex) -> Result<Complex, Failure> {
        if a.is_real() && a.re.sign() == Some(Ordering::Greater) {
            return Ok(Complex::real(self.ln(&a.re)?));
        }
        let re = self.ln(&self.modulus(a)?)?;
        let im = if a.is_real() { self.pi() } else { self.atan2(&a.im, &a.re)? };
        Ok(Complex { re, im })
    }

    /// The principal square root.
    pub(super) fn complex_sqrt(&self, a: &Complex) -> Result<Complex, Failure> {
        if a.is_real() {
            return match a.re.sign() {
                Some(Ordering::Less) => Ok(Complex { re: Ball::zero(), im: self.root(&a.re.negated(), 2)? }),
                _ => Ok(Complex::real(self.root(&a.re, 2)?)),
            };
        }
        let half = Complex::real(self.rational(&RBig::from_parts(1.into(), 2u8.into())));
        self.complex_exp(&self.complex_multiply(&self.complex_ln(a)?, &half)?)
    }

    /// Sine and cosine.
    pub(super) fn complex_sin_cos(&self, a: &Complex) -> Result<(Complex, Complex), Failure> {
        let (sine, cosine) = self.sin_cos(&a.re)?;
        if a.is_real() {
            return Ok((Complex::real(sine), Complex::real(cosine)));
        }
        let (sinh, cosh) = self.sinh_cosh(&a.im)?;
        let sine_parts = Complex { re: self.multiply(&sine, &cosh)?, im: self.multiply(&cosine, &sinh)? };
        let cosine_parts = Complex { re: self.multiply(&cosine, &cosh)?, im: self.multiply(&sine, &sinh)?.negated() };
        Ok((sine_parts, cosine_parts))
    }

    /// Hyperbolic sine and cosine.
    pub(super) fn sinh_cosh(&self, a: &Ball) -> Result<(Ball, Ball), Failure> {
        let half = self.rational(&RBig::from_parts(1.into(), 2u8.into()));
        let (up, down) = (self.exp(a)?, self.exp(&a.negated())?);
        Ok((self.multiply(&self.subtract(&up, &down)?, &half)?, self.multiply(&self.add(&up, &down)?, &half)?))
    }
}
