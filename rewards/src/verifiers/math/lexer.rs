//! LaTeX and plain text as one stream of tokens.

use std::sync::LazyLock;

use dashu::rational::RBig;
use regex::Regex;

use super::{
    clause::pattern,
    expression::{Constant, Function, Relation},
    names, numerals,
    source::Source,
    token::{Lexeme, Style, Token},
    words::{self, is_short_word},
};

/// A name with an equals sign behind it.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^[\s$~]*(?:\\q?quad)*[\s$~]*[A-Za-z]'?(?:_\{?\w+\}?)?(?:\([a-z]\))?\s*(?:=|\\in\b|\\equiv\b)")
});

/// Splits ASCII LaTeX (see `symbols`) into tokens.
///
/// # Errors
/// A reason when a brace is not closed, a name is not known or nesting is too deep.
pub(super) fn tokens(source: &str) -> Result<Vec<Lexeme>, &'static str> {
    unmerged(source).map(super::merge::merge)
}

/// The same tokens before words that are mathematics are rewritten.
///
/// # Errors
/// As [`tokens`].
pub(super) fn unmerged(source: &str) -> Result<Vec<Lexeme>, &'static str> {
    let mut source = source.to_owned();
    for (dotted, plain) in [
        ("min. ", "minimum "),
        ("max. ", "maximum "),
        ("p.m.", "pm "),
        ("a.m.", "am "),
        ("P.M.", "pm "),
        ("A.M.", "am "),
        ("{:}", ":"),
        ("{\\colon}", ":"),
        ("^{\\prime\\prime}", "''"),
        ("^{\\prime}", "'"),
        ("^\\prime", "'"),
    ] {
        source = source.replace(dotted, plain);
    }
    let mut lexer = Lexer::new(&source, false, 0);
    lexer.run()?;
    Ok(lexer.out)
}

/// What was read of a source so far.
pub(super) struct Lexer {
    pub(super) source: Source,
    text: bool,
    pub(super) depth: usize,
    dollars: usize,
    /// Arguments that the last `\frac` or `\binom` still takes: a bare digit is one of them.
    arguments: usize,
    saved: Vec<usize>,
    pub(super) spaced: bool,
    pub(super) out: Vec<Lexeme>,
}

impl Lexer {
    pub(super) fn new(text_of: &str, text: bool, depth: usize) -> Self {
        let source = Source::new(text_of);
        let chars = &source.chars;
        let dollars = (0..chars.len()).filter(|at| chars[*at] == '$' && (*at == 0 || chars[at - 1] != '\\')).count();
        Self { source, text, depth, dollars, arguments: 0, saved: Vec::new(), spaced: false, out: Vec::new() }
    }

