//! Matrices: sums, products, multiples, powers and transposes, worked out entry by entry.

use super::expression::{Expr, Factor};

/// More entries than this are refused.
const MAX_ENTRIES: usize = 64;

/// Rows of entries.
type Rows = Vec<Vec<Expr>>;

/// The matrix that an expression works out to, where it is one.
pub(super) fn evaluate(expr: &Expr) -> Option<Rows> {
    if !expr.any(&|node| matches!(node, Expr::Matrix(_))) {
        return None;
    }
    let rows = reduce(expr)?;
    let width = rows.first()?.len();
    (rows.iter().all(|row| row.len() == width) && rows.len() * width <= MAX_ENTRIES).then_some(rows)
}

fn reduce(expr: &Expr) -> Option<Rows> {
    match expr {
        Expr::Matrix(rows) => Some(rows.clone()),
        Expr::Group(_, items, _) if items.len() == 1 => reduce(&items[0]),
        Expr::Negative(inner) => Some(scale(&Expr::integer(-1), &reduce(inner)?)),
        Expr::Sum(items) => {
            let (first, rest) = items.split_first()?;
            rest.iter().try_fold(reduce(first)?, |total, item| sum(&total, &reduce(item)?))
        }
        Expr::Product(factors) => factors.iter().try_fold(Running::default(), times)?.finish(),
        Expr::Power(base, exponent) => power(&reduce(base)?, exponent),
        _ => None,
    }
}

/// What a product has come to so far: a scalar, a matrix, or both.
#[derive(Default)]
struct Running {
    scalar: Vec<Factor>,
    rows: Option<Rows>,
}

impl Running {
    fn finish(self) -> Option<Rows> {
        let rows = self.rows?;
        Some(if self.scalar.is_empty() { rows } else { scale(&Expr::Product(self.scalar), &rows) })
    }
}

fn times(mut running: Running, factor: &Factor) -> Option<Running> {
    if factor.expr.is_scalar() {
        running.scalar.push(factor.clone());
        return Some(running);
    }
    if factor.inverse {
        return None;
    }
    let right = reduce(&factor.expr)?;
    if let Some(left) = &running.rows
        && let Some(crossed) = crossed(left, &right)
    {
        running.rows = Some(crossed);
        return Some(running);
    }
    running.rows = Some(match running.rows {
        None => right,
        Some(left) => product(&left, &right)?,
    });
    Some(running)
}

/// The cross product of two columns, or two rows, of three: no other product of them is defined.
fn crossed(left: &Rows, right: &Rows) -> Option<Rows> {
    let column = |rows: &Rows| rows.len() == 3 && rows.iter().all(|row| row.len() == 1);
    let row = |rows: &Rows| rows.len() == 1 && rows[0].len() == 3;
    let upright = column(left) && column(right);
    if !(upright || row(left) && row(right)) {
        return None;
    }
    let entries = |rows: &Rows| rows.iter().flatten().cloned().collect::<Vec<_>>();
    let (a, b) = (entries(left), entries(right));
    let times = |x: usize, y: usize| Expr::product(vec![a[x].clone(), b[y].clone()]);
    let entry = |x: usize, y: usize| Expr::difference(times(x, y), times(y, x));
    let product = [entry(1, 2), entry(2, 0), entry(0, 1)];
    Some(if upright { product.into_iter().map(|one| vec![one]).collect() } else { vec![product.to_vec()] })
}

fn scale(by: &Expr, rows: &Rows) -> Rows {
    rows.iter().map(|row| row.iter().map(|entry| Expr::product(vec![by.clone(), entry.clone()])).collect()).collect()
}

fn sum(left: &Rows, right: &Rows) -> Option<Rows> {
    if left.len() != right.len() || left.iter().zip(right).any(|(a, b)| a.len() != b.len()) {
        return None;
    }
    let entry = |(a, b): (&Expr, &Expr)| Expr::Sum(vec![a.clone(), b.clone()]);
    Some(left.iter().zip(right).map(|(a, b)| a.iter().zip(b).map(entry).collect()).collect())
}

fn product(left: &Rows, right: &Rows) -> Option<Rows> {
    let width = right.first()?.len();
    if left.len() * width > MAX_ENTRIES
        || left.iter().any(|row| row.len() != right.len())
        || right.iter().any(|row| row.len() != width)
    {
        return None;
    }
    let entry = |row: &Vec<Expr>, column: usize| {
        Expr::Sum(row.iter().zip(right).map(|(a, b)| Expr::product(vec![a.clone(), b[column].clone()])).collect())
    };
    Some(left.iter().map(|row| (0..width).map(|column| entry(row, column)).collect()).collect())
}

/// A transpose, or a small whole power.
fn power(base: &Rows, exponent: &Expr) -> Option<Rows> {
    match exponent {
        Expr::Variable(name) if name == "T" || name == "t" => Some(transpose(base)),
        Expr::Number(times) => {
            let times = u32::try_from(times.numerator().clone()).ok().filter(|times| (1..=4).contains(times))?;
            (1..times).try_fold(base.clone(), |total, _| product(&total, base))
        }
        _ => None,
    }
}

fn transpose(rows: &Rows) -> Rows {
    let width = rows.iter().map(Vec::len).min().unwrap_or(0);
    (0..width).map(|column| rows.iter().map(|row| row[column].clone()).collect()).collect()
}
