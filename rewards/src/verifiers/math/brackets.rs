//! What stands in brackets: groups, sets, absolute values, matrices and systems.

use std::collections::BTreeSet;

use super::{
    expression::{Bracket, Expr, Function, Joint, NamedSet, Relation},
    parser::{Parsed, Parser, single_or},
    token::Token,
};

impl Parser<'_> {
    pub(super) fn bracketed(&mut self, symbol: char) -> Parsed<Expr> {
        match symbol {
            '(' | '[' | ']' => self.group(symbol),
            '{' => self.braces(),
            '|' => {
                self.bars += 1;
                let inner = self.expression(0)?;
                self.bars -= 1;
                if !self.is_symbol('|') && !self.is_command("rvert") {
                    return Err("a bar is not closed");
                }
                self.at += 1;
                Ok(absolute(inner))
            }
            '_' | '^' => self.arrangement(),
            _ => Err("a symbol stands where a number is expected"),
        }
    }

    /// A group in round or square brackets, whose ends may differ.
    pub(super) fn group(&mut self, open: char) -> Parsed<Expr> {
        let (items, separators) = self.enclosed()?;
        let close = match self.peek() {
            Some(Token::Symbol(')')) => Bracket::Round,
            Some(Token::Symbol(']')) => Bracket::Square,
            Some(Token::Symbol('[')) if open != '(' || items.len() == 2 => Bracket::Round,
            _ => return Err("a bracket is not closed"),
        };
        self.at += 1;
        let open = match open {
            '(' | ']' => Bracket::Round,
            _ => Bracket::Square,
        };
        if open == Bracket::Square && close == Bracket::Square && separators.contains(&';') && separators.contains(&',')
        {
            return Ok(Expr::Matrix(rows(items, &separators)));
        }
        if items.len() == 1 && (open, close) == (Bracket::Round, Bracket::Round) {
            return Ok(single_or(items, |items| Expr::List(items, Joint::Comma)));
        }
        Ok(Expr::Group(open, items, close))
    }

    /// Items up to a closing bracket, with the separators between them; bars and sets outside do not reach in.
    pub(super) fn enclosed(&mut self) -> Parsed<(Vec<Expr>, Vec<char>)> {
        let outside = (self.bars, self.in_set, self.angle);
        (self.bars, self.in_set, self.angle) = (0, false, false);
        let start = self.at;
        let (items, joint) = self.list()?;
        let mut depth = 0i32;
        let mut separators = Vec::new();
        for lexeme in &self.lexemes[start..self.at] {
            match lexeme.token {
                Token::Symbol('(' | '[' | '{') | Token::SetOpen => depth += 1,
                Token::Symbol(')' | ']' | '}') | Token::SetClose => depth -= 1,
                Token::Symbol(mark @ (',' | ';')) if depth == 0 => separators.push(mark),
                _ => {}
            }
        }
        (self.bars, self.in_set, self.angle) = outside;
        // "(p or q)" is one part and no pair.
        if joint != Joint::Comma && items.len() > 1 && separators.is_empty() {
            return Ok((vec![Expr::List(items, joint)], separators));
        }
        Ok((items, separators))
    }

    /// Whether an arrow stands outside brackets from a place on.
    pub(super) fn has_arrow(&self, start: usize) -> bool {
        let mut depth = 0_i32;
        self.lexemes[start..self.at].iter().any(|lexeme| {
            match lexeme.token {
                Token::Symbol('(' | '[' | '{') => depth += 1,
                Token::Symbol(')' | ']' | '}') => depth -= 1,
                _ => {}
            }
            depth == 0 && matches!(lexeme.token, Token::Relation(Relation::Other("to" | "implies" | "iff")))
        })
    }

    /// Whether a group of a number stands right behind another: `{5}{6}` is no product.
    pub(super) fn between_numbers(&self) -> bool {
        let number = |at: Option<usize>| matches!(at.and_then(|at| self.token(at)), Some(Token::Number(..)));
        let behind = self.at.checked_sub(1).and_then(|at| self.token(at)) == Some(&Token::Symbol('}'));
        behind && number(self.at.checked_sub(2)) && number(Some(self.at + 1))
    }

    /// A TeX group, or a set in plain braces.
    fn braces(&mut self) -> Parsed<Expr> {
        if self.is_symbol('}') {
            self.at += 1;
            return match self.peek() {
                Some(Token::Symbol('_' | '^')) => {
                    self.at += 1;
                    self.arrangement()
                }
                None => Ok(Expr::Named(NamedSet::Empty)),
                _ => self.atom(),
            };
        }
        let (items, _) = self.enclosed()?;
        self.require('}')?;
        Ok(single_or(items, Expr::Set))
    }

    /// A set in braces: its members, or a condition on them.
    pub(super) fn set(&mut self) -> Parsed<Expr> {
        if self.peek() == Some(&Token::SetClose) {
            self.at += 1;
            return Ok(Expr::Named(NamedSet::Empty));
        }
        // A brace before rows is that of cases, and nothing closes it.
        if matches!(self.peek(), Some(Token::Begin(name)) if matches!(name.as_str(), "array" | "aligned" | "matrix")) {
            let rows = self.cells()?;
            return cases(rows);
        }
        let outside = (self.bars, self.in_set, self.angle);
        (self.bars, self.in_set, self.angle) = (0, true, false);
        let (items, joint) = self.list()?;
        let condition = if self.is_symbol('|') || self.is_symbol(':') {
            self.at += 1;
            self.in_set = false;
            Some(self.list()?)
        } else {
            None
        };
        (self.bars, self.in_set, self.angle) = outside;
        if self.peek() != Some(&Token::SetClose) {
            return Err("a set is not closed");
        }
        self.at += 1;
        match (condition, items.as_slice()) {
            (None, _) if matches!(joint, Joint::Conjunction | Joint::Disjunction) => {
                Ok(Expr::Set(vec![Expr::List(items, joint)]))
            }
            (None, _) => Ok(Expr::Set(items)),
            (Some((conditions, joint)), [head])
                if is_real_variable(head) && conditions.iter().all(|one| is_bound(one, &head.variables())) =>
            {
                let joint = if joint == Joint::Comma { Joint::And } else { joint };
                Ok(single_or(conditions, |conditions| Expr::List(conditions, joint)))
            }
            (Some((conditions, Joint::Comma | Joint::And | Joint::Conjunction)), [head]) => {
                Ok(Expr::Builder(std::iter::once(head.clone()).chain(conditions).collect()))
            }
            _ => Err("a set is given by a rule that cannot be read"),
        }
    }

    pub(super) fn angle_brackets(&mut self) -> Parsed<Expr> {
        self.angle = true;
        let (items, _) = self.list()?;
        self.angle = false;
        if self.peek() != Some(&Token::Relation(Relation::Greater)) {
            return Err("an angle bracket is not closed");
        }
        self.at += 1;
        Ok(Expr::Group(Bracket::Angle, items, Bracket::Angle))
    }

    pub(super) fn closed_by(&mut self, close: &str) -> Parsed<Expr> {
        let outside = std::mem::take(&mut self.bars);
        let inner = self.expression(0)?;
        self.bars = outside;
        if !self.is_command(close) {
            return Err("a bracket is not closed");
        }
        self.at += 1;
        Ok(inner)
    }

    /// The rows of an environment whose name is at this place.
    fn cells(&mut self) -> Parsed<Vec<Vec<Expr>>> {
        let Some(Token::Begin(name)) = self.peek().cloned() else { return Err("an environment is not known") };
        self.at += 1;
        self.rows_of(&name)
    }

    /// A matrix, a determinant, a system or the cases of a function.
    pub(super) fn environment(&mut self, name: &str) -> Parsed<Expr> {
        let rows = self.rows_of(name)?;
        match name {
            "matrix" | "pmatrix" | "bmatrix" | "Bmatrix" | "smallmatrix" | "array" => Ok(Expr::Matrix(rows)),
            "vmatrix" | "Vmatrix" => Ok(Expr::Call(Function::Determinant, vec![Expr::Matrix(rows)])),
            "cases" | "aligned" | "align" | "gathered" | "gather" | "equation" | "split" => cases(rows),
            _ => Err("an environment is not known"),
        }
    }

    fn rows_of(&mut self, name: &str) -> Parsed<Vec<Vec<Expr>>> {
        let outside = (self.bars, self.in_set, self.in_rows);
        (self.bars, self.in_set, self.in_rows) = (0, false, true);
        let mut rows = vec![Vec::new()];
        loop {
            match self.peek() {
                Some(Token::End(end)) if end == name => break,
                Some(Token::Row) => rows.push(Vec::new()),
                Some(Token::Symbol('&')) => {}
                // The word before the condition of a case.
                Some(Token::Word(word))
                    if matches!(word.to_lowercase().as_str(), "if" | "for" | "when" | "where")
                        && rows.last().is_some_and(|row| !row.is_empty()) => {}
                Some(_) => {
                    let cell = self.relation()?;
                    if let Some(row) = rows.last_mut() {
                        row.push(cell);
                    }
                    if matches!(self.peek(), Some(Token::Symbol(',' | ';'))) {
                        self.at += 1;
                    }
                    continue;
                }
                None => return Err("an environment is not closed"),
            }
            self.at += 1;
        }
        self.at += 1;
        (self.bars, self.in_set, self.in_rows) = outside;
        rows.retain(|row| !row.is_empty());
        Ok(rows)
    }
}

