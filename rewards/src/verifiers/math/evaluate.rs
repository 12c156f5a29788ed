//! The value of an expression: exact while it is rational, else to the precision asked for.

use std::{cmp::Ordering, collections::BTreeMap};

use dashu::{
    base::{Abs, BitTest, Gcd, RemEuclid, Signed},
    integer::{IBig, UBig},
    rational::RBig,
};

use super::{
    complex::Complex,
    expression::{Constant, Expr, Function},
    number::{Fuel, Number},
    real::{Failure, Reals},
};

/// Where variables stand, by name.
pub(super) type Point = BTreeMap<String, RBig>;

/// Evaluates at one point, at one precision.
pub(super) struct Evaluator<'a> {
    pub(super) reals: Reals,
    pub(super) point: &'a Point,
    /// Whether a step outside the real numbers makes the value undefined.
    pub(super) real_only: bool,
    pub(super) fuel: &'a mut Fuel,
    /// How far from one the values on the way went, in bits.
    pub(super) reach: i64,
}

impl Evaluator<'_> {
    /// The value of an expression.
    ///
    /// # Errors
    /// Why it has none.
    pub(super) fn value(&mut self, expr: &Expr) -> Result<Number, Failure> {
        self.fuel.spend(1)?;
        let value = self.step(expr)?;
        self.reach = self.reach.max(value.reach());
        Ok(value)
    }

    fn step(&mut self, expr: &Expr) -> Result<Number, Failure> {
        match expr {
            Expr::Number(value) => Number::exact(value.clone()),
            Expr::Constant(constant) => self.constant(*constant),
            Expr::Variable(name) => self.point.get(name).cloned().map(Number::Exact).ok_or(Failure::Unsupported),
            Expr::Sum(items) => {
                let mut total = Number::Exact(RBig::ZERO);
                for item in items {
                    total = total.add(&self.value(item)?, &self.reals)?;
                    self.pay(&total)?;
                }
                Ok(total)
            }
            Expr::Product(factors) => self.product(factors),
            Expr::Quotient(above, below) => {
                let (above, below) = (self.value(above)?, self.value(below)?);
                above.divide(&below, &self.reals)
            }
            Expr::Power(base, exponent) => self.power(base, exponent),
            Expr::Negative(inner) => Ok(self.value(inner)?.negated()),
            Expr::Percent(inner) => self.value(inner)?.divide(&Number::Exact(RBig::from(100)), &self.reals),
            Expr::Degree(inner) => {
                let turn = Number::Inexact(Complex::real(self.reals.pi()));
                self.value(inner)?.multiply(&turn, &self.reals)?.divide(&Number::Exact(RBig::from(180)), &self.reals)
            }
            Expr::Group(_, items, _) if items.len() == 1 => self.value(&items[0]),
            Expr::Radix { digits, base } => IBig::from_str_radix(if digits.is_empty() { "0" } else { digits }, *base)
                .map(|value| Number::Exact(RBig::from(value)))
                .map_err(|_| Failure::Unsupported),
            Expr::Call(Function::Determinant, items) => match items.as_slice() {
                [Expr::Matrix(rows)] => self.determinant(rows),
                _ => Err(Failure::Unsupported),
            },
            Expr::Call(function, items) => self.call(*function, items),
            _ => Err(Failure::Unsupported),
        }
    }

    fn pay(&mut self, value: &Number) -> Result<(), Failure> {
        let cost = match value {
            Number::Exact(value) => (super::number::bits(value) as u64 / 64).pow(2) / 2_000,
            Number::Inexact(_) => 1,
        };
        self.fuel.spend(cost)
    }

    fn constant(&mut self, constant: Constant) -> Result<Number, Failure> {
        match constant {
            Constant::Pi => Ok(Number::Inexact(Complex::real(self.reals.pi()))),
            Constant::E => {
                let one = self.reals.rational(&RBig::ONE);
                Ok(Number::Inexact(Complex::real(self.reals.exp(&one)?)))
            }
            Constant::I if self.real_only => Err(Failure::Undefined),
            Constant::I => {
                Ok(Number::Inexact(Complex { re: super::real::Ball::zero(), im: self.reals.rational(&RBig::ONE) }))
            }
            Constant::Infinity => Err(Failure::Unsupported),
        }
    }

    fn product(&mut self, factors: &[super::expression::Factor]) -> Result<Number, Failure> {
        let mut total = Number::Exact(RBig::ONE);
        for factor in factors {
            let value = self.value(&factor.expr)?;
            total = if factor.inverse {
                total.divide(&value, &self.reals)?
            } else {
                total.multiply(&value, &self.reals)?
            };
            self.pay(&total)?;
        }
        Ok(total)
    }

    /// The cost of one transcendental function at this precision.
    fn charge(&mut self) -> Result<(), Failure> {
        self.fuel.spend(match self.reals.bits() {
            ..=512 => 250,
            513..=1_024 => 1_500,
            _ => 3_000,
        })
    }

    fn power(&mut self, base: &Expr, exponent: &Expr) -> Result<Number, Failure> {
        let exponent = self.value(exponent)?;
        if *base == Expr::Constant(Constant::E) {
            return self.exp(&exponent);
        }
        let base = self.value(base)?;
        self.raise(&base, &exponent)
    }

    fn exp(&mut self, exponent: &Number) -> Result<Number, Failure> {
        self.charge()?;
        if matches!(exponent, Number::Exact(zero) if zero.is_zero()) {
            return Ok(Number::Exact(RBig::ONE));
        }
        Ok(Number::Inexact(self.reals.complex_exp(&exponent.ball(&self.reals))?))
    }

    fn raise(&mut self, base: &Number, exponent: &Number) -> Result<Number, Failure> {
        if let Some(whole) = exponent.integer() {
            return base.whole_power(&whole, &self.reals, self.fuel);
        }
        self.charge()?;
        if let (Number::Exact(base), Number::Exact(exponent)) = (base, exponent) {
            return self.rational_power(base, exponent);
        }
        let ball = base.ball(&self.reals);
        if !ball.is_nonzero() {
            return Err(Failure::Undefined);
        }
        if self.real_only && ball.re.sign() != Some(Ordering::Greater) {
            return Err(Failure::Undefined);
        }
        let log = self.reals.complex_ln(&ball)?;
        Ok(Number::Inexact(self.reals.complex_exp(&self.reals.complex_multiply(&log, &exponent.ball(&self.reals))?)?))
    }

    /// A rational to a power that is no integer; an odd root of a negative number is the real one.
    fn rational_power(&mut self, base: &RBig, exponent: &RBig) -> Result<Number, Failure> {
        if base.is_zero() {
            return if exponent.is_negative() { Err(Failure::Undefined) } else { Ok(Number::Exact(RBig::ZERO)) };
        }
        let odd = exponent.denominator().bit(0);
        if base.is_negative() && odd {
            let size = self.rational_power(&-base.clone(), exponent)?;
            return Ok(if exponent.numerator().bit(0) { size.negated() } else { size });
        }
        let index = usize::try_from(exponent.denominator().clone()).ok().filter(|index| *index <= 64);
        if let (Some(index), false) = (index, base.is_negative()) {
            let root = self.positive_root(base, index)?;
            return root.whole_power(exponent.numerator(), &self.reals, self.fuel);
        }
        if self.real_only && base.is_negative() {
            return Err(Failure::Undefined);
        }
        let ball = Complex::real(self.reals.rational(base));
        let log = self.reals.complex_ln(&ball)?;
        let power = Complex::real(self.reals.rational(exponent));
        Ok(Number::Inexact(self.reals.complex_exp(&self.reals.complex_multiply(&log, &power)?)?))
    }

    /// The root of a positive rational: exact where it is rational.
    fn positive_root(&mut self, base: &RBig, index: usize) -> Result<Number, Failure> {
        let above: UBig = base.numerator().clone().into_parts().1;
        let (top, bottom) = (above.nth_root(index), base.denominator().nth_root(index));
        if top.pow(index) == above && bottom.pow(index) == *base.denominator() {
            return Ok(Number::Exact(RBig::from_parts(top.into(), bottom)));
        }
        Ok(Number::Inexact(Complex::real(self.reals.root(&self.reals.rational(base), index)?)))
    }

    fn arguments(&mut self, items: &[Expr]) -> Result<Vec<Number>, Failure> {
        items.iter().map(|item| self.value(item)).collect()
    }

    fn call(&mut self, function: Function, items: &[Expr]) -> Result<Number, Failure> {
        if items.is_empty() || items.len() > 16 {
            return Err(Failure::Unsupported);
        }
        let values = self.arguments(items)?;
        self.charge()?;
        match (function, values.as_slice()) {
            (Function::Sqrt, [a]) => self.sqrt(a),
            (Function::Root, [a, index]) => self.root(a, index),
            (Function::Exp, [a]) => self.exp(a),
            (Function::Ln, [a]) => self.ln(a),
            (Function::Log, [a]) => {
                let ten = self.ln(&Number::Exact(RBig::from(10)))?;
                self.ln(a)?.divide(&ten, &self.reals)
            }
            (Function::Log, [Number::Exact(a), Number::Exact(base)]) if exact_log(a, base).is_some() => {
                Ok(Number::Exact(RBig::from(exact_log(a, base).unwrap_or(0))))
            }
            (Function::Log, [a, base]) => {
                let base = self.ln(base)?;
                self.ln(a)?.divide(&base, &self.reals)
            }
            (Function::Abs, [a]) => self.absolute(a),
            (Function::Floor, [a]) => self.floor(a),
            (Function::Ceiling, [a]) => Ok(self.floor(&a.negated())?.negated()),
            (Function::Sign, [a]) => match a.real(&self.reals)?.sign() {
                Some(Ordering::Less) => Ok(Number::Exact(-RBig::ONE)),
                Some(Ordering::Greater) => Ok(Number::Exact(RBig::ONE)),
                _ => Ok(Number::Exact(RBig::ZERO)),
            },
            (Function::RealPart, [a]) => Ok(Number::Inexact(Complex::real(a.ball(&self.reals).re))),
            (Function::ImaginaryPart, [a]) => Ok(Number::Inexact(Complex::real(a.ball(&self.reals).im))),
            (Function::Conjugate, [a]) => Ok(match a {
                Number::Exact(_) => a.clone(),
                Number::Inexact(value) => Number::Inexact(value.conjugate()),
            }),
            (Function::Factorial, [a]) => self.factorial(a, 1),
            (Function::DoubleFactorial, [a]) => self.factorial(a, 2),
            (Function::Binomial, [n, k]) => self.falling(n, k, true),
            (Function::Permutation, [n, k]) => self.falling(n, k, false),
            (Function::Gcd | Function::Lcm, _) => divisors(function, &values),
            (Function::Min | Function::Max, _) => self.extreme(function, &values),
            (Function::Remainder, [a, b]) => remainder(a, b),
            (_, [a]) => self.transcendental(function, a),
            _ => Err(Failure::Unsupported),
        }
    }

    fn sqrt(&mut self, a: &Number) -> Result<Number, Failure> {
        match a {
            Number::Exact(value) if value.is_zero() => Ok(a.clone()),
            Number::Exact(value) if !value.is_negative() => self.positive_root(value, 2),
            _ => {
                let ball = a.ball(&self.reals);
                if self.real_only && ball.re.sign() == Some(Ordering::Less) {
                    return Err(Failure::Undefined);
                }
                Ok(Number::Inexact(self.reals.complex_sqrt(&ball)?))
            }
        }
    }

    fn root(&mut self, a: &Number, index: &Number) -> Result<Number, Failure> {
        let index =
            index.integer().and_then(|index| usize::try_from(index).ok()).filter(|index| (1..=64).contains(index));
        let Some(index) = index else { return Err(Failure::Unsupported) };
        if let Number::Exact(value) = a {
            return self.rational_power(value, &RBig::from_parts(IBig::ONE, UBig::from(index)));
        }
        let ball = a.ball(&self.reals);
        if ball.is_real() && ball.re.sign() == Some(Ordering::Less) && index % 2 == 1 {
            return Ok(Number::Inexact(Complex::real(self.reals.root(&ball.re.negated(), index)?)).negated());
        }
        if ball.is_real() && (self.real_only || ball.re.sign() != Some(Ordering::Less)) {
            return Ok(Number::Inexact(Complex::real(self.reals.root(&ball.re, index)?)));
        }
        self.raise(a, &Number::Exact(RBig::from_parts(IBig::ONE, UBig::from(index))))
    }

    fn ln(&mut self, a: &Number) -> Result<Number, Failure> {
        if matches!(a, Number::Exact(one) if *one == RBig::ONE) {
            return Ok(Number::Exact(RBig::ZERO));
        }
        self.charge()?;
        let ball = a.ball(&self.reals);
        if self.real_only && ball.re.sign() != Some(Ordering::Greater) {
            return Err(Failure::Undefined);
        }
        Ok(Number::Inexact(self.reals.complex_ln(&ball)?))
    }

    fn absolute(&mut self, a: &Number) -> Result<Number, Failure> {
        match a {
            Number::Exact(value) => Ok(Number::Exact(value.clone().abs())),
            Number::Inexact(value) => Ok(Number::Inexact(Complex::real(self.reals.modulus(value)?))),
        }
    }

    fn floor(&mut self, a: &Number) -> Result<Number, Failure> {
        let whole = match a {
            Number::Exact(value) => value.floor(),
            Number::Inexact(_) => self.reals.floor(&a.real(&self.reals)?)?,
        };
        Number::exact(RBig::from(whole))
    }

    fn factorial(&mut self, a: &Number, step: u32) -> Result<Number, Failure> {
        let count = a.integer().ok_or(Failure::Undefined)?;
        if count.is_negative() {
            return Err(Failure::Undefined);
        }
        let count = u32::try_from(count).ok().filter(|count| *count <= 4_000).ok_or(Failure::TooLarge)?;
        let mut total = UBig::ONE;
        let mut factor = count;
        while factor > 1 {
            total *= factor;
            self.fuel.spend(1 + total.as_words().len() as u64 / 64)?;
            factor = factor.saturating_sub(step);
        }
        Number::exact(RBig::from(total))
    }

    /// `n (n-1) ... (n-k+1)`, over `k!` or not.
    fn falling(&mut self, n: &Number, k: &Number, divided: bool) -> Result<Number, Failure> {
        let mut k = k.integer().ok_or(Failure::Undefined)?;
        if k.is_negative() {
            return Ok(Number::Exact(RBig::ZERO));
        }
        if let Some(n) = n.integer().filter(|n| !n.is_negative() && divided) {
            if k > n {
                return Ok(Number::Exact(RBig::ZERO));
            }
            k = k.clone().min(n - k);
        }
        let k = u32::try_from(k).ok().filter(|k| *k <= 4_000).ok_or(Failure::TooLarge)?;
        let mut total = Number::Exact(RBig::ONE);
        for index in 0..k {
            let factor = n.add(&Number::Exact(-RBig::from(index)), &self.reals)?;
            total = total.multiply(&factor, &self.reals)?;
            if divided {
                total = total.divide(&Number::Exact(RBig::from(index + 1)), &self.reals)?;
            }
            self.fuel.spend(2)?;
            self.pay(&total)?;
        }
        Ok(total)
    }

    fn extreme(&mut self, function: Function, values: &[Number]) -> Result<Number, Failure> {
        let (mut best, rest) = values.split_first().ok_or(Failure::Unsupported)?;
        for value in rest {
            let gap = value.add(&best.negated(), &self.reals)?.real(&self.reals)?;
            let better = if function == Function::Max { Ordering::Greater } else { Ordering::Less };
            if gap.sign() == Some(better) {
                best = value;
            }
        }
        Ok(best.clone())
    }

    fn transcendental(&mut self, function: Function, a: &Number) -> Result<Number, Failure> {
        let reals = self.reals;
        let ball = a.ball(&reals);
        let one = Complex::real(reals.rational(&RBig::ONE));
        let value = match function {
            Function::Sin => reals.complex_sin_cos(&ball)?.0,
            Function::Cos => reals.complex_sin_cos(&ball)?.1,
            Function::Tan | Function::Cot => {
                let (sine, cosine) = reals.complex_sin_cos(&ball)?;
                if function == Function::Tan {
                    reals.complex_divide(&sine, &cosine)?
                } else {
                    reals.complex_divide(&cosine, &sine)?
                }
            }
            Function::Sec => reals.complex_divide(&one, &reals.complex_sin_cos(&ball)?.1)?,
            Function::Csc => reals.complex_divide(&one, &reals.complex_sin_cos(&ball)?.0)?,
            Function::Cis => {
                let (sine, cosine) = reals.sin_cos(&a.real(&reals)?)?;
                Complex { re: cosine, im: sine }
            }
            _ => Complex::real(self.real_function(function, a)?),
        };
        Ok(Number::Inexact(value))
    }

    fn real_function(&mut self, function: Function, a: &Number) -> Result<super::real::Ball, Failure> {
        let reals = self.reals;
        let x = a.real(&reals)?;
        if matches!(function, Function::Sinh | Function::Cosh | Function::Tanh) {
            // They are made of exponentials, whose size is the argument itself.
            self.reach = self.reach.max(4 << x.size().clamp(0, 40));
        }
        let one = reals.rational(&RBig::ONE);
        let square = reals.multiply(&x, &x)?;
        match function {
            Function::Asin => reals.atan2(&x, &reals.root(&reals.subtract(&one, &square)?, 2)?),
            Function::Acos => reals.atan2(&reals.root(&reals.subtract(&one, &square)?, 2)?, &x),
            Function::Atan => reals.atan2(&x, &one),
            Function::Acot => reals.atan2(&one, &x),
            Function::Asec => self.real_function(Function::Acos, &Number::Exact(RBig::ONE).divide(a, &reals)?),
            Function::Acsc => self.real_function(Function::Asin, &Number::Exact(RBig::ONE).divide(a, &reals)?),
            Function::Sinh => Ok(reals.sinh_cosh(&x)?.0),
            Function::Cosh => Ok(reals.sinh_cosh(&x)?.1),
            Function::Tanh => {
                let (sinh, cosh) = reals.sinh_cosh(&x)?;
                reals.divide(&sinh, &cosh)
            }
            Function::Asinh => reals.ln(&reals.add(&x, &reals.root(&reals.add(&square, &one)?, 2)?)?),
            Function::Acosh => reals.ln(&reals.add(&x, &reals.root(&reals.subtract(&square, &one)?, 2)?)?),
            Function::Atanh => {
                let ratio = reals.divide(&reals.add(&one, &x)?, &reals.subtract(&one, &x)?)?;
                reals.multiply(&reals.ln(&ratio)?, &reals.rational(&RBig::from_parts(IBig::ONE, UBig::from(2u8))))
            }
            _ => Err(Failure::Unsupported),
        }
    }

    /// The determinant of a small square matrix, by its first column.
    fn determinant(&mut self, rows: &[Vec<Expr>]) -> Result<Number, Failure> {
        if rows.is_empty() || rows.len() > 5 || rows.iter().any(|row| row.len() != rows.len()) {
            return Err(Failure::Unsupported);
        }
        let cells = rows.iter().map(|row| self.arguments(row)).collect::<Result<Vec<_>, _>>()?;
        self.expand(&cells)
    }

    fn expand(&mut self, cells: &[Vec<Number>]) -> Result<Number, Failure> {
        self.fuel.spend(2)?;
        if let [row] = cells {
            return Ok(row[0].clone());
        }
        let mut total = Number::Exact(RBig::ZERO);
        for index in 0..cells.len() {
            let minor: Vec<Vec<Number>> =
                (0..cells.len()).filter(|other| *other != index).map(|other| cells[other][1..].to_vec()).collect();
            let mut term = cells[index][0].multiply(&self.expand(&minor)?, &self.reals)?;
            if index % 2 == 1 {
                term = term.negated();
            }
            total = total.add(&term, &self.reals)?;
        }
        Ok(total)
    }
}

