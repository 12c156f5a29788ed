//! Whether two expressions have the same value: exactly, to hundreds of bits, or at points.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use dashu::{integer::IBig, rational::RBig};

use super::{
    complex::Complex,
    doubtful::is_doubtful,
    evaluate::{Evaluator, Point},
    expression::{Constant, Expr, Function},
    number::{Fuel, Number},
    ordered::is_reordered,
    real::{Failure, Reals},
    residue::{PRIMES, Residues},
    verdict::Verdict,
};

/// Precisions of the quick and of the deciding evaluation, in bits.
pub(super) const PRECISIONS: [usize; 2] = [256, 640];
/// Two numbers are equal only when their difference is below this share (a power of two) of their size.
const EQUAL_BELOW: i64 = -200;
/// The work one comparison may do.
const FUEL: u64 = 40_000;

/// Names of variables that are whole numbers where a floor or a remainder stands.
const COUNTERS: [&str; 11] = ["n", "m", "k", "i", "j", "l", "N", "M", "K", "p", "q"];

/// Where expressions with steps are compared: small numbers, powers and their neighbours.
const STEPS: [u32; 26] =
    [1, 2, 3, 4, 7, 8, 9, 15, 1_009, 16, 10_007, 17, 1_000_003, 5, 6, 26, 27, 24, 25, 31, 32, 63, 64, 81, 10, 100];

/// Expressions with steps that meet at so many of these places are one there.
const ENOUGH_STEPS: usize = 18;

/// The state of one comparison: what work it may still do.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) fuel: Fuel,
}

/// Whether two numbers are equal, and which one is the greater where both are real.
pub(super) type Ordered = (Verdict, Option<Ordering>);

/// How the values at one point relate.
pub(super) enum Meeting {
    Same,
    Apart,
    /// Both are undefined, or the difference cannot be told.
    Silent,
    /// Only one side has a value.
    Lopsided,
}

impl Session {
    pub(super) fn new() -> Self {
        Self { fuel: Fuel::new(FUEL) }
    }

    /// Whether two expressions are equal wherever both are defined.
    pub(super) fn scalars(&mut self, a: &Expr, b: &Expr) -> Verdict {
        if a == b {
            return Verdict::Equal;
        }
        // The order of a product of matrices counts, and what it comes to is not worked out.
        if is_doubtful(a) || is_doubtful(b) {
            return Verdict::Unknown;
        }
        match self.by_value(a, b) {
            Verdict::Unknown if is_reordered(a, b) => Verdict::Equal,
            // Only real points were tried.
            Verdict::Equal if complex_part(a) != complex_part(b) => Verdict::Unknown,
            verdict => verdict,
        }
    }

    fn by_value(&mut self, a: &Expr, b: &Expr) -> Verdict {
        match (a.infinity(), b.infinity()) {
            (Some(a), Some(b)) => return Verdict::when(a == b),
            (None, None) => {}
            _ => return Verdict::Different,
        }
        if !a.is_scalar() || !b.is_scalar() {
            return Verdict::Unknown;
        }
        if a.is_closed() && b.is_closed() {
            return self.closed(a, b);
        }
        let atoms = |side: &Expr| side.any(&|node| matches!(node, Expr::Apply(..) | Expr::Bound(..)));
        if atoms(a) || atoms(b) {
            let summed = [a, b].iter().any(|side| side.any(&|node| matches!(node, Expr::Bound(..))));
            let Some((a, b)) = self.without_atoms(a, b) else { return Verdict::Unknown };
            // What a sum comes to is not worked out.
            return match self.scalars(&a, &b) {
                Verdict::Different if summed => Verdict::Unknown,
                verdict => verdict,
            };
        }
        let (a, b) = align(a, b);
        if is_stepped(&a) || is_stepped(&b) {
            return self.at_whole_numbers(&a, &b);
        }
        match self.rational_functions(&a, &b) {
            Verdict::Unknown => self.at_points(&a, &b),
            verdict => verdict,
        }
    }

    pub(super) fn value(
        &mut self,
        expr: &Expr,
        bits: usize,
        point: &Point,
        real_only: bool,
    ) -> Result<Number, Failure> {
        Evaluator { reals: Reals::new(bits), point, real_only, fuel: &mut self.fuel, reach: 0 }.value(expr)
    }