/// A system when each row is one cell, cases of a function when each is a value and its condition.
fn cases(rows: Vec<Vec<Expr>>) -> Parsed<Expr> {
    if rows.iter().all(|row| row.len() == 1) {
        return Ok(single_or(rows.into_iter().flatten().collect(), |rows| Expr::List(rows, Joint::And)));
    }
    if rows.iter().all(|row| row.len() == 2) { Ok(Expr::Pieces(rows)) } else { Err("the rows of a system differ") }
}

/// A bar around a matrix is its determinant.
pub(super) fn absolute(inner: Expr) -> Expr {
    let function = if matches!(inner, Expr::Matrix(_)) { Function::Determinant } else { Function::Abs };
    Expr::Call(function, vec![inner])
}

fn is_real_variable(head: &Expr) -> bool {
    match head {
        Expr::Variable(_) => true,
        Expr::Relation(terms, relations) => {
            matches!(terms.as_slice(), [Expr::Variable(_), Expr::Named(NamedSet::Reals)])
                && relations[..] == [Relation::Member]
        }
        _ => false,
    }
}

/// Whether a condition only bounds the variable of a set.
fn is_bound(condition: &Expr, head: &BTreeSet<String>) -> bool {
    matches!(condition, Expr::Relation(_, relations) if relations.iter().all(|relation| relation.bounds()))
        && condition.variables().is_subset(head)
}

fn rows(items: Vec<Expr>, separators: &[char]) -> Vec<Vec<Expr>> {
    let mut rows = vec![Vec::new()];
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 && separators.get(index - 1) == Some(&';') {
            rows.push(Vec::new());
        }
        if let Some(row) = rows.last_mut() {
            row.push(item);
        }
    }
    rows
}
