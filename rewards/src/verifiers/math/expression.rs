//! The tree that the parser builds and everything else reads.

use std::collections::BTreeSet;

use dashu::rational::RBig;

use super::units::Unit;

/// A constant with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Constant {
    Pi,
    E,
    I,
    Infinity,
}

/// A function that evaluation knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Sqrt,
    /// `Root(radicand, index)`.
    Root,
    Exp,
    Ln,
    /// `Log(x)` in base ten, or `Log(x, base)`.
    Log,
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Asin,
    Acos,
    Atan,
    Acot,
    Asec,
    Acsc,
    Sinh,
    Cosh,
    Tanh,
    Asinh,
    Acosh,
    Atanh,
    Cis,
    Abs,
    Floor,
    Ceiling,
    Sign,
    Factorial,
    DoubleFactorial,
    Binomial,
    Permutation,
    Gcd,
    Lcm,
    Min,
    Max,
    Remainder,
    RealPart,
    ImaginaryPart,
    Conjugate,
    Determinant,
}

impl Function {
    /// Whether an unbracketed argument such as `\sin 2x` is allowed.
    pub(super) fn takes_bare_argument(self) -> bool {
        !matches!(self, Self::Min | Self::Max | Self::Gcd | Self::Lcm | Self::Binomial | Self::Permutation)
    }

    /// The inverse function that an exponent of -1 names, as in `\sin^{-1}`.
    pub(super) fn inverse(self) -> Option<Self> {
        Some(match self {
            Self::Sin => Self::Asin,
            Self::Cos => Self::Acos,
            Self::Tan => Self::Atan,
            Self::Cot => Self::Acot,
            Self::Sec => Self::Asec,
            Self::Csc => Self::Acsc,
            Self::Sinh => Self::Asinh,
            Self::Cosh => Self::Acosh,
            Self::Tanh => Self::Atanh,
            _ => return None,
        })
    }

    /// Whether the argument is an angle, so that a degree sign in it means radians times pi / 180.
    pub(super) fn takes_angle(self) -> bool {
        matches!(self, Self::Sin | Self::Cos | Self::Tan | Self::Cot | Self::Sec | Self::Csc | Self::Cis)
    }
}

/// How two sides of a relation are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Approximately,
    Congruent,
    Member,
    /// Subset, similarity, divides and the rest, by name: read, but only compared as written.
    Other(&'static str),
}

impl Relation {
    /// The relation read from right to left.
    pub(super) fn reversed(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            other => other,
        }
    }

    /// Whether it orders its sides or excludes a value.
    pub(super) fn bounds(self) -> bool {
        matches!(self, Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual | Self::NotEqual)
    }
}

/// What binds a variable in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binder {
    Sum,
    Product,
    Integral,
    Limit,
}

/// A bracket at one end of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bracket {
    Round,
    Square,
    Angle,
}

/// What joins the items of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joint {
    Comma,
    And,
    Or,
    /// The sign of logic.
    Conjunction,
    /// The sign of logic.
    Disjunction,
}

impl Joint {
    /// Whether one of the items is enough.
    pub(super) fn is_either(self) -> bool {
        matches!(self, Self::Or | Self::Disjunction)
    }
}

/// A set that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NamedSet {
    Empty,
    Naturals,
    Integers,
    Rationals,
    Reals,
    Complexes,
}

/// One factor of a product; `inverse` means that it divides.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Factor {
    pub(super) expr: Expr,
    pub(super) inverse: bool,
}

/// A time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) hour: u32,
    pub(super) minute: u32,
    pub(super) second: u32,
    /// `Some(true)` for p.m., `Some(false)` for a.m.
    pub(super) afternoon: Option<bool>,
}