/// The whole power of the base that a number is, for small ones.
fn exact_log(a: &RBig, base: &RBig) -> Option<u32> {
    if *base <= RBig::ONE || super::number::bits(base) > 64 {
        return None;
    }
    let mut power = RBig::ONE;
    (0..64).find(|_| {
        let found = power == *a;
        power *= base.clone();
        found
    })
}

fn divisors(function: Function, values: &[Number]) -> Result<Number, Failure> {
    let mut total: Option<UBig> = None;
    for value in values {
        let whole: UBig = value.integer().ok_or(Failure::Undefined)?.into_parts().1;
        if whole.is_zero() {
            return Err(Failure::Undefined);
        }
        total = Some(match total {
            None => whole,
            Some(before) => {
                let common = (&before).gcd(&whole);
                if function == Function::Gcd { common } else { before / common * whole }
            }
        });
    }
    Number::exact(RBig::from(total.ok_or(Failure::Unsupported)?))
}

fn remainder(a: &Number, b: &Number) -> Result<Number, Failure> {
    let (a, b) = (a.integer().ok_or(Failure::Undefined)?, b.integer().ok_or(Failure::Undefined)?);
    if b.is_zero() {
        return Err(Failure::Undefined);
    }
    Ok(Number::Exact(RBig::from((&a).rem_euclid(&b.abs()))))
}
