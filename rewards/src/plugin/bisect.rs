//! Finding the item that spoils a batch: a batch that fails as a whole is halved until only the bad items fail.

use serde_json::Value;

use crate::score::{FailureKind, PartScore};

/// Why a batch failed as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BatchFault {
    pub(super) kind: FailureKind,
    pub(super) message: String,
    pub(super) then: Then,
}

/// What can be done after a batch failed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Halve it; an item that fails alone has failed.
    Halve,
    /// Halve it, and try an item that fails alone once more: the worker may have died of something else.
    Retry,
    /// Nothing: everything else would fail as well.
    GiveUp,
}

/// Scores items through `attempt`, which scores all of a batch or none. The others keep their scores when one spoils it.
pub(super) fn bisected<F>(items: &[Value], attempt: &mut F) -> Vec<PartScore>
where
    F: FnMut(&[Value]) -> Result<Vec<PartScore>, BatchFault>,
{
    let fault = match attempt(items) {
        Ok(scores) => return scores,
        Err(fault) => fault,
    };
    let failed = |fault: BatchFault| vec![PartScore::failed(fault.kind, fault.message); items.len()];
    match (fault.then, items) {
        (Then::Retry, [_]) => attempt(items).unwrap_or_else(failed),
        (Then::GiveUp, _) | (Then::Halve, [_]) | (_, []) => failed(fault),
        (Then::Halve | Then::Retry, _) => {
            let (first, second) = items.split_at(items.len() / 2);
            let mut scores = bisected(first, attempt);
            scores.extend(bisected(second, attempt));
            scores
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::score::Outcome;

    fn fault(then: Then) -> BatchFault {
        BatchFault { kind: FailureKind::Timeout, message: "late".to_owned(), then }
    }

    proptest! {
        #[test]
        fn only_the_bad_fail(count in 0..70_usize, bad in proptest::collection::btree_set(0..70_u64, 0..5)) {
            let items: Vec<Value> = (0..count as u64).map(Value::from).collect();
            let mut calls = 0;
            let scores = bisected(&items, &mut |batch: &[Value]| {
                calls += 1;
                if batch.iter().any(|item| bad.contains(&item.as_u64().unwrap())) {
                    return Err(fault(Then::Halve));
                }
                Ok(batch.iter().map(|item| PartScore::value(item.as_f64().unwrap(), "")).collect())
            });
            prop_assert_eq!(scores.len(), count);
            for (at, score) in scores.iter().enumerate() {
                let expected = (!bad.contains(&(at as u64))).then_some(at as f64);
                prop_assert_eq!(score.outcome.value(), expected);
            }
            prop_assert!(calls <= 1 + 14 * bad.len());
        }
    }

    #[test]
    fn a_lonely_item_is_tried_again_only_when_that_can_help() {
        for (then, calls, value) in [(Then::Halve, 1, None), (Then::GiveUp, 1, None), (Then::Retry, 2, Some(1.0))] {
            let mut called = 0;
            let scores = bisected(&[Value::Null], &mut |_: &[Value]| {
                called += 1;
                if called == 1 { Err(fault(then)) } else { Ok(vec![PartScore::value(1.0, "")]) }
            });
            assert_eq!((called, scores[0].outcome.value()), (calls, value));
        }
        let mut called = 0;
        let scores = bisected(&vec![Value::Null; 64], &mut |_: &[Value]| {
            called += 1;
            Err(fault(Then::GiveUp))
        });
        assert_eq!((called, scores.len()), (1, 64));
        assert!(scores.iter().all(|score| score.outcome == Outcome::failed(FailureKind::Timeout, "late")));
    }
}