    /// The value of a closed expression at the quick precision.
    pub(super) fn quick(&mut self, expr: &Expr) -> Result<Number, Failure> {
        self.value(expr, PRECISIONS[0], &Point::new(), false)
    }

    fn closed(&mut self, a: &Expr, b: &Expr) -> Verdict {
        match self.sign_of_difference(a, b) {
            Ok(Some(verdict)) => verdict.0,
            // Numbers too large to be written out are told apart modulo primes, where they are rational.
            Ok(None) | Err(Failure::TooLarge) => self.rational_functions(a, b),
            Err(_) => Verdict::Unknown,
        }
    }

    /// Equal or Different with the order, or nothing where it cannot be told.
    fn sign_of_difference(&mut self, a: &Expr, b: &Expr) -> Result<Option<Ordered>, Failure> {
        let nowhere = Point::new();
        for bits in PRECISIONS {
            let (x, y) = (self.value(a, bits, &nowhere, false)?, self.value(b, bits, &nowhere, false)?);
            if let (Number::Exact(x), Number::Exact(y)) = (&x, &y) {
                return Ok(Some((Verdict::when(x == y), Some(x.cmp(y)))));
            }
            let reals = Reals::new(bits);
            let (x, y) = (x.ball(&reals), y.ball(&reals));
            let gap = reals.complex_add(&x, &y.negated())?;
            if gap.is_nonzero() {
                let order = if gap.is_real() { gap.re.sign() } else { None };
                return Ok(Some((Verdict::Different, order)));
            }
            if bits == PRECISIONS[1] && is_negligible(&gap, &x, &y, 0) {
                return self.sign_of_trace(a, b);
            }
        }
        Ok(None)
    }

    /// The order of two closed real expressions; infinities included.
    pub(super) fn order(&mut self, a: &Expr, b: &Expr) -> Option<Ordering> {
        if a == b {
            return Some(Ordering::Equal);
        }
        match (a.infinity(), b.infinity()) {
            (Some(a), Some(b)) => return Some(a.cmp(&b)),
            (Some(a), None) => return Some(if a { Ordering::Greater } else { Ordering::Less }),
            (None, Some(b)) => return Some(if b { Ordering::Less } else { Ordering::Greater }),
            (None, None) => {}
        }
        self.sign_of_difference(a, b).ok().flatten().and_then(|(_, order)| order)
    }

    /// Equality of rational functions, modulo two primes at two points each.
    pub(super) fn rational_functions(&mut self, a: &Expr, b: &Expr) -> Verdict {
        let mut agreed = 0;
        for prime in PRIMES {
            for attempt in 0..3u64 {
                let point = residue_point(&[a, b], prime, attempt);
                let mut residues = Residues { prime, point: &point, fuel: &mut self.fuel };
                let (x, y) = match (residues.value(a), residues.value(b)) {
                    (Ok(x), Ok(y)) => (x, y),
                    (Err(Failure::Undefined), Ok(_) | Err(Failure::Undefined)) | (Ok(_), Err(Failure::Undefined)) => {
                        continue;
                    }
                    _ => return Verdict::Unknown,
                };
                if residues.multiply(x.above, y.below) != residues.multiply(y.above, x.below) {
                    return Verdict::Different;
                }
                agreed += 1;
            }
        }
        if agreed >= 3 { Verdict::Equal } else { Verdict::Unknown }
    }

