//! Subsets of the real line as unions of intervals, whose ends are expressions.

use std::cmp::Ordering;

use super::{expression::Expr, scalar::Session};

/// A place between points: just before or just after a number, or at either end of the line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cut {
    Start,
    At(Expr, bool),
    End,
}

/// Disjoint stretches in rising order, each from one cut to a later one.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Region(Vec<(Cut, Cut)>);

/// More stretches than this are refused.
const MAX_STRETCHES: usize = 64;

/// Why a region could not be worked out: two ends could not be ordered.
pub(super) type Worked<T> = Option<T>;

impl Region {
    /// Nothing.
    pub(super) fn empty() -> Self {
        Self(Vec::new())
    }

    /// The whole line.
    pub(super) fn line() -> Self {
        Self(vec![(Cut::Start, Cut::End)])
    }

    /// One number.
    pub(super) fn point(at: &Expr) -> Self {
        Self(vec![(Cut::At(at.clone(), false), Cut::At(at.clone(), true))])
    }

    /// An interval; infinite ends are open whatever their bracket.
    pub(super) fn interval(
        low: &Expr,
        low_closed: bool,
        high: &Expr,
        high_closed: bool,
        session: &mut Session,
    ) -> Worked<Self> {
        let start = match low.infinity() {
            Some(false) => Cut::Start,
            Some(true) => return None,
            None => Cut::At(low.clone(), !low_closed),
        };
        let end = match high.infinity() {
            Some(true) => Cut::End,
            Some(false) => return None,
            None => Cut::At(high.clone(), high_closed),
        };
        match session.cuts(&start, &end)? {
            Ordering::Less => Some(Self(vec![(start, end)])),
            _ => Some(Self::empty()),
        }
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything in either.
    pub(super) fn union(&self, other: &Self, session: &mut Session) -> Worked<Self> {
        let mut stretches: Vec<(Cut, Cut)> = Vec::new();
        for next in self.0.iter().chain(&other.0) {
            let mut place = stretches.len();
            while place > 0 && session.cuts(&stretches[place - 1].0, &next.0)? == Ordering::Greater {
                place -= 1;
            }
            stretches.insert(place, next.clone());
            if stretches.len() > MAX_STRETCHES {
                return None;
            }
        }
        let mut merged: Vec<(Cut, Cut)> = Vec::new();
        for next in stretches {
            if let Some(last) = merged.last_mut()
                && session.cuts(&next.0, &last.1)? != Ordering::Greater
            {
                if session.cuts(&last.1, &next.1)? == Ordering::Less {
                    last.1 = next.1;
                }
            } else {
                merged.push(next);
            }
        }
        Some(Self(merged))
    }

    /// Everything in both.
    pub(super) fn intersection(&self, other: &Self, session: &mut Session) -> Worked<Self> {
        let mut shared = Self::empty();
        for a in &self.0 {
            for b in &other.0 {
                let start = if session.cuts(&a.0, &b.0)? == Ordering::Less { &b.0 } else { &a.0 };
                let end = if session.cuts(&a.1, &b.1)? == Ordering::Less { &a.1 } else { &b.1 };
                if session.cuts(start, end)? == Ordering::Less {
                    shared = shared.union(&Self(vec![(start.clone(), end.clone())]), session)?;
                }
            }
        }
        Some(shared)
    }

    /// The same on the other side of zero.
    pub(super) fn mirrored(&self) -> Self {
        let turned = |cut: &Cut| match cut {
            Cut::Start => Cut::End,
            Cut::End => Cut::Start,
            Cut::At(at, after) => Cut::At(Expr::Negative(Box::new(at.clone())), !after),
        };
        Self(self.0.iter().rev().map(|(start, end)| (turned(end), turned(start))).collect())
    }

    /// Everything outside.
    pub(super) fn complement(&self) -> Self {
        let mut gaps = Vec::new();
        let mut from = Cut::Start;
        for (start, end) in &self.0 {
            if *start != Cut::Start {
                gaps.push((from.clone(), start.clone()));
            }
            from = end.clone();
        }
        if from != Cut::End {
            gaps.push((from, Cut::End));
        }
        Self(gaps)
    }

    /// Whether two regions hold the same numbers; nothing when their ends cannot be ordered.
    pub(super) fn same(&self, other: &Self, session: &mut Session) -> Worked<bool> {
        if self.0.len() != other.0.len() {
            return Some(false);
        }
        for (a, b) in self.0.iter().zip(&other.0) {
            if session.cuts(&a.0, &b.0)? != Ordering::Equal || session.cuts(&a.1, &b.1)? != Ordering::Equal {
                return Some(false);
            }
        }
        Some(true)
    }
}

impl Session {
    fn cuts(&mut self, a: &Cut, b: &Cut) -> Worked<Ordering> {
        Some(match (a, b) {
            (Cut::Start, Cut::Start) | (Cut::End, Cut::End) => Ordering::Equal,
            (Cut::Start, _) | (_, Cut::End) => Ordering::Less,
            (_, Cut::Start) | (Cut::End, _) => Ordering::Greater,
            (Cut::At(x, after), Cut::At(y, later)) => self.order(x, y)?.then(after.cmp(later)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(low: i64, high: i64, closed: bool) -> Region {
        let mut session = Session::new();
        Region::interval(&Expr::integer(low), closed, &Expr::integer(high), closed, &mut session).unwrap()
    }

    #[test]
    fn closed_neighbours_join_and_open_ones_do_not() {
        let mut session = Session::new();
        let joined = span(1, 2, true).union(&span(2, 3, true), &mut session).unwrap();
        assert_eq!(joined.same(&span(1, 3, true), &mut session), Some(true));
        let apart = span(1, 2, false).union(&span(2, 3, false), &mut session).unwrap();
        assert_eq!(apart.same(&span(1, 3, false), &mut session), Some(false));
    }

    #[test]
    fn the_complement_of_the_complement_is_the_region() {
        let mut session = Session::new();
        let region = span(1, 2, true).union(&span(4, 7, false), &mut session).unwrap();
        assert_eq!(region.complement().complement().same(&region, &mut session), Some(true));
        assert!(region.intersection(&region.complement(), &mut session).unwrap().is_empty());
    }
}
