//! Tokens to a tree: lists, relations, operands with units, and a Pratt parser for expressions.

use super::{
    doubtful,
    expression::{Constant, Expr, Factor, Function, Joint, Relation},
    joints::grouped,
    label, loaded,
    token::{Lexeme, Token},
    units::{self, Unit},
};

/// How deep brackets, exponents and arguments may nest.
const MAX_DEPTH: usize = 120;
/// How many operands one answer may hold.
const MAX_NODES: usize = 4_096;

/// A result whose error says in words why the answer cannot be read.
pub(super) type Parsed<T> = Result<T, &'static str>;

/// A reader over tokens.
pub(super) struct Parser<'a> {
    pub(super) lexemes: &'a [Lexeme],
    pub(super) at: usize,
    pub(super) depth: usize,
    nodes: usize,
    /// Bars opened and not yet closed.
    pub(super) bars: usize,
    /// Inside angle brackets written as less and greater signs.
    pub(super) angle: bool,
    /// Inside set braces: a bar or colon starts the condition.
    pub(super) in_set: bool,
    /// Inside the rows of an environment.
    pub(super) in_rows: bool,
    /// Integrals whose differential is still to come.
    pub(super) integrals: usize,
    /// Whether a lone letter after a number is read as a unit.
    pub(super) letter_units: bool,
}

/// Parses a whole answer.
///
/// # Errors
/// A reason in words when the tokens are no mathematics, or are too deep or too many.
pub(super) fn parse(lexemes: &[Lexeme], letter_units: bool) -> Parsed<Expr> {
    let mut parser = Parser {
        lexemes,
        at: 0,
        depth: 0,
        nodes: 0,
        bars: 0,
        angle: false,
        in_set: false,
        in_rows: false,
        integrals: 0,
        letter_units,
    };
    let (items, joint) = parser.list()?;
    if parser.at < lexemes.len() {
        return Err("there is something after the end of the expression");
    }
    Ok(single_or(items, |items| Expr::List(items, joint)))
}

/// The only item, or what `join` makes of several.
pub(super) fn single_or(mut items: Vec<Expr>, join: impl FnOnce(Vec<Expr>) -> Expr) -> Expr {
    match (items.len(), items.pop()) {
        (1, Some(only)) => only,
        (_, Some(last)) => {
            items.push(last);
            join(items)
        }
        (_, None) => join(items),
    }
}

/// What may stand between or after operands, by how tightly it binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Infix {
    Over,
    Choose,
    Union,
    Intersection,
    Difference,
    Colon,
    Plus,
    Minus,
    PlusMinus,
    MinusPlus,
    Times,
    Divide,
    Remainder,
    Implied,
    Power,
    Postfix(char),
}

impl Infix {
    fn level(self) -> u8 {
        match self {
            Self::Over | Self::Choose => 1,
            Self::Union | Self::Intersection | Self::Difference => 5,
            Self::Colon => 10,
            Self::Plus | Self::Minus | Self::PlusMinus | Self::MinusPlus => 20,
            Self::Times | Self::Divide | Self::Remainder | Self::Implied => 30,
            Self::Power => 50,
            Self::Postfix(_) => 60,
        }
    }
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> Option<&Token> {
        self.token(self.at)
    }

    pub(super) fn token(&self, at: usize) -> Option<&Token> {
        self.lexemes.get(at).map(|lexeme| &lexeme.token)
    }

    pub(super) fn is_spaced(&self, at: usize) -> bool {
        self.lexemes.get(at).is_some_and(|lexeme| lexeme.spaced)
    }

    pub(super) fn is_symbol(&self, symbol: char) -> bool {
        self.peek() == Some(&Token::Symbol(symbol))
    }

    fn follows_percent(&self) -> bool {
        self.at.checked_sub(1).and_then(|at| self.token(at)) == Some(&Token::Symbol('%'))
    }