    /// Equality of any expressions in variables, at real points and else at whole numbers.
    fn at_points(&mut self, a: &Expr, b: &Expr) -> Verdict {
        let complex = [a, b].iter().any(|side| side.any(&|node| *node == Expr::Constant(Constant::I)));
        let names = names(&[a, b]);
        let one_abs = has_abs(a) != has_abs(b);
        for whole in [false, true] {
            let (mut same, mut lopsided) = (0, 0);
            for attempt in 0..10 {
                let point = real_point(&names, attempt, whole);
                match self.meet(a, b, &point, !complex) {
                    Ok(Meeting::Same) => {
                        same += 1;
                        // Expressions that meet at five points by chance would have to be made for it.
                        if same >= 5 {
                            break;
                        }
                    }
                    Ok(Meeting::Apart) => return Verdict::Different,
                    Ok(Meeting::Lopsided) => lopsided += 1,
                    Ok(Meeting::Silent) => {}
                    Err(Failure::OutOfFuel) if same >= 4 => break,
                    Err(_) => return Verdict::Unknown,
                }
            }
            if lopsided > 0 && one_abs && !whole {
                return Verdict::Different;
            }
            if same >= 4 {
                return self.without_trace(a, b, !complex);
            }
        }
        Verdict::Unknown
    }

    /// Equality of expressions with floors, ceilings and remainders: at whole numbers, and between them where a variable
    /// is not one that counts.
    fn at_whole_numbers(&mut self, a: &Expr, b: &Expr) -> Verdict {
        let names = names(&[a, b]);
        let counts = names.iter().all(|name| COUNTERS.contains(&name.as_str()));
        let mut same = 0;
        for attempt in 0..STEPS.len() {
            let place =
                |index: usize| STEPS[if index == 0 { attempt } else { (attempt * 7 + index * 3) % STEPS.len() }];
            let point =
                names.iter().enumerate().map(|(index, name)| (name.clone(), RBig::from(place(index)))).collect();
            match self.meet(a, b, &point, true) {
                Ok(Meeting::Same) => {
                    same += 1;
                    if same >= ENOUGH_STEPS {
                        break;
                    }
                }
                Ok(Meeting::Apart) => return Verdict::Different,
                Ok(Meeting::Lopsided) => return Verdict::Unknown,
                Ok(Meeting::Silent) => {}
                Err(Failure::OutOfFuel) if same >= 16 => break,
                Err(_) => return Verdict::Unknown,
            }
        }
        if same < 16 {
            return Verdict::Unknown;
        }
        // A floor and a ceiling may be one at whole numbers; two floors that differ between them are in doubt.
        let has = |side: &Expr, function| side.any(&|node| matches!(node, Expr::Call(own, _) if *own == function));
        let crossed = has(a, Function::Floor) != has(b, Function::Floor);
        let whole = !has(a, Function::Floor) && !has(a, Function::Ceiling);
        if alternates(a) || alternates(b) || counts && (crossed || whole) {
            Verdict::Equal
        } else {
            self.at_points(a, b)
        }
    }

    fn meet(&mut self, a: &Expr, b: &Expr, point: &Point, real_only: bool) -> Result<Meeting, Failure> {
        self.meet_within(a, b, point, real_only, 0)
    }

    /// The same with so many more bits of closeness.
    pub(super) fn meet_within(
        &mut self,
        a: &Expr,
        b: &Expr,
        point: &Point,
        real_only: bool,
        closer: i64,
    ) -> Result<Meeting, Failure> {
        let bits = PRECISIONS[0] + closer as usize;
        let (x, y) = match (self.value(a, bits, point, real_only), self.value(b, bits, point, real_only)) {
            (Ok(x), Ok(y)) => (x, y),
            (Err(Failure::Undefined), Err(Failure::Undefined)) => return Ok(Meeting::Silent),
            (Ok(_), Err(Failure::Undefined)) | (Err(Failure::Undefined), Ok(_)) => return Ok(Meeting::Lopsided),
            (Err(Failure::TooLarge), _) | (_, Err(Failure::TooLarge)) => return Ok(Meeting::Silent),
            (Err(failure), _) | (_, Err(failure)) => return Err(failure),
        };
        if let (Number::Exact(x), Number::Exact(y)) = (&x, &y) {
            return Ok(if x == y { Meeting::Same } else { Meeting::Apart });
        }
        let reals = Reals::new(bits);
        let (x, y) = (x.ball(&reals), y.ball(&reals));
        let gap = reals.complex_add(&x, &y.negated())?;
        if gap.is_nonzero() {
            return Ok(Meeting::Apart);
        }
        Ok(if gap.re.error().max(gap.im.error()) < -100 - closer { Meeting::Same } else { Meeting::Silent })
    }

