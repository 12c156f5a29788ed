//! The operands of an expression: numerals, names, brackets, fractions, roots, function calls and matrices.

use dashu::rational::RBig;

use super::{
    brackets::absolute,
    expression::{Bracket, Constant, Expr, Function, NamedSet, Relation},
    parser::{Parsed, Parser, single_or},
    token::Token,
    units::Unit,
};

impl Parser<'_> {
    /// One operand with its sign.
    pub(super) fn prefix(&mut self) -> Parsed<Expr> {
        let mut negative = false;
        loop {
            match self.peek() {
                Some(Token::Symbol('-')) => negative = !negative,
                Some(Token::Symbol('+')) => {}
                _ => break,
            }
            self.at += 1;
            if !matches!(self.peek(), Some(Token::Symbol('-' | '+'))) {
                let inner = self.expression(30)?;
                return Ok(if negative { Expr::Negative(Box::new(inner)) } else { inner });
            }
        }
        for (name, plus) in [("pm", true), ("mp", false)] {
            if self.is_command(name) {
                self.at += 1;
                let inner = Box::new(self.expression(30)?);
                return Ok(if plus { Expr::PlusMinus(inner) } else { Expr::MinusPlus(inner) });
            }
        }
        self.atom()
    }

    /// The argument of a command: a group in braces, or one operand.
    pub(super) fn argument(&mut self) -> Parsed<Expr> {
        // A number without braces is the whole argument: in `\log_2 \frac{1}{8}` the base is 2, and not a mixed number.
        if let Some(Token::Number(value, _)) = self.peek() {
            let value = value.clone();
            self.at += 1;
            return Ok(Expr::Number(value));
        }
        self.enter()?;
        let inner = self.atom();
        self.depth -= 1;
        inner
    }

    pub(super) fn atom(&mut self) -> Parsed<Expr> {
        let token = self.peek().ok_or("the expression ends too early")?.clone();
        self.at += 1;
        match token {
            Token::Number(value, integer) => Ok(self.numeral(value, integer)),
            Token::Letter(name) => self.letter(name),
            Token::Constant(constant) => Ok(Expr::Constant(constant)),
            Token::Function(Function::Sqrt) => self.root(),
            Token::Function(function) => self.call(function),
            Token::Radix { digits, base } => Ok(Expr::Radix { digits, base }),
            Token::Clock(clock) => Ok(Expr::Clock(clock)),
            Token::Currency(name) => {
                let amount = self.expression(31)?;
                Ok(Expr::Quantity(Box::new(amount), Unit::one(&name)))
            }
            Token::SetOpen => self.set(),
            Token::Begin(environment) => self.environment(&environment),
            Token::Relation(Relation::Less) if !self.angle => self.angle_brackets(),
            Token::Symbol(symbol) => self.bracketed(symbol),
            Token::Command(name) => self.command(&name),
            Token::Word(_) => Err("words stand where a number is expected"),
            _ => Err("a symbol stands where a number is expected"),
        }
    }

    /// A numeral, with the fraction or the counting symbol right after it.
    fn numeral(&mut self, value: RBig, integer: bool) -> Expr {
        if integer {
            if let Some((fraction, used)) = self.fraction_ahead() {
                self.at += used;
                return Expr::Number(value + fraction);
            }
            if let (Some(Token::Letter(letter)), Some(Token::Number(below, true))) =
                (self.peek(), self.token(self.at + 1))
                && matches!(letter.as_str(), "C" | "P")
                && !self.is_spaced(self.at)
                && !self.is_spaced(self.at + 1)
            {
                let function = if letter == "C" { Function::Binomial } else { Function::Permutation };
                let below = below.clone();
                self.at += 2;
                return Expr::Call(function, vec![Expr::Number(value), Expr::Number(below)]);
            }
        }
        Expr::Number(value)
    }

    /// A proper fraction of whole numbers at this place, as in `1\frac{3}{4}` or `1 3/4`, and its length.
    fn fraction_ahead(&self) -> Option<(RBig, usize)> {
        let (above, below, used) = if self.is_command("frac") {
            let (above, first) = self.whole_argument(self.at + 1)?;
            let (below, second) = self.whole_argument(self.at + 1 + first)?;
            (above, below, 1 + first + second)
        } else {
            let (Some(Token::Number(above, true)), Some(Token::Symbol('/')), Some(Token::Number(below, true))) =
                (self.peek(), self.token(self.at + 1), self.token(self.at + 2))
            else {
                return None;
            };
            (above.clone(), below.clone(), 3)
        };
        (above < below).then(|| (above / below, used))
    }

    fn whole_argument(&self, at: usize) -> Option<(RBig, usize)> {
        match self.token(at)? {
            Token::Number(value, true) => Some((value.clone(), 1)),
            Token::Symbol('{') => match (self.token(at + 1)?, self.token(at + 2)?) {
                (Token::Number(value, true), Token::Symbol('}')) => Some((value.clone(), 3)),
                _ => None,
            },
            _ => None,
        }
    }

    /// A variable with its index and primes, or a count written with a letter: `C(10,4)`, `C_{10}^4`.
    fn letter(&mut self, letter: String) -> Parsed<Expr> {
        let counts = match letter.as_str() {
            "C" => Some(Function::Binomial),
            "P" | "A" => Some(Function::Permutation),
            _ => None,
        };
        if let Some(function) = counts
            && let Some(call) = self.count(function, &letter)?
        {
            return Ok(call);
        }
        if let Some(derivative) = self.derivative_on_a_line(&letter)? {
            return Ok(derivative);
        }
        let mut name = letter;
        if self.is_symbol('_') {
            self.at += 1;
            let start = self.at;
            self.skip_argument()?;
            let index: Vec<String> =
                self.lexemes[start..self.at].iter().filter_map(|lexeme| plain(&lexeme.token)).collect();
            name = format!("{name}_{}", index.join(""));
        }
        while self.is_symbol('\'') {
            self.at += 1;
            name.push('\'');
        }
        if let Some((raised, used)) = self.raised_function(&name).or_else(|| self.raised_index(&name)) {
            self.at += used;
            name = raised;
        }
        if self.applies(&name) {
            self.at += 1;
            let (items, _) = self.enclosed()?;
            self.require(')')?;
            return Ok(Expr::Apply(name, items));
        }
        Ok(Expr::Variable(name))
    }

    /// A function with an exponent before its argument, `f^{-1}(0)` and `f^{(3)}(0)`: no power of a letter times a number.
    fn raised_function(&self, name: &str) -> Option<(String, usize)> {
        if !matches!(name, "f" | "g" | "h" | "F" | "G" | "y" | "u") || !self.is_symbol('^') {
            return None;
        }
        let used = match (self.token(self.at + 1)?, self.token(self.at + 2)?) {
            (Token::Symbol('{'), _) => {
                let inside = self.lexemes[self.at + 2..].iter();
                3 + inside.take_while(|lexeme| lexeme.token != Token::Symbol('}')).count()
            }
            _ => 2,
        };
        let index: Vec<String> =
            self.lexemes[self.at + 1..self.at + used].iter().filter_map(|lexeme| plain(&lexeme.token)).collect();
        (self.token(self.at + used) == Some(&Token::Symbol('('))).then(|| (format!("{name}^{}", index.join("")), used))
    }

    /// A whole number or a letter in brackets as an exponent, `x^{(2)}`: an index or a derivative, and no power.
    fn raised_index(&self, name: &str) -> Option<(String, usize)> {
        let tokens: Vec<&Token> = self.lexemes.get(self.at..self.at + 6)?.iter().map(|lexeme| &lexeme.token).collect();
        match tokens.as_slice() {
            [
                Token::Symbol('^'),
                Token::Symbol('{'),
                Token::Symbol('(' | '['),
                index @ (Token::Number(_, true) | Token::Letter(_)),
                Token::Symbol(')' | ']'),
                Token::Symbol('}'),
            ] => Some((format!("{name}^({})", plain(index)?), 6)),
            _ => None,
        }
    }

    fn count(&mut self, function: Function, letter: &str) -> Parsed<Option<Expr>> {
        let start = self.at;
        let state = (self.depth, self.bars, self.in_set, self.angle);
        if self.is_symbol('(') && letter != "A" {
            self.at += 1;
            if let Ok(Expr::Group(Bracket::Round, items, Bracket::Round)) = self.group('(')
                && items.len() == 2
                && items.iter().all(|item| item.is_scalar())
            {
                return Ok(Some(Expr::Call(function, items)));
            }
        } else if self.is_symbol('_') {
            self.at += 1;
            let above = self.argument()?;
            if self.is_symbol('^') {
                self.at += 1;
                let below = self.argument()?;
                if above.is_closed() && below.is_closed() {
                    return Ok(Some(Expr::Call(function, vec![above, below])));
                }
            }
        }
        self.at = start;
        (self.depth, self.bars, self.in_set, self.angle) = state;
        Ok(None)
    }

    /// `{}_{10}C_4` and `^{10}C_4`: the index before the letter has been seen.
    pub(super) fn arrangement(&mut self) -> Parsed<Expr> {
        let above = self.argument()?;
        let function = match self.peek() {
            Some(Token::Letter(letter)) if letter == "C" => Function::Binomial,
            Some(Token::Letter(letter)) if letter == "P" => Function::Permutation,
            _ => return Err("an index has nothing before it"),
        };
        self.at += 1;
        self.require('_')?;
        let below = self.argument()?;
        Ok(Expr::Call(function, vec![above, below]))
    }

    /// Skips one argument without reading it.
    fn skip_argument(&mut self) -> Parsed<()> {
        if !self.is_symbol('{') {
            self.at += 1;
            return if self.at <= self.lexemes.len() { Ok(()) } else { Err("the expression ends too early") };
        }
        let mut open = 0usize;
        while let Some(token) = self.peek() {
            match token {
                Token::Symbol('{') => open += 1,
                Token::Symbol('}') => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Ok(());
            }
        }
        Err("a brace is not closed")
    }

    /// `\sqrt[3]{x}`, `sqrt(x)`, a root sign with one operand.
    fn root(&mut self) -> Parsed<Expr> {
        let mut index = None;
        if self.is_symbol('[') {
            self.at += 1;
            index = Some(self.expression(0)?);
            self.require(']')?;
        }
        let radicand = match self.argument()? {
            Expr::Group(Bracket::Round, mut items, Bracket::Round) if items.len() == 2 => {
                index = items.pop();
                items.pop().ok_or("a root has nothing under it")?
            }
            radicand => radicand,
        };
        Ok(match index {
            Some(index) => Expr::Call(Function::Root, vec![radicand, index]),
            None => Expr::Call(Function::Sqrt, vec![radicand]),
        })
    }

    /// A function with its base, exponent and argument.
    fn call(&mut self, function: Function) -> Parsed<Expr> {
        let mut base = None;
        let mut exponent = None;
        for _ in 0..2 {
            if self.is_symbol('_') && base.is_none() {
                self.at += 1;
                base = Some(self.argument()?);
            } else if self.is_symbol('^') && exponent.is_none() {
                self.at += 1;
                exponent = Some(self.exponent_alone()?);
            }
        }
        let mut arguments = match self.peek() {
            Some(Token::Symbol('(' | '{') | Token::SetOpen) => match self.argument()? {
                Expr::Group(Bracket::Round, items, Bracket::Round) | Expr::Set(items) => items,
                only => vec![only],
            },
            _ if function.takes_bare_argument() => vec![self.bare_argument(function)?],
            _ => return Err("a function has no argument"),
        };
        if function == Function::Log && arguments.len() == 1 {
            arguments.extend(base);
        }
        match exponent {
            None => Ok(Expr::Call(function, arguments)),
            Some(exponent) => match (function.inverse(), exponent == Expr::Negative(Box::new(Expr::integer(1)))) {
                (Some(inverse), true) => Ok(Expr::Call(inverse, arguments)),
                _ => Ok(Expr::Power(Box::new(Expr::Call(function, arguments)), Box::new(exponent))),
            },
        }
    }

    fn exponent_alone(&mut self) -> Parsed<Expr> {
        if self.is_symbol('-') {
            self.at += 1;
            return Ok(Expr::Negative(Box::new(self.argument()?)));
        }
        self.argument()
    }

    /// An argument without brackets: factors side by side, up to a sign or the next function.
    fn bare_argument(&mut self, function: Function) -> Parsed<Expr> {
        let mut factors = vec![self.expression(31)?];
        while self.starts_factor() && !matches!(self.peek(), Some(Token::Function(_) | Token::Symbol('(' | '|'))) {
            factors.push(self.expression(31)?);
        }
        let mut argument = single_or(factors, Expr::product);
        let has_pi = argument.any(&|node| *node == Expr::Constant(Constant::Pi));
        if function.takes_angle()
            && has_pi
            && self.is_symbol('/')
            && matches!(self.token(self.at + 1), Some(Token::Number(..)))
        {
            self.at += 1;
            argument = Expr::Quotient(Box::new(argument), Box::new(self.argument()?));
        }
        Ok(argument)
    }

    fn command(&mut self, name: &str) -> Parsed<Expr> {
        match name {
            "frac" => {
                let above = self.argument()?;
                let below = self.argument()?;
                self.quotient(above, below)
            }
            "binom" => {
                let above = self.argument()?;
                let below = self.argument()?;
                Ok(Expr::Call(Function::Binomial, vec![above, below]))
            }
            "cbrt" => Ok(Expr::Call(Function::Root, vec![self.argument()?, Expr::integer(3)])),
            "logtwo" => Ok(Expr::Call(Function::Log, vec![self.argument()?, Expr::integer(2)])),
            "pow" | "rational" => self.pair(name),
            "lvert" => self.closed_by("rvert").map(absolute),
            "lfloor" => Ok(Expr::Call(Function::Floor, vec![self.closed_by("rfloor")?])),
            "lceil" => Ok(Expr::Call(Function::Ceiling, vec![self.closed_by("rceil")?])),
            "langle" => {
                let (items, _) = self.enclosed()?;
                if !self.is_command("rangle") {
                    return Err("an angle bracket is not closed");
                }
                self.at += 1;
                Ok(Expr::Group(Bracket::Angle, items, Bracket::Angle))
            }
            "sum" | "prod" | "int" | "lim" => self.bound(name),
            _ if name == "overline" || name.starts_with("accent") => decorated(self.argument()?, name),
            "emptyset" => Ok(Expr::Named(NamedSet::Empty)),
            "set R" => Ok(Expr::Named(NamedSet::Reals)),
            "set Z" => Ok(Expr::Named(NamedSet::Integers)),
            "set N" => Ok(Expr::Named(NamedSet::Naturals)),
            "set Q" => Ok(Expr::Named(NamedSet::Rationals)),
            "set C" => Ok(Expr::Named(NamedSet::Complexes)),
            _ => Err("a command stands where a number is expected"),
        }
    }

    fn pair(&mut self, name: &str) -> Parsed<Expr> {
        let Expr::Group(_, mut items, _) = self.argument()? else { return Err("a function takes two arguments") };
        let (Some(second), Some(first), None) = (items.pop(), items.pop(), items.pop()) else {
            return Err("a function takes two arguments");
        };
        let (first, second) = (Box::new(first), Box::new(second));
        Ok(if name == "pow" { Expr::Power(first, second) } else { Expr::Quotient(first, second) })
    }
}