    pub(super) fn is_command(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Command(own)) if own == name)
    }

    pub(super) fn word(&self, at: usize) -> Option<String> {
        match self.token(at) {
            Some(Token::Word(word)) => Some(word.to_lowercase()),
            _ => None,
        }
    }

    /// Takes a symbol that must stand here.
    pub(super) fn require(&mut self, symbol: char) -> Parsed<()> {
        if !self.is_symbol(symbol) {
            return Err("a closing bracket is missing");
        }
        self.at += 1;
        Ok(())
    }

    /// Items with what joins them, up to a token that is no separator.
    pub(super) fn list(&mut self) -> Parsed<(Vec<Expr>, Joint)> {
        let (mut joints, mut arrows) = (Vec::new(), false);
        let mut items = Vec::new();
        loop {
            if matches!(self.word(self.at).as_deref(), Some("either" | "both"))
                && !matches!(self.token(self.at + 1), None | Some(Token::Symbol(')' | ',')))
            {
                self.at += 1;
            }
            let start = self.at;
            items.push(self.relation()?);
            arrows |= self.has_arrow(start);
            let Some(mut found) = self.separator() else { break };
            // "2, and 3": nothing may be missing between two commas.
            if found == Joint::Comma
                && !matches!(self.peek(), Some(Token::Symbol(_)))
                && let Some(word) = self.separator()
            {
                found = word;
            }
            joints.push(found);
        }
        if arrows && joints.iter().any(|joint| matches!(joint, Joint::Conjunction | Joint::Disjunction)) {
            return Err("a connective and an arrow stand side by side without brackets");
        }
        Ok(grouped(items, &joints))
    }

    fn separator(&mut self) -> Option<Joint> {
        let joint = match self.peek()? {
            Token::Symbol(',' | ';') => Joint::Comma,
            Token::Row if !self.in_rows => Joint::Comma,
            Token::Word(word) if word.eq_ignore_ascii_case("and") => Joint::And,
            Token::Word(word) if word.eq_ignore_ascii_case("or") => Joint::Or,
            Token::Command(name) if name == "land" => Joint::Conjunction,
            Token::Command(name) if name == "lor" => Joint::Disjunction,
            _ => return None,
        };
        self.at += 1;
        Some(joint)
    }

    /// Operands joined by relation signs, with a modulus or not.
    pub(super) fn relation(&mut self) -> Parsed<Expr> {
        let mut terms = vec![self.operand()?];
        let mut relations = Vec::new();
        // In an equation for it, e is a letter like others.
        if terms[0] == Expr::Constant(Constant::E) && self.peek() == Some(&Token::Relation(Relation::Equal)) {
            terms[0] = Expr::Variable("e".to_owned());
        }
        while let Some(Token::Relation(relation)) = self.peek() {
            if self.angle && *relation == Relation::Greater {
                break;
            }
            relations.push(*relation);
            self.at += 1;
            terms.push(self.operand()?);
            // "12 is not the answer", "12 is wrong".
            if let Some(Expr::Text(text)) = terms.last()
                && text.split_whitespace().any(loaded::is_loaded)
            {
                return Err("words change the meaning of a number");
            }
        }
        if let Some(modulus) = self.modulus()? {
            let last = terms.pop().ok_or("a modulus stands alone")?;
            terms.push(Expr::Modulo(Box::new(last), Box::new(modulus)));
        } else if relations.last() == Some(&Relation::Congruent)
            && let Some(Expr::Call(Function::Remainder, parts)) = terms.last()
            && let [value, modulus] = parts.as_slice()
        {
            let whole = Expr::Modulo(Box::new(value.clone()), Box::new(modulus.clone()));
            terms.pop();
            terms.push(whole);
        }
        // The words before an equation are said of all of it.
        if !relations.is_empty()
            && let Expr::Labelled(label, loose, inner) = terms[0].clone()
        {
            terms[0] = *inner;
            return Ok(Expr::Labelled(label, loose, Box::new(Expr::Relation(terms, relations))));
        }
        Ok(single_or(terms, |terms| Expr::Relation(terms, relations)))
    }

    /// `\pmod{7}` or `(mod 7)`.
    fn modulus(&mut self) -> Parsed<Option<Expr>> {
        if self.is_command("pmod") {
            self.at += 1;
            return self.argument().map(Some);
        }
        let bracketed =
            self.is_symbol('(') && matches!(self.token(self.at + 1), Some(Token::Command(name)) if name == "mod");
        if !bracketed {
            return Ok(None);
        }
        self.at += 2;
        let modulus = self.expression(0)?;
        self.require(')')?;
        Ok(Some(modulus))
    }

    /// One side of a relation: an expression with a label before it or a unit after it, or words alone.
    fn operand(&mut self) -> Parsed<Expr> {
        let start = self.at;
        let label = self.label();
        if label.is_empty() {
            if self.names_a_point() {
                let point = self.letter_here();
                self.at += 1;
                let coordinates = self.expression(0)?;
                return Ok(Expr::Labelled(point, true, Box::new(coordinates)));
            }
            let expr = self.expression(0)?;
            return self.with_unit(expr);
        }
        if self.ends_operand() && !matches!(self.peek(), Some(Token::Relation(Relation::Equal))) {
            return Ok(Expr::Text(label.join(" ")));
        }
        if label.iter().any(|word| loaded::is_loaded(word)) {
            self.at = start;
            return Err("words change the meaning of a number");
        }
        let mut introduced = false;
        while self.is_symbol(':') || self.peek() == Some(&Token::Relation(Relation::Equal)) {
            introduced = true;
            self.at += 1;
        }
        if introduced {
            return Ok(label::labelled(&label, true, self.operand()?));
        }
        // `Var(X) + Y` is not `Var(X + Y)`.
        let applied = self.is_symbol('(') && !self.is_spaced(self.at);
        let end = self.bracket_ahead().map(|inner| self.at + inner.len() + 2).filter(|_| applied);
        let expr = self.expression(0)?;
        if end.is_some_and(|end| end != self.at) {
            return Err("a word stands before a bracket and more");
        }
        match label.as_slice() {
            [only] if units::is_currency(only) => Ok(Expr::Quantity(Box::new(expr), Unit::one(only))),
            _ => Ok(label::labelled(&label, false, self.with_unit(expr)?)),
        }
    }

    /// The words before a value.
    fn label(&mut self) -> Vec<String> {
        let mut label = Vec::new();
        while let Some(Token::Word(word)) = self.peek() {
            if matches!(word.to_lowercase().as_str(), "and" | "or") && !label.is_empty() {
                break;
            }
            label.push(word.clone());
            self.at += 1;
        }
        label
    }

    /// An expression whose operators bind at least as tightly as `floor`.
    pub(super) fn expression(&mut self, floor: u8) -> Parsed<Expr> {
        self.enter()?;
        let mut left = self.prefix()?;
        while let Some(infix) = self.infix().filter(|infix| infix.level() >= floor) {
            left = self.extend(left, infix)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    /// Counts one more level and one more part.
    pub(super) fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        self.nodes += 1;
        if self.depth > MAX_DEPTH {
            return Err("the expression is nested too deep");
        }
        if self.nodes > MAX_NODES {
            return Err("the expression has too many parts");
        }
        Ok(())
    }

    fn infix(&self) -> Option<Infix> {
        Some(match self.peek()? {
            Token::Symbol('+') => Infix::Plus,
            Token::Symbol('-') => Infix::Minus,
            Token::Symbol('*') => Infix::Times,
            Token::Symbol('/') => Infix::Divide,
            Token::Symbol('^') => Infix::Power,
            Token::Symbol(':') if !self.in_set => Infix::Colon,
            Token::Symbol(mark @ ('!' | '%' | '\u{b0}')) => Infix::Postfix(*mark),
            Token::Symbol('(') if matches!(self.token(self.at + 1), Some(Token::Command(name)) if name == "mod") => {
                return None;
            }
            Token::Symbol('(') if matches!(self.token(self.at + 1), Some(Token::Word(_))) => return None,
            Token::Command(_) if self.unit_quotient().is_some() => return None,
            Token::Command(name) => match name.as_str() {
                "over" => Infix::Over,
                "choose" => Infix::Choose,
                "cup" => Infix::Union,
                "cap" => Infix::Intersection,
                "setminus" => Infix::Difference,
                "pm" => Infix::PlusMinus,
                "mp" => Infix::MinusPlus,
                "mod" => Infix::Remainder,
                _ if self.starts_factor() => Infix::Implied,
                _ => return None,
            },
            _ if self.starts_factor() => Infix::Implied,
            _ => return None,
        })
    }

    /// Whether the token here can be a factor without a multiplication sign before it.
    pub(super) fn starts_factor(&self) -> bool {
        let after_number = self.at > 0 && matches!(self.token(self.at - 1), Some(Token::Number(..)));
        let after_letter = matches!(
            self.at.checked_sub(1).and_then(|at| self.token(at)),
            Some(Token::Letter(_) | Token::Constant(Constant::E | Constant::I))
        );
        // `2^6 3^5`: a number apart from the exponent before it is the next factor.
        let raised = self.at > 1 && self.token(self.at - 2) == Some(&Token::Symbol('^')) && self.is_spaced(self.at);
        match self.peek() {
            // "2 h 30 min" is no product.
            // "(a) 5 (b) 7" is none, and no "17 % 5".
            Some(Token::Number(..)) => {
                let behind = self.follows_percent() || doubtful::ends_label(&self.lexemes[..self.at]);
                (!after_number || raised) && !after_letter && !behind
            }
            Some(Token::Letter(letter)) => {
                !self.reads_as_unit(letter) && !self.at_differential() && !self.follows_percent()
            }
            Some(Token::Constant(_) | Token::Function(_) | Token::Begin(_)) => true,
            Some(Token::Symbol('(')) => true,
            Some(Token::Symbol('{')) => !self.between_numbers(),
            Some(Token::Symbol('|')) => self.bars == 0 && !self.in_set,
            Some(Token::Command(_)) if self.unit_quotient().is_some() => false,
            Some(Token::Command(name)) => {
                name.starts_with("accent ")
                    || matches!(
                        name.as_str(),
                        "frac"
                            | "binom"
                            | "cbrt"
                            | "lvert"
                            | "lfloor"
                            | "lceil"
                            | "overline"
                            | "sum"
                            | "prod"
                            | "int"
                            | "lim"
                            | "logtwo"
                            | "pow"
                            | "rational"
                    )
            }
            _ => false,
        }
    }

    fn extend(&mut self, left: Expr, infix: Infix) -> Parsed<Expr> {
        if infix != Infix::Implied {
            self.at += 1;
        }
        let boxed = |left: Expr| Box::new(left);
        Ok(match infix {
            Infix::Plus => add(left, self.expression(21)?),
            Infix::Minus => add(left, Expr::Negative(boxed(self.expression(21)?))),
            Infix::PlusMinus => add(left, Expr::PlusMinus(boxed(self.expression(21)?))),
            Infix::MinusPlus => add(left, Expr::MinusPlus(boxed(self.expression(21)?))),
            Infix::Times | Infix::Implied => multiply(left, self.expression(31)?, false),
            Infix::Divide => multiply(left, self.expression(31)?, true),
            Infix::Remainder => Expr::Call(Function::Remainder, vec![left, self.expression(31)?]),
            Infix::Over => Expr::Quotient(boxed(left), boxed(self.expression(2)?)),
            Infix::Choose => Expr::Call(Function::Binomial, vec![left, self.expression(2)?]),
            Infix::Power => Expr::Power(boxed(left), boxed(self.exponent()?)),
            Infix::Postfix('!') => {
                let double = self.is_symbol('!');
                self.at += usize::from(double);
                Expr::Call(if double { Function::DoubleFactorial } else { Function::Factorial }, vec![left])
            }
            Infix::Postfix('%') => Expr::Percent(boxed(left)),
            Infix::Postfix(_) => Expr::Degree(boxed(left)),
            Infix::Colon => match (left, self.expression(11)?) {
                (Expr::Ratio(mut items), right) => {
                    items.push(right);
                    Expr::Ratio(items)
                }
                (left, right) => Expr::Ratio(vec![left, right]),
            },
            Infix::Union => match (left, self.expression(6)?) {
                (Expr::Union(mut items), right) => {
                    items.push(right);
                    Expr::Union(items)
                }
                (left, right) => Expr::Union(vec![left, right]),
            },
            Infix::Intersection => Expr::Intersection(vec![left, self.expression(6)?]),
            Infix::Difference => Expr::Difference(boxed(left), boxed(self.expression(6)?)),
        })
    }

    /// What stands after a caret: a group, or one signed operand.
    pub(super) fn exponent(&mut self) -> Parsed<Expr> {
        if self.is_symbol('-') {
            self.at += 1;
            return Ok(Expr::Negative(Box::new(self.exponent_operand()?)));
        }
        if self.is_symbol('+') {
            self.at += 1;
        }
        self.exponent_operand()
    }

    fn exponent_operand(&mut self) -> Parsed<Expr> {
        let base = self.argument()?;
        if !self.is_symbol('^') {
            return Ok(base);
        }
        self.at += 1;
        self.enter()?;
        let exponent = self.exponent()?;
        self.depth -= 1;
        Ok(Expr::Power(Box::new(base), Box::new(exponent)))
    }
}

fn add(left: Expr, right: Expr) -> Expr {
    match left {
        Expr::Sum(mut items) => {
            items.push(right);
            Expr::Sum(items)
        }
        left => Expr::Sum(vec![left, right]),
    }
}

fn multiply(left: Expr, right: Expr, inverse: bool) -> Expr {
    let factor = Factor { expr: right, inverse };
    match left {
        Expr::Product(mut factors) => {
            factors.push(factor);
            Expr::Product(factors)
        }
        left => Expr::Product(vec![Factor { expr: left, inverse: false }, factor]),
    }
}