    /// Whether `f` is a constant multiple of `g`, that is whether `f = 0` and `g = 0` are one equation; with
    /// `positive`, whether the constant is positive as well.
    pub(super) fn proportional(&mut self, f: &Expr, g: &Expr, positive: bool) -> Verdict {
        if !f.is_scalar() || !g.is_scalar() || is_doubtful(f) || is_doubtful(g) {
            return Verdict::Unknown;
        }
        let Some((f, g)) = self.without_atoms(f, g) else { return Verdict::Unknown };
        let (f, g) = (&f, &g);
        // An equation between numbers has no solutions to compare.
        if f.is_closed() || g.is_closed() {
            return Verdict::Unknown;
        }
        if !positive {
            match self.proportional_residues(f, g) {
                Verdict::Unknown => {}
                verdict => return verdict,
            }
        }
        let names = names(&[f, g]);
        let mut first: Option<Complex> = None;
        let mut same = 0;
        for attempt in 0..10 {
            match self.ratio_at(f, g, &real_point(&names, attempt, false)) {
                Ok(Some(ratio)) => {
                    if positive && ratio.re.sign() != Some(Ordering::Greater) {
                        return Verdict::Different;
                    }
                    let reals = Reals::new(PRECISIONS[0]);
                    let before = first.get_or_insert_with(|| ratio.clone());
                    match reals.complex_add(before, &ratio.negated()) {
                        Ok(gap) if gap.is_nonzero() => return Verdict::Different,
                        Ok(_) => same += 1,
                        Err(_) => {}
                    }
                }
                Ok(None) => return Verdict::Different,
                Err(Failure::Undefined | Failure::TooLarge) => {}
                Err(_) => return Verdict::Unknown,
            }
        }
        if same >= 4 { Verdict::Equal } else { Verdict::Unknown }
    }

    /// `f / g` at a point; nothing when exactly one of them vanishes there.
    fn ratio_at(&mut self, f: &Expr, g: &Expr, point: &Point) -> Result<Option<Complex>, Failure> {
        let reals = Reals::new(PRECISIONS[0]);
        let f = self.value(f, PRECISIONS[0], point, true)?.ball(&reals);
        let g = self.value(g, PRECISIONS[0], point, true)?.ball(&reals);
        match (f.is_nonzero(), g.is_nonzero()) {
            (true, true) => reals.complex_divide(&f, &g).map(Some),
            (false, false) => Err(Failure::Undefined),
            _ => Ok(None),
        }
    }

    fn proportional_residues(&mut self, f: &Expr, g: &Expr) -> Verdict {
        let mut agreed = 0;
        for prime in PRIMES {
            let mut first: Option<(u64, u64)> = None;
            for attempt in 0..4u64 {
                let point = residue_point(&[f, g], prime, attempt);
                let mut residues = Residues { prime, point: &point, fuel: &mut self.fuel };
                let (x, y) = match (residues.value(f), residues.value(g)) {
                    (Ok(x), Ok(y)) => (x.above, y.above),
                    (Err(Failure::Undefined), Ok(_) | Err(Failure::Undefined)) | (Ok(_), Err(Failure::Undefined)) => {
                        continue;
                    }
                    _ => return Verdict::Unknown,
                };
                if (x == 0) != (y == 0) {
                    return Verdict::Different;
                }
                if x == 0 {
                    continue;
                }
                let (above, below) = *first.get_or_insert((x, y));
                if residues.multiply(above, y) != residues.multiply(x, below) {
                    return Verdict::Different;
                }
                agreed += 1;
            }
        }
        if agreed >= 6 { Verdict::Equal } else { Verdict::Unknown }
    }
}

/// Whether a difference is so small, and so surely so, that the numbers are equal.
pub(super) fn is_negligible(gap: &Complex, x: &Complex, y: &Complex, closer: i64) -> bool {
    let size = x.re.size().max(x.im.size()).max(y.re.size()).max(y.im.size()).max(-200);
    let bound = |ball: &super::real::Ball| ball.error().max(ball.size());
    bound(&gap.re).max(bound(&gap.im)) < size + EQUAL_BELOW - closer
}