/// What a line or an accent over letters names; over a complex number it is the conjugate.
fn decorated(inner: Expr, name: &str) -> Parsed<Expr> {
    if name == "overline" && inner.any(&|node| *node == Expr::Constant(Constant::I)) {
        return Ok(Expr::Call(Function::Conjugate, vec![inner]));
    }
    letters(&inner)
        .map(|letters| Expr::Variable(format!("{name} {letters}")))
        .ok_or("a line or an accent stands over more than letters")
}

fn letters(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Variable(letter) => Some(letter.clone()),
        Expr::Constant(Constant::E) => Some("e".to_owned()),
        Expr::Constant(Constant::I) => Some("i".to_owned()),
        Expr::Product(factors) => {
            factors.iter().map(|factor| letters(&factor.expr).filter(|_| !factor.inverse)).collect()
        }
        _ => None,
    }
}

/// How a token reads inside the index of a variable.
fn plain(token: &Token) -> Option<String> {
    Some(match token {
        Token::Number(value, _) => value.to_string(),
        Token::Letter(text) | Token::Word(text) => text.clone(),
        Token::Constant(Constant::E) => "e".to_owned(),
        Token::Constant(Constant::I) => "i".to_owned(),
        Token::Constant(Constant::Pi) => "pi".to_owned(),
        Token::Constant(Constant::Infinity) => "infinity".to_owned(),
        Token::Symbol('{' | '}') => return None,
        Token::Symbol(symbol) => symbol.to_string(),
        other => format!("{other:?}"),
    })
}
