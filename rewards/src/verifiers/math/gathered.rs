//! Answers of several parts: lists, named values, cases of a function, sets by a rule.

use super::{
    derivative::is_derivative,
    expression::{Expr, Relation},
    opaque::renamed_in,
    scalar::Session,
    value::Value,
    verdict::Verdict,
};

/// More parts than this are not matched.
const MAX_PARTS: usize = 64;

impl Session {
    /// Whether the parts of two lists can be paired.
    pub(super) fn several(&mut self, a: &[Value], b: &[Value]) -> Verdict {
        // What is true and what false is told in the order of the questions.
        if a.iter().chain(b).all(judges) && a != b {
            return Verdict::Different;
        }
        self.paired(a, b, &mut |session, a, b| session.equal(a, b))
    }

    pub(super) fn paired<T>(
        &mut self,
        a: &[T],
        b: &[T],
        equal: &mut dyn FnMut(&mut Self, &T, &T) -> Verdict,
    ) -> Verdict {
        if a.len() != b.len() {
            return Verdict::Different;
        }
        if a.len() > MAX_PARTS {
            return Verdict::Unknown;
        }
        let mut free: Vec<&T> = b.iter().collect();
        let mut all = Verdict::Equal;
        for part in a {
            let mut unknown = None;
            let mut found = None;
            for (at, other) in free.iter().enumerate() {
                match equal(self, part, other) {
                    Verdict::Equal => {
                        found = Some(at);
                        break;
                    }
                    Verdict::Unknown => unknown = Some(at),
                    Verdict::Different => {}
                }
            }
            match (found, unknown) {
                (Some(at), _) => {
                    free.remove(at);
                }
                (None, Some(_)) => all = Verdict::Unknown,
                (None, None) => return Verdict::Different,
            }
        }
        all
    }

    /// A value that one side names and the other does not.
    pub(super) fn without_label(&mut self, loose: bool, labelled: &Value, other: &Value) -> Verdict {
        match self.equal(labelled, other) {
            Verdict::Equal if !loose => Verdict::Unknown,
            verdict => verdict,
        }
    }

    /// Named values of both sides: by their names, or, for roots that only count themselves, in any order.
    pub(super) fn assigned(&mut self, a: &[(String, Value)], b: &[(String, Value)]) -> Verdict {
        if a.len() != b.len() {
            return Verdict::Different;
        }
        let mut all = Verdict::Equal;
        for (name, value) in a {
            let Some((_, other)) = b.iter().find(|(other, _)| other == name) else { return Verdict::Unknown };
            all = all.and(self.equal(value, other));
        }
        if all != Verdict::Equal && are_roots(a) && are_roots(b) {
            return self.several(&values(a), &values(b));
        }
        all
    }

    /// Named values against bare ones: in the order in which they were named.
    pub(super) fn unnamed(&mut self, named: &[(String, Value)], bare: &[Value]) -> Verdict {
        if named.len() != bare.len() {
            return Verdict::Different;
        }
        if are_roots(named) {
            return self.several(&values(named), bare);
        }
        let pairs = named.iter().zip(bare);
        match pairs.fold(Verdict::Equal, |all, ((_, a), b)| all.and(self.equal(a, b))) {
            Verdict::Equal => Verdict::Equal,
            _ => Verdict::Unknown,
        }
    }

    pub(super) fn pieces_match(&mut self, a: &[[Value; 2]], b: &[[Value; 2]]) -> Verdict {
        self.paired(a, b, &mut |session, a, b| session.equal(&a[0], &b[0]).and(session.equal(&a[1], &b[1])))
    }