pub(super) fn names(sides: &[&Expr]) -> BTreeSet<String> {
    sides.iter().flat_map(|side| side.variables()).collect()
}

/// Whether it has steps: a floor, a ceiling or a remainder of something with variables.
fn is_stepped(expr: &Expr) -> bool {
    let steps = [Function::Floor, Function::Ceiling, Function::Remainder, Function::Gcd, Function::Lcm];
    expr.any(&|node| matches!(node, Expr::Call(function, _) if steps.contains(function) && !node.is_closed()))
        || alternates(expr)
}

/// Whether a negative number has a power with variables, which has values at whole numbers alone.
fn alternates(expr: &Expr) -> bool {
    fn is_negative(base: &Expr) -> bool {
        match base {
            Expr::Negative(_) => true,
            Expr::Group(_, items, _) if items.len() == 1 => is_negative(&items[0]),
            _ => false,
        }
    }
    expr.any(&|node| matches!(node, Expr::Power(base, exponent) if is_negative(base) && base.is_closed() && !exponent.is_closed()))
}

/// Whether a part of a number is taken that complex ones alone have, or the size of one that is named as they are.
fn complex_part(expr: &Expr) -> bool {
    expr.any(&|node| match node {
        Expr::Call(Function::RealPart | Function::ImaginaryPart | Function::Conjugate, _) => !node.is_closed(),
        Expr::Call(Function::Abs, items) => {
            items.iter().any(|item| matches!(item, Expr::Variable(name) if matches!(name.as_str(), "z" | "w")))
        }
        _ => false,
    })
}

fn has_abs(expr: &Expr) -> bool {
    expr.any(&|node| matches!(node, Expr::Call(Function::Abs, _)))
}

/// Names that mean one thing are made one: the constant of integration, and `I` of program code.
fn align(a: &Expr, b: &Expr) -> (Expr, Expr) {
    let has_i = |side: &Expr| side.any(&|node| *node == Expr::Constant(Constant::I));
    let code = |side: &Expr, other: &Expr| {
        let rewrite = has_i(other) && !has_i(side) && !other.variables().contains("I");
        if rewrite { side.substitute("I", &Expr::Constant(Constant::I)) } else { side.clone() }
    };
    let (a, b) = (code(a, b), code(b, a));
    let (own, other) = (a.variables(), b.variables());
    let upper = Expr::Variable("C".to_owned());
    let lone = |from: &BTreeSet<String>, to: &BTreeSet<String>| {
        from.contains("c") && !from.contains("C") && to.contains("C") && !to.contains("c")
    };
    if lone(&own, &other) {
        return (a.substitute("c", &upper), b);
    }
    if lone(&other, &own) {
        return (a, b.substitute("c", &upper));
    }
    (a, b)
}

/// A fixed scrambling of a counter: the points must not depend on anything but their number.
fn scramble(seed: u64) -> u64 {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

fn residue_point(sides: &[&Expr], prime: u64, attempt: u64) -> BTreeMap<String, u64> {
    let place = |index: usize| 2 + scramble(attempt * 1_000 + index as u64 + prime % 97) % (prime - 4);
    names(sides).into_iter().enumerate().map(|(index, name)| (name, place(index))).collect()
}

/// The point of one attempt: of both signs, near zero and far from it.
pub(super) fn real_point(names: &BTreeSet<String>, attempt: u64, whole: bool) -> Point {
    const PLACES: [(i64, u32); 10] =
        [(17, 23), (79, 31), (-13, 29), (211, 37), (-97, 41), (3, 43), (907, 47), (-5, 53), (37, 59), (-401, 61)];
    let value = |index: u64| {
        if whole {
            return RBig::from(1 + (attempt + index * 3) % 10 + index);
        }
        // One variable walks through all places; several take different places, and all of one sign at times.
        let step = (attempt + index * 3) % 10;
        let (above, below) = PLACES[step as usize];
        let above = if attempt.is_multiple_of(3) { above.abs() } else { above };
        RBig::from_parts(IBig::from(above * 7 + index as i64 * 5), (below * 7 + 2).into())
    };
    names.iter().enumerate().map(|(index, name)| (name.clone(), value(index as u64))).collect()
}
