//! Functions without a meaning of their own, and sums with a bound variable: each stands for itself in a comparison.

use super::{derivative::is_derivative, expression::Expr, scalar::Session, verdict::Verdict};

/// More different functions and sums than this in one comparison are not told apart.
const MAX_ATOMS: usize = 32;

impl Session {
    /// Both sides with each function or sum replaced by a variable, the same for those that are equal.
    pub(super) fn without_atoms(&mut self, a: &Expr, b: &Expr) -> Option<(Expr, Expr)> {
        let mut atoms = Vec::new();
        let a = self.replaced(a, &mut atoms)?;
        let b = self.replaced(b, &mut atoms)?;
        Some((a, b))
    }

    fn replaced(&mut self, expr: &Expr, atoms: &mut Vec<Expr>) -> Option<Expr> {
        if !matches!(expr, Expr::Apply(..) | Expr::Bound(..)) {
            let mut all = true;
            let changed = expr.map(&mut |part| {
                self.replaced(part, atoms).unwrap_or_else(|| {
                    all = false;
                    part.clone()
                })
            });
            return all.then_some(changed);
        }
        let known = atoms.clone();
        let at = known.iter().position(|atom| self.same_atom(atom, expr));
        let at = at.unwrap_or_else(|| {
            atoms.push(expr.clone());
            atoms.len() - 1
        });
        (atoms.len() <= MAX_ATOMS).then(|| Expr::Variable(format!("@{at}")))
    }

    fn same_atom(&mut self, a: &Expr, b: &Expr) -> bool {
        match (a, b) {
            (Expr::Apply(name, own), Expr::Apply(other, others)) => name == other && self.same_parts(own, others),
            (Expr::Bound(binder, name, own), Expr::Bound(other, renamed, others)) if binder == other => {
                let holds = |parts: &[Expr], name: &str| parts.iter().any(|part| renamed_in(part, name, "@") != *part);
                if name != renamed && (holds(own, renamed) || holds(others, name)) {
                    return false;
                }
                let others: Vec<Expr> = others.iter().map(|part| renamed_in(part, renamed, name)).collect();
                self.same_parts(own, &others)
            }
            _ => false,
        }
    }

    fn same_parts(&mut self, a: &[Expr], b: &[Expr]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || self.scalars(a, b) == Verdict::Equal)
    }
}

/// An expression with another letter for a variable, in indices as well: `a_{n-k}` for `a_{n-j}`.
pub(super) fn renamed_in(expr: &Expr, from: &str, to: &str) -> Expr {
    match expr {
        Expr::Variable(name) if name == from => Expr::Variable(to.to_owned()),
        Expr::Variable(name) => match name.split_once('_') {
            Some((stem, index)) => Expr::Variable(format!("{stem}_{}", renamed_index(index, from, to))),
            None => expr.clone(),
        },
        Expr::Bound(binder, name, items) if name == from => Expr::Bound(*binder, name.clone(), items.clone()),
        other => other.map(&mut |part| renamed_in(part, from, to)),
    }
}

/// The equation of a function, `f(y) = y + 1`, with the letter that another equation of it has for its argument.
pub(super) fn with_argument_of(own: &[Expr], others: &[Expr]) -> Option<Vec<Expr>> {
    let (Some(Expr::Apply(name, of)), Some(Expr::Apply(other, of_other))) = (own.first(), others.first()) else {
        return None;
    };
    let ([Expr::Variable(letter)], [Expr::Variable(renamed)]) = (of.as_slice(), of_other.as_slice()) else {
        return None;
    };
    let taken = others.iter().any(|term| renamed_in(term, letter, "@") != *term);
    // `f(q) = 1` may be said of one q.
    let used = others[1..].iter().any(|term| renamed_in(term, renamed, "@") != *term);
    (name == other && !is_derivative(name) && letter != renamed && !taken && used)
        .then(|| others.iter().map(|term| renamed_in(term, renamed, letter)).collect())
}

fn renamed_index(index: &str, from: &str, to: &str) -> String {
    let mut out = String::new();
    let mut letters = index.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut run = String::from(letter);
        while letter.is_alphabetic() && letters.peek().is_some_and(|next| next.is_alphabetic()) {
            run.extend(letters.next());
        }
        out.push_str(if run == from { to } else { &run });
    }
    out
}