/// A parsed answer. Sums and products are flat, so that depth follows brackets only.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Number(RBig),
    Constant(Constant),
    Variable(String),
    Sum(Vec<Self>),
    Product(Vec<Factor>),
    Quotient(Box<Self>, Box<Self>),
    Power(Box<Self>, Box<Self>),
    Negative(Box<Self>),
    PlusMinus(Box<Self>),
    MinusPlus(Box<Self>),
    Call(Function, Vec<Self>),
    Percent(Box<Self>),
    Degree(Box<Self>),
    Quantity(Box<Self>, Unit),
    Relation(Vec<Self>, Vec<Relation>),
    /// A right-hand side with its modulus.
    Modulo(Box<Self>, Box<Self>),
    Group(Bracket, Vec<Self>, Bracket),
    Set(Vec<Self>),
    /// Items with what joins them.
    List(Vec<Self>, Joint),
    Matrix(Vec<Vec<Self>>),
    Union(Vec<Self>),
    Intersection(Vec<Self>),
    Difference(Box<Self>, Box<Self>),
    Named(NamedSet),
    Ratio(Vec<Self>),
    Clock(Clock),
    Radix {
        digits: String,
        base: u32,
    },
    Text(String),
    /// A function with no meaning of its own applied to its arguments: `f(0)`, `P(A)`.
    Apply(String, Vec<Self>),
    /// A bound variable with the lower end, the upper end and the body.
    Bound(Binder, String, Vec<Self>),
    /// Words before a value; the flag says whether a side may leave them out.
    Labelled(String, bool, Box<Self>),
    /// The cases of a function: each value with its condition.
    Pieces(Vec<Vec<Self>>),
    /// A set by a rule: the member, then its conditions.
    Builder(Vec<Self>),
}

impl Expr {
    /// An exact integer.
    pub(super) fn integer(value: i64) -> Self {
        Self::Number(RBig::from(value))
    }

    /// A product of plain factors.
    pub(super) fn product(factors: Vec<Self>) -> Self {
        Self::Product(factors.into_iter().map(|expr| Factor { expr, inverse: false }).collect())
    }

    /// `left - right`.
    pub(super) fn difference(left: Self, right: Self) -> Self {
        Self::Sum(vec![left, Self::Negative(Box::new(right))])
    }

