//! A percentage whose sign the answer leaves out: `28` for the gold answer `28\%`.

use dashu::rational::RBig;

use super::{expression::Expr, scalar::Session, value::Value, verdict::Verdict};

impl Session {
    /// Whether a bare number says the percentage that is asked for. Not so up to 1, which is a share by itself, and not the
    /// other way round: a gold answer without the sign is no percentage.
    pub(super) fn leaves_out_percent(&mut self, gold: &Value, answer: &Value) -> bool {
        let (Value::Scalar(gold), Value::Scalar(bare)) = (gold, answer) else { return false };
        let share = match gold {
            Expr::Percent(share) => (**share).clone(),
            Expr::Negative(inner) => match &**inner {
                Expr::Percent(share) => Expr::Negative(share.clone()),
                _ => return false,
            },
            _ => return false,
        };
        let size = match bare {
            Expr::Number(value) => value.clone(),
            Expr::Negative(inner) => match &**inner {
                Expr::Number(value) => value.clone(),
                _ => return false,
            },
            _ => return false,
        };
        size > RBig::ONE && self.scalars(&share, bare) == Verdict::Equal
    }
}