    pub(super) fn run(&mut self) -> Result<(), &'static str> {
        while let Some(here) = self.source.peek(0) {
            if here.is_whitespace() || here == '~' {
                self.spaced = true;
                self.source.at += 1;
                if here == '\n' {
                    self.separate();
                }
            } else if self.arguments > 0 && here.is_ascii_digit() {
                self.source.at += 1;
                self.push(Token::Number(RBig::from(here.to_digit(10).unwrap_or(0)), true));
            } else if let Some((token, end)) = numerals::radix(&self.source) {
                self.push(token);
                self.source.at = end;
            } else if here.is_ascii_digit() || (here == '.' && self.source.peek(1).is_some_and(|c| c.is_ascii_digit()))
            {
                let after_colon = matches!(self.last(), Some(Token::Symbol(':')));
                let token = numerals::number(&mut self.source, after_colon)?;
                self.push(token);
            } else if here == '\\' {
                self.command()?;
            } else if here.is_alphabetic() {
                self.letters();
            } else {
                self.symbol(here);
            }
        }
        Ok(())
    }

    /// The last token so far.
    pub(super) fn last(&self) -> Option<&Token> {
        self.out.last().map(|lexeme| &lexeme.token)
    }

    pub(super) fn push(&mut self, token: Token) {
        match &token {
            Token::Command(name) if name == "frac" || name == "binom" => self.arguments = 2,
            Token::Symbol('{') => {
                self.saved.push(self.arguments.saturating_sub(1));
                self.arguments = 0;
            }
            Token::Symbol('}') => self.arguments = self.saved.pop().unwrap_or(0),
            _ => self.arguments = self.arguments.saturating_sub(1),
        }
        let spaced = std::mem::take(&mut self.spaced);
        self.out.push(Lexeme { token, spaced, text: self.text, style: Style::Plain });
    }

    /// Says how the last token was written.
    pub(super) fn mark(&mut self, style: Style) {
        if let Some(last) = self.out.last_mut() {
            last.style = style;
        }
    }

    fn letters(&mut self) {
        let start = self.source.at;
        let joins = |lexer: &Self, at: usize| {
            let c = lexer.source.chars[at];
            let inner = at + 1 < lexer.source.chars.len() && lexer.source.chars[at + 1].is_alphabetic();
            c.is_alphabetic()
                || (c == '\'' && lexer.text && inner)
                || (c == '-' && inner && (lexer.text || numerals::is_hyphenated(&lexer.source.chars, at)))
                || (c == '.' && inner && lexer.text)
        };
        while self.source.at < self.source.chars.len() && joins(self, self.source.at) {
            self.source.at += 1;
        }
        let run: String = self.source.chars[start..self.source.at].iter().collect();
        if names::is_module(&run) && self.source.peek(0) == Some('.') {
            self.source.at += 1;
            // The logarithm of program code is the natural one.
            if self.source.looking_at(self.source.at, "log(") {
                self.push(Token::Function(Function::Ln));
                self.source.at += 3;
            }
            return;
        }
        // Names such as `log2` and `atan2` carry a digit.
        if run == "log"
            && !self.text
            && self.source.peek(0).is_some_and(|c| c == '2')
            && self.source.peek(1) == Some('(')
        {
            self.push(Token::Command("logtwo".to_owned()));
            self.source.at += 1;
            return;
        }
        if run == "log" && !self.text && self.source.looking_at(self.source.at, "10(") {
            self.push(Token::Function(Function::Log));
            self.source.at += 2;
            return;
        }
        self.run_of_letters(&run);
    }

    /// "or" grown together with the letter of the next equation, `x=1orx=2`; gives that letter.
    fn joined_to_next<'r>(&self, run: &'r str) -> Option<(&'static str, &'r str)> {
        let (joint, letter) = ["or", "and"].into_iter().find_map(|joint| Some((joint, run.strip_prefix(joint)?)))?;
        let value = matches!(self.last(), Some(Token::Number(..) | Token::Symbol(')' | '}'))) && !self.spaced;
        let named = self.source.peek(0).is_some_and(|c| matches!(c, '=' | '(' | '_' | '<' | '>'));
        (letter.len() == 1 && value && named && !self.text).then_some((joint, letter))
    }

    fn run_of_letters(&mut self, run: &str) {
        if let Some((joint, letter)) = self.joined_to_next(run) {
            self.push(Token::Word(joint.to_owned()));
            letter.chars().for_each(|c| self.push(names::letter(c)));
            return;
        }
        let after_number =
            matches!(self.last(), Some(Token::Number(..) | Token::Constant(Constant::Pi) | Token::Symbol(')' | '}')));
        let called = self.source.chars[self.source.at..].iter().find(|c| **c != ' ') == Some(&'(');
        let raised = self.source.peek(0).is_some_and(|c| c == '^' || c == '_');
        let hour = matches!(self.last(), Some(Token::Clock(_)))
            || matches!(self.last(), Some(Token::Number(_, true))) && self.spaced;
        let half_day = hour && matches!(run, "am" | "AM" | "Am");
        let extreme = matches!(run, "min" | "max")
            && self.source.chars[self.source.at..].iter().find(|c| **c != ' ').is_none_or(|c| !"({_\\[".contains(*c));
        let segment = run.len() == 2
            && run.chars().all(|c| c.is_ascii_uppercase())
            && matches!(self.last(), Some(Token::Symbol('{')))
            && self.source.peek(0) == Some('}')
            && !self.text;
        if segment {
            run.chars().for_each(|c| self.push(names::letter(c)));
        } else if half_day || extreme && !self.text {
            self.push(Token::Word(run.to_owned()));
        } else if self.text && (run.chars().count() > 1 || !run.is_ascii()) {
            match names::text_name(run).filter(|_| called) {
                Some(token) => self.push(token),
                None => self.push(Token::Word(run.to_owned())),
            }
        } else if self.text
            || run.len() > 1 && super::units::is_unit(run) && (after_number && !called || self.among_units())
        {
            self.push(Token::Word(run.to_owned()));
        } else if let Some(token) = names::plain(run) {
            self.push(token);
        } else if let Some(pieces) = names::split(run) {
            pieces.into_iter().for_each(|token| self.push(token));
        } else if !run.is_ascii() || self.reads_as_word(run, raised) {
            self.push(Token::Word(run.to_owned()));
        } else {
            run.chars().for_each(|c| self.push(names::letter(c)));
        }
    }

    /// Whether the run that was just read stands among words: another of some length follows, as in "ice cubes".
    fn among_words(&self) -> bool {
        let next: String = self.source.chars[self.source.at..]
            .iter()
            .skip_while(|c| **c == ' ')
            .take_while(|c| c.is_alphabetic())
            .collect();
        let last_is_word = matches!(self.last(), Some(Token::Word(_)));
        (next.len() > 3 || last_is_word && self.spaced)
            && names::plain(&next).is_none()
            && self.source.peek(0) != Some('(')
    }

    /// Whether what stands before is only said of units: "square cm", `8 (km/h)`.
    fn among_units(&self) -> bool {
        match self.last() {
            Some(Token::Word(word)) => matches!(word.as_str(), "square" | "cubic" | "sq" | "cu" | "per"),
            // `8 (km/h)`
            Some(Token::Symbol('(')) => {
                let before = self.out.len().checked_sub(2).and_then(|at| self.out.get(at));
                self.out.last().is_some_and(|open| open.spaced)
                    && matches!(before.map(|before| &before.token), Some(Token::Number(..)))
            }
            Some(Token::Symbol('/')) => {
                matches!(
                    self.out.len().checked_sub(2).and_then(|at| self.out.get(at)).map(|before| &before.token),
                    Some(Token::Word(_))
                )
            }
            _ => false,
        }
    }

    /// A run of letters that is a word of running text, not a product of variables.
    fn reads_as_word(&self, run: &str, raised: bool) -> bool {
        let tight = matches!(self.last(), Some(Token::Number(..))) && !self.spaced;
        match run.len() {
            1 => false,
            2 | 3 => (is_short_word(run) || run.len() == 3 && (self.among_words() || is_name(run))) && !raised,
            4 => !raised && !tight && !run.chars().all(|c| c.is_ascii_uppercase()),
            _ => !(raised || tight && run.len() < 6),
        }
    }

    fn symbol(&mut self, here: char) {
        let two: Option<char> = self.source.peek(1);
        self.source.at += 1;
        match (here, two) {
            ('*', Some('*')) => {
                self.source.at += 1;
                self.push(Token::Symbol('^'));
            }
            ('<', Some('=')) => self.relation(Relation::LessEqual, 1),
            ('>', Some('=')) => self.relation(Relation::GreaterEqual, 1),
            ('<', Some('>')) => self.relation(Relation::NotEqual, 1),
            ('!', Some('=')) if self.spaced || matches!(self.last(), Some(Token::Letter(_))) => {
                self.relation(Relation::NotEqual, 1);
            }
            ('=', Some('=')) => self.relation(Relation::Equal, 1),
            ('=', Some('>')) => self.relation(Relation::Other("implies"), 1),
            ('-', Some('>')) => self.relation(Relation::Other("to"), 1),
            ('=', _) => self.relation(Relation::Equal, 0),
            ('<', _) => self.relation(Relation::Less, 0),
            ('>', _) => self.relation(Relation::Greater, 0),
            ('^', _) if self.source.skip_degree() => self.push(Token::Symbol('\u{b0}')),
            ('^', _) if self.skip_ordinal() => {}
            ('.', Some('.')) if self.source.peek(1) == Some('.') => {
                self.source.at += 2;
                self.push(Token::Ellipsis);
            }
            ('$', _) => self.dollar(),
            ('"' | '`' | '\u{305}', _) => {}
            ('(' | '[', _) => {
                self.source.open.push(self.source.at);
                self.push(Token::Symbol(here));
            }
            (')' | ']', _) => {
                self.source.open.pop();
                self.push(Token::Symbol(here));
            }
            _ => self.push(Token::Symbol(here)),
        }
    }

    fn relation(&mut self, relation: Relation, more: usize) {
        self.source.at += more;
        self.push(Token::Relation(relation));
    }

    /// A dollar sign is a currency when it has no partner and a number follows; else it only delimits.
    fn dollar(&mut self) {
        let number = self.source.chars[self.source.at..]
            .iter()
            .find(|c| **c != ' ')
            .is_some_and(|c| c.is_ascii_digit() || *c == '.');
        let after_number = matches!(self.last(), Some(Token::Number(..)));
        if self.dollars % 2 == 1 && (number || after_number) {
            self.push(Token::Currency("usd".to_owned()));
        } else {
            self.spaced = true;
        }
    }

    /// Takes a raised "st", "nd", "rd" or "th" after a number.
    fn skip_ordinal(&mut self) -> bool {
        if !matches!(self.last(), Some(Token::Number(..))) {
            return false;
        }
        let rest: String = self.source.chars[self.source.at..].iter().take(24).collect();
        let stripped: String = rest.chars().take_while(|c| !c.is_whitespace() && *c != '}').collect();
        let body = stripped.replace("\\text", "").replace("\\mathrm", "").replace("\\mbox", "").replace('{', "");
        if !matches!(body.as_str(), "st" | "nd" | "rd" | "th") {
            return false;
        }
        self.source.at += stripped.chars().count();
        while self.source.peek(0) == Some('}') {
            self.source.at += 1;
        }
        true
    }

    pub(super) fn skip_spaces(&mut self) {
        while self.source.peek(0) == Some(' ') {
            self.source.at += 1;
        }
    }

    fn command(&mut self) -> Result<(), &'static str> {
        self.source.at += 1;
        let Some(first) = self.source.peek(0) else { return Ok(()) };
        if first.is_numeric() {
            return Err("a backslash stands before a number");
        }
        if !first.is_ascii_alphabetic() {
            self.source.at += 1;
            self.escaped(first);
            return Ok(());
        }
        let start = self.source.at;
        while self.source.peek(0).is_some_and(|c| c.is_ascii_alphabetic()) {
            self.source.at += 1;
        }
        let name: String = self.source.chars[start..self.source.at].iter().collect();
        self.named(&name)
    }

    fn escaped(&mut self, symbol: char) {
        match symbol {
            '{' => {
                self.source.open.push(self.source.at);
                self.push(Token::SetOpen);
            }
            '}' => {
                self.source.open.pop();
                self.push(Token::SetClose);
            }
            '\\' => self.push(Token::Row),
            '%' => self.push(Token::Symbol('%')),
            '$' => self.push(Token::Currency("usd".to_owned())),
            '|' => self.push(Token::Symbol('|')),
            '&' => self.push(Token::Word("and".to_owned())),
            '_' => self.push(Token::Symbol('_')),
            _ => self.spaced = true,
        }
    }

    fn named(&mut self, name: &str) -> Result<(), &'static str> {
        match name {
            "begin" | "end" => {
                self.skip_spaces();
                let environment = self.source.braced()?;
                let environment = environment.trim_end_matches('*').to_owned();
                if name == "begin" && environment == "array" {
                    self.skip_spaces();
                    if self.source.peek(0) == Some('{') {
                        self.source.braced()?;
                    }
                }
                self.push(if name == "begin" { Token::Begin(environment) } else { Token::End(environment) });
            }
            "currency" => {
                let unit = self.source.braced()?;
                self.push(Token::Currency(unit));
            }
            "color" | "textcolor" | "hspace" | "vspace" | "phantom" | "hphantom" | "vphantom" | "label" | "tag" => {
                self.skip_spaces();
                if self.source.peek(0) == Some('{') {
                    self.source.braced()?;
                }
                self.spaced = true;
            }
            "mathbb" | "Bbb" => {
                self.skip_spaces();
                let set = if self.source.peek(0) == Some('{') { self.source.braced()? } else { self.take_one() };
                self.push(Token::Command(format!("set {}", set.trim())));
            }
            "operatorname" => {
                self.skip_spaces();
                let inner = if self.source.peek(0) == Some('{') { self.source.braced()? } else { String::new() };
                self.push(names::plain(inner.trim()).unwrap_or(Token::Word(inner)));
            }
            "left" | "right" => {
                self.skip_spaces();
                self.source.at += usize::from(self.source.peek(0) == Some('.'));
            }
            _ if words::is_text_font(name) => return self.roman(name),
            "quad" | "qquad" => {
                self.spaced = true;
                self.separate();
            }
            _ if words::is_style(name) => self.styled(words::is_bold(name)),
            "mathcal" | "mathscr" | "mathfrak" => self.styled(false),
            _ => self.mathematical(name)?,
        }
        Ok(())
    }

    /// A wide space or a new line before another named value separates: `x = 2 \quad y = 5`.
    fn separate(&mut self) {
        let ended = match self.last() {
            Some(Token::Number(..) | Token::Letter(_) | Token::Constant(_) | Token::SetClose) => true,
            Some(Token::Symbol(symbol)) => matches!(symbol, ')' | ']' | '}' | '!' | '%'),
            _ => false,
        };
        let rest: String = self.source.chars[self.source.at..].iter().take(40).collect();
        let depth = self.out.iter().fold(0_i32, |depth, lexeme| match &lexeme.token {
            Token::Begin(_) | Token::SetOpen | Token::Symbol('(' | '[' | '{') => depth + 1,
            Token::End(_) | Token::SetClose | Token::Symbol(')' | ']' | '}') => depth - 1,
            _ => depth,
        });
        if ended && depth == 0 && NAMED.is_match(&rest) {
            self.push(Token::Symbol(','));
        }
    }

    fn take_one(&mut self) -> String {
        let one = self.source.peek(0).map(String::from).unwrap_or_default();
        self.source.at += 1;
        one
    }

    fn mathematical(&mut self, name: &str) -> Result<(), &'static str> {
        // `\quadx` is a wide space and a letter that were run together.
        if let Some(rest) = name.strip_prefix("qquad").or_else(|| name.strip_prefix("quad")) {
            self.source.at -= rest.len();
            self.spaced = true;
            self.separate();
            return Ok(());
        }
        if matches!(
            name,
            "big" | "Big" | "bigg" | "Bigg" | "bigl" | "bigr" | "Bigl" | "Bigr" | "middle" | "biggl" | "biggr"
        ) {
            return Ok(());
        }
        match names::command(name) {
            Some(Token::Symbol(' ')) => self.spaced = true,
            Some(token) => {
                self.push(token);
                if name == "times" {
                    self.mark(Style::Cross);
                }
            }
            None => return Err("a command is not known"),
        }
        Ok(())
    }
}

/// Whether three letters are written as a name is: `Row`.
fn is_name(run: &str) -> bool {
    run.starts_with(|c: char| c.is_ascii_uppercase()) && run[1..].chars().all(|c| c.is_ascii_lowercase())
}