    /// Two sets by a rule: the same after the letters of one are renamed.
    pub(super) fn rules(&mut self, a: &[Expr], b: &[Expr]) -> Verdict {
        let (a, b) = (solved_rule(a), solved_rule(b));
        if a.len() != b.len() {
            return Verdict::Unknown;
        }
        let mut renamed = b.to_vec();
        let (own, others) = (bound_names(&a), bound_names(&b));
        let holds = |name: &String| b.iter().any(|part| renamed_in(part, name, "@") != *part);
        if own.len() != others.len() || own.iter().any(|name| !others.contains(name) && holds(name)) {
            return Verdict::Unknown;
        }
        for (at, other) in others.iter().enumerate() {
            renamed = renamed.iter().map(|part| renamed_in(part, other, &format!("@@{at}"))).collect();
        }
        for (at, name) in own.iter().enumerate() {
            renamed = renamed.iter().map(|part| renamed_in(part, &format!("@@{at}"), name)).collect();
        }
        let same = |session: &mut Self, x: &Expr, y: &Expr| match (session.settle(x), session.settle(y)) {
            (Ok(x), Ok(y)) => session.equal(&x, &y),
            _ => Verdict::Unknown,
        };
        let heads = same(self, &a[0], &renamed[0]);
        match heads.and(self.paired(&a[1..], &renamed[1..], &mut |session, x, y| same(session, x, y))) {
            Verdict::Equal => Verdict::Equal,
            // Two rules may give one set in different words.
            _ => Verdict::Unknown,
        }
    }
}

/// Whether a word says of something what it is, and no name of it.
pub(super) fn is_judgement(word: &str) -> bool {
    matches!(word.to_lowercase().as_str(), "true" | "false" | "yes" | "no" | "odd" | "even" | "t" | "f")
}

fn judges(value: &Value) -> bool {
    match value {
        Value::Text(word) => is_judgement(word),
        Value::Scalar(Expr::Variable(name)) => matches!(name.as_str(), "T" | "F"),
        _ => false,
    }
}

fn values(named: &[(String, Value)]) -> Vec<Value> {
    named.iter().map(|(_, value)| value.clone()).collect()
}

/// Whether the names only count the roots of one unknown: `x_1`, `x_2`.
fn are_roots(named: &[(String, Value)]) -> bool {
    named.iter().all(|(name, value)| {
        matches!(name.split('_').next(), Some("x" | "z"))
            && name.contains('_')
            && matches!(value, Value::Scalar(inner) if inner.is_closed())
    })
}

/// Several functions, each defined by an equation of it at a letter, with one letter for all: `f(x) = x, f(x) = 0`.
pub(super) fn definitions(parts: &[Value]) -> Option<Vec<Value>> {
    const ARGUMENTS: &str = "xyztsunmk";
    let renamed = |part: &Value| {
        let Value::Relation(terms, relations) = part else { return None };
        let [Expr::Apply(name, of), _] = terms.as_slice() else { return None };
        let [Expr::Variable(letter)] = of.as_slice() else { return None };
        let known = letter.len() == 1 && ARGUMENTS.contains(letter.as_str()) && !is_derivative(name);
        (known && relations[..] == [Relation::Equal]).then(|| {
            let terms = terms.iter().map(|term| renamed_in(term, letter, "@")).collect();
            Value::Relation(terms, relations.clone())
        })
    };
    if parts.len() > 1 { parts.iter().map(renamed).collect() } else { None }
}

/// `{x | x = 3k, ...}` as `{3k | ...}`.
fn solved_rule(parts: &[Expr]) -> Vec<Expr> {
    if let [Expr::Variable(name), rest @ ..] = parts
        && let Some(at) = rest.iter().position(|part| {
            matches!(part, Expr::Relation(terms, relations)
            if relations[..] == [Relation::Equal] && terms[0] == Expr::Variable(name.clone()))
        })
        && let Expr::Relation(terms, _) = &rest[at]
    {
        let others = rest.iter().enumerate().filter(|(index, _)| *index != at).map(|(_, part)| part.clone());
        return std::iter::once(terms[1].clone()).chain(others).collect();
    }
    parts.to_vec()
}

/// The letters of a rule that its conditions bind, in the order in which its member has them.
fn bound_names(parts: &[Expr]) -> Vec<String> {
    let bound = |name: &String| parts[1..].iter().any(|part| part.variables().contains(name));
    in_order(&parts[0]).into_iter().filter(bound).collect()
}

/// The variables of an expression in the order in which they stand.
fn in_order(expr: &Expr) -> Vec<String> {
    fn gather(expr: &Expr, names: &mut Vec<String>) {
        if let Expr::Variable(name) = expr
            && !names.contains(name)
        {
            names.push(name.clone());
        }
        expr.parts().into_iter().for_each(|part| gather(part, names));
    }
    let mut names = Vec::new();
    gather(expr, &mut names);
    names
}
