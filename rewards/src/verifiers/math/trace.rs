//! Traces: numbers so small, or beside so large ones, that they are lost at the usual precision.

use std::cmp::Ordering;

use super::{
    evaluate::{Evaluator, Point},
    expression::Expr,
    real::{Failure, Reals},
    scalar::{Meeting, Ordered, PRECISIONS, Session, is_negligible, names, real_point},
    verdict::Verdict,
};

/// Values on the way that stay within this many bits of one need no more precision than that.
const NEAR: i64 = 64;
/// Values further away than this many bits are not compared.
const FAR: i64 = 400;

impl Session {
    /// How far from one the constants of an expression go, in bits: so much may be lost beside other numbers.
    ///
    /// # Errors
    /// Why they have no values.
    fn reach(&mut self, expr: &Expr) -> Result<i64, Failure> {
        if !expr.is_closed() {
            return expr.parts().into_iter().try_fold(0, |most, part| Ok(most.max(self.reach(part)?)));
        }
        let nowhere = Point::new();
        let reals = Reals::new(PRECISIONS[0]);
        let mut evaluator = Evaluator { reals, point: &nowhere, real_only: false, fuel: &mut self.fuel, reach: 0 };
        evaluator.value(expr)?;
        Ok(evaluator.reach)
    }

    /// The same for numbers that agree as far as they were worked out: a trace of one may be too small to be seen there.
    pub(super) fn sign_of_trace(&mut self, a: &Expr, b: &Expr) -> Result<Option<Ordered>, Failure> {
        let reach = self.reach(a)?.max(self.reach(b)?);
        if reach <= NEAR {
            return Ok(Some((Verdict::Equal, Some(Ordering::Equal))));
        }
        if reach > FAR {
            return Ok(None);
        }
        let nowhere = Point::new();
        let bits = PRECISIONS[1] + 6 * reach as usize;
        let reals = Reals::new(bits);
        let x = self.value(a, bits, &nowhere, false)?.ball(&reals);
        let y = self.value(b, bits, &nowhere, false)?.ball(&reals);
        let gap = reals.complex_add(&x, &y.negated())?;
        if gap.is_nonzero() {
            let order = if gap.is_real() { gap.re.sign() } else { None };
            return Ok(Some((Verdict::Different, order)));
        }
        Ok(is_negligible(&gap, &x, &y, 5 * reach).then_some((Verdict::Equal, Some(Ordering::Equal))))
    }

    /// Whether expressions that meet at points still do when no constant in them is too small to be seen.
    pub(super) fn without_trace(&mut self, a: &Expr, b: &Expr, real_only: bool) -> Verdict {
        let reach = match (self.reach(a), self.reach(b)) {
            (Ok(x), Ok(y)) => x.max(y),
            _ => 0,
        };
        if reach <= NEAR {
            return Verdict::Equal;
        }
        if reach > FAR {
            return Verdict::Unknown;
        }
        let names = names(&[a, b]);
        for attempt in 0..4 {
            match self.meet_within(a, b, &real_point(&names, attempt, false), real_only, 5 * reach) {
                Ok(Meeting::Same) => return Verdict::Equal,
                Ok(Meeting::Apart) => return Verdict::Different,
                Ok(_) => {}
                Err(_) => return Verdict::Unknown,
            }
        }
        Verdict::Unknown
    }
}