    /// The direct parts of this node.
    pub(super) fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Sum(items)
            | Self::Call(_, items)
            | Self::Group(_, items, _)
            | Self::Relation(items, _)
            | Self::Set(items)
            | Self::List(items, _)
            | Self::Union(items)
            | Self::Intersection(items)
            | Self::Apply(_, items)
            | Self::Bound(_, _, items)
            | Self::Builder(items)
            | Self::Ratio(items) => items.iter().collect(),
            Self::Product(factors) => factors.iter().map(|factor| &factor.expr).collect(),
            Self::Quotient(a, b) | Self::Power(a, b) | Self::Modulo(a, b) | Self::Difference(a, b) => vec![a, b],
            Self::Negative(a)
            | Self::PlusMinus(a)
            | Self::MinusPlus(a)
            | Self::Percent(a)
            | Self::Degree(a)
            | Self::Labelled(_, _, a)
            | Self::Quantity(a, _) => vec![a],
            Self::Matrix(rows) | Self::Pieces(rows) => rows.iter().flatten().collect(),
            _ => Vec::new(),
        }
    }

    /// The same node with each direct part replaced.
    pub(super) fn map(&self, change: &mut dyn FnMut(&Self) -> Self) -> Self {
        let mut all = |items: &[Self]| items.iter().map(&mut *change).collect::<Vec<_>>();
        match self {
            Self::Sum(items) => Self::Sum(all(items)),
            Self::Call(function, items) => Self::Call(*function, all(items)),
            Self::Group(open, items, close) => Self::Group(*open, all(items), *close),
            Self::Relation(items, relations) => Self::Relation(all(items), relations.clone()),
            Self::Set(items) => Self::Set(all(items)),
            Self::List(items, joint) => Self::List(all(items), *joint),
            Self::Union(items) => Self::Union(all(items)),
            Self::Intersection(items) => Self::Intersection(all(items)),
            Self::Ratio(items) => Self::Ratio(all(items)),
            Self::Apply(name, items) => Self::Apply(name.clone(), all(items)),
            Self::Bound(binder, name, items) => Self::Bound(*binder, name.clone(), all(items)),
            Self::Builder(items) => Self::Builder(all(items)),
            Self::Labelled(label, loose, a) => Self::Labelled(label.clone(), *loose, Box::new(change(a))),
            Self::Pieces(rows) => Self::Pieces(rows.iter().map(|row| row.iter().map(&mut *change).collect()).collect()),
            Self::Product(factors) => Self::Product(
                factors.iter().map(|factor| Factor { expr: change(&factor.expr), inverse: factor.inverse }).collect(),
            ),
            Self::Quotient(a, b) => Self::Quotient(Box::new(change(a)), Box::new(change(b))),
            Self::Power(a, b) => Self::Power(Box::new(change(a)), Box::new(change(b))),
            Self::Modulo(a, b) => Self::Modulo(Box::new(change(a)), Box::new(change(b))),
            Self::Difference(a, b) => Self::Difference(Box::new(change(a)), Box::new(change(b))),
            Self::Negative(a) => Self::Negative(Box::new(change(a))),
            Self::PlusMinus(a) => Self::PlusMinus(Box::new(change(a))),
            Self::MinusPlus(a) => Self::MinusPlus(Box::new(change(a))),
            Self::Percent(a) => Self::Percent(Box::new(change(a))),
            Self::Degree(a) => Self::Degree(Box::new(change(a))),
            Self::Quantity(a, unit) => Self::Quantity(Box::new(change(a)), unit.clone()),
            Self::Matrix(rows) => Self::Matrix(rows.iter().map(|row| row.iter().map(&mut *change).collect()).collect()),
            other => other.clone(),
        }
    }

    /// Whether this node or one below satisfies the test.
    pub(super) fn any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        test(self) || self.parts().into_iter().any(|part| part.any(test))
    }

    /// The variables in it, by name.
    pub(super) fn variables(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.gather(&mut names);
        names
    }

    fn gather(&self, names: &mut BTreeSet<String>) {
        if let Self::Variable(name) = self {
            names.insert(name.clone());
        }
        self.parts().into_iter().for_each(|part| part.gather(names));
    }

    /// Whether no variable occurs in it.
    pub(super) fn is_closed(&self) -> bool {
        !self.any(&|node| matches!(node, Self::Variable(_) | Self::Apply(..) | Self::Bound(..)))
    }

    /// Whether it is a number, or a term built of numbers, variables and functions: no set, list, relation or text.
    pub(super) fn is_scalar(&self) -> bool {
        match self {
            Self::Number(_) | Self::Constant(_) | Self::Variable(_) => true,
            Self::Group(_, items, _) => items.len() == 1 && items[0].is_scalar(),
            Self::Call(Function::Determinant, _) | Self::Apply(..) | Self::Bound(..) => true,
            Self::Sum(_)
            | Self::Product(_)
            | Self::Quotient(..)
            | Self::Power(..)
            | Self::Negative(_)
            | Self::Call(..)
            | Self::Percent(_)
            | Self::Degree(_) => self.parts().into_iter().all(Self::is_scalar),
            _ => false,
        }
    }

    /// The same tree with a variable replaced.
    pub(super) fn substitute(&self, name: &str, value: &Self) -> Self {
        match self {
            Self::Variable(own) if own == name => value.clone(),
            other => other.map(&mut |part| part.substitute(name, value)),
        }
    }

    /// Plus or minus infinity when that is all it is.
    pub(super) fn infinity(&self) -> Option<bool> {
        match self {
            Self::Constant(Constant::Infinity) => Some(true),
            Self::Negative(inner) => inner.infinity().map(|positive| !positive),
            Self::Group(_, items, _) if items.len() == 1 => items[0].infinity(),
            _ => None,
        }
    }
}
