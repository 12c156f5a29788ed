//! What a LaTeX command or a plain name stands for.

use super::{
    expression::{Constant, Function, Relation},
    token::Token,
};

/// The token of one letter standing for itself.
pub(super) fn letter(letter: char) -> Token {
    match letter {
        'e' => Token::Constant(Constant::E),
        'i' => Token::Constant(Constant::I),
        c if c.is_alphabetic() => Token::Letter(c.to_string()),
        c => Token::Symbol(c),
    }
}

/// Whether a name is a code module, as in `math.sqrt`.
pub(super) fn is_module(name: &str) -> bool {
    matches!(name, "math" | "np" | "numpy" | "sympy" | "sp" | "cmath" | "scipy" | "special")
}

/// A whole run of letters that has a meaning of its own.
pub(super) fn plain(run: &str) -> Option<Token> {
    let mut chars = run.chars();
    if let (Some(one), None) = (chars.next(), chars.next()) {
        return Some(letter(one));
    }
    if let Some(function) = function(run) {
        return Some(Token::Function(function));
    }
    Some(match run {
        "pi" | "Pi" => Token::Constant(Constant::Pi),
        "infinity" | "Infinity" | "oo" | "inf" | "infty" => Token::Constant(Constant::Infinity),
        "alpha" | "beta" | "gamma" | "delta" | "theta" | "lambda" | "phi" | "omega" | "sigma" | "mu" | "rho"
        | "tau" => Token::Letter(run.to_owned()),
        "cbrt" => Token::Command("cbrt".to_owned()),
        "pow" => Token::Command("pow".to_owned()),
        "Rational" | "Fraction" => Token::Command("rational".to_owned()),
        "union" => Token::Command("cup".to_owned()),
        "DNE" | "NaN" | "nan" | "and" | "or" | "OR" | "AND" | "dne" => Token::Word(run.to_owned()),
        _ => return None,
    })
}

/// The meaning of a word in text mode that is called like a function.
pub(super) fn text_name(run: &str) -> Option<Token> {
    function(run).map(Token::Function)
}

fn function(name: &str) -> Option<Function> {
    Some(match name {
        "sqrt" => Function::Sqrt,
        "exp" => Function::Exp,
        "ln" => Function::Ln,
        "log" | "lg" => Function::Log,
        "sin" => Function::Sin,
        "cos" => Function::Cos,
        "tan" | "tg" => Function::Tan,
        "cot" | "ctg" | "cotan" => Function::Cot,
        "sec" => Function::Sec,
        "csc" | "cosec" => Function::Csc,
        "arcsin" | "asin" => Function::Asin,
        "arccos" | "acos" => Function::Acos,
        "arctan" | "atan" | "arctg" => Function::Atan,
        "arccot" | "acot" => Function::Acot,
        "arcsec" | "asec" => Function::Asec,
        "arccsc" | "acsc" => Function::Acsc,
        "sinh" => Function::Sinh,
        "cosh" => Function::Cosh,
        "tanh" => Function::Tanh,
        "arcsinh" | "asinh" | "arsinh" => Function::Asinh,
        "arccosh" | "acosh" | "arcosh" => Function::Acosh,
        "arctanh" | "atanh" | "artanh" => Function::Atanh,
        "cis" => Function::Cis,
        "abs" | "Abs" | "fabs" => Function::Abs,
        "floor" => Function::Floor,
        "ceil" | "ceiling" => Function::Ceiling,
        "sgn" | "sign" => Function::Sign,
        "factorial" => Function::Factorial,
        "binomial" | "binom" | "comb" | "nCr" | "ncr" => Function::Binomial,
        "perm" | "nPr" | "npr" => Function::Permutation,
        "gcd" | "GCD" | "hcf" | "HCF" => Function::Gcd,
        "lcm" | "LCM" => Function::Lcm,
        "min" => Function::Min,
        "max" => Function::Max,
        "det" => Function::Determinant,
        "Re" => Function::RealPart,
        "Im" => Function::ImaginaryPart,
        "conj" | "conjugate" => Function::Conjugate,
        _ => return None,
    })
}

/// A run such as `sinx` or `xlny`: functions and single letters, where no more than two letters stand together.
pub(super) fn split(run: &str) -> Option<Vec<Token>> {
    const FUNCTIONS: [&str; 15] = [
        "arcsin", "arccos", "arctan", "sqrt", "sinh", "cosh", "tanh", "sin", "cos", "tan", "cot", "sec", "csc", "log",
        "ln",
    ];
    if !run.is_ascii() {
        return None;
    }
    let mut pieces = Vec::new();
    let (mut at, mut loose, mut found) = (0, 0, false);
    while at < run.len() {
        let rest = &run[at..];
        if let Some(name) = FUNCTIONS.into_iter().find(|name| rest.starts_with(name)) {
            pieces.push(Token::Function(function(name)?));
            (at, loose, found) = (at + name.len(), 0, true);
        } else if rest.starts_with("pi") && run.len() <= 4 {
            pieces.push(Token::Constant(Constant::Pi));
            (at, loose, found) = (at + 2, 0, true);
        } else {
            pieces.push(letter(rest.chars().next()?));
            (at, loose) = (at + 1, loose + 1);
        }
        if loose > 2 {
            return None;
        }
    }
    found.then_some(pieces)
}

/// The token of a LaTeX command; a blank symbol where the command only spaces or decorates.
pub(super) fn command(name: &str) -> Option<Token> {
    operation(name).or_else(|| relation(name).map(Token::Relation)).or_else(|| bracket(name)).or_else(|| symbol(name))
}

fn operation(name: &str) -> Option<Token> {
    if let Some(function) = function(name).filter(|_| !matches!(name, "binom" | "abs")) {
        return Some(Token::Function(function));
    }
    Some(match name {
        "frac" | "dfrac" | "tfrac" | "cfrac" | "nicefrac" | "sfrac" | "flatfrac" => Token::Command("frac".to_owned()),
        "over" | "choose" | "pm" | "mp" | "cup" | "cap" | "setminus" | "not" | "sum" | "prod" | "int" | "lim" => {
            Token::Command(name.to_owned())
        }
        "plusmn" => Token::Command("pm".to_owned()),
        "bigcup" => Token::Command("cup".to_owned()),
        "bigcap" => Token::Command("cap".to_owned()),
        "smallsetminus" | "backslash" => Token::Command("setminus".to_owned()),
        "binom" | "dbinom" | "tbinom" => Token::Command("binom".to_owned()),
        "pmod" | "pod" => Token::Command("pmod".to_owned()),
        "bmod" | "mod" => Token::Command("mod".to_owned()),
        "cdot" | "times" | "ast" | "bullet" | "cdotp" => Token::Symbol('*'),
        "div" | "slash" => Token::Symbol('/'),
        "land" | "wedge" => Token::Command("land".to_owned()),
        "lor" | "vee" => Token::Command("lor".to_owned()),
        _ => return None,
    })
}

fn relation(name: &str) -> Option<Relation> {
    Some(match name {
        "le" | "leq" | "leqslant" | "leqq" => Relation::LessEqual,
        "ge" | "geq" | "geqslant" | "geqq" => Relation::GreaterEqual,
        "lt" => Relation::Less,
        "gt" => Relation::Greater,
        "ne" | "neq" => Relation::NotEqual,
        "approx" | "simeq" | "thickapprox" | "approxeq" | "doteq" => Relation::Approximately,
        "equiv" => Relation::Congruent,
        "in" => Relation::Member,
        "to" | "rightarrow" | "longrightarrow" => Relation::Other("to"),
        "Rightarrow" | "implies" => Relation::Other("implies"),
        "iff" | "Leftrightarrow" => Relation::Other("iff"),
        _ => {
            const AS_WRITTEN: [&str; 14] = [
                "notin", "subset", "subseteq", "supset", "supseteq", "sim", "cong", "propto", "perp", "parallel", "ll",
                "gg", "mapsto", "nmid",
            ];
            return AS_WRITTEN.into_iter().find(|own| *own == name).map(Relation::Other);
        }
    })
}

fn bracket(name: &str) -> Option<Token> {
    Some(match name {
        "lbrace" => Token::SetOpen,
        "rbrace" => Token::SetClose,
        "lbrack" => Token::Symbol('['),
        "rbrack" => Token::Symbol(']'),
        "lparen" => Token::Symbol('('),
        "rparen" => Token::Symbol(')'),
        "langle" | "rangle" | "lfloor" | "rfloor" | "lceil" | "rceil" => Token::Command(name.to_owned()),
        "lvert" | "lVert" => Token::Command("lvert".to_owned()),
        "rvert" | "rVert" => Token::Command("rvert".to_owned()),
        "vert" | "Vert" | "mid" => Token::Symbol('|'),
        _ => return None,
    })
}

/// Greek letters, and others that stand for a variable.
const LETTERS: &str = "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu \
                       xi rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi \
                       Psi Omega ell hbar partial nabla";

fn symbol(name: &str) -> Option<Token> {
    if LETTERS.split(' ').any(|letter| letter == name) {
        return Some(Token::Letter(name.strip_prefix("var").unwrap_or(name).to_owned()));
    }
    Some(match name {
        "pi" => Token::Constant(Constant::Pi),
        "infty" => Token::Constant(Constant::Infinity),
        "imath" => Token::Constant(Constant::I),
        "jmath" => Token::Letter("j".to_owned()),
        "emptyset" | "varnothing" => Token::Command("emptyset".to_owned()),
        "R" | "reals" => Token::Command("set R".to_owned()),
        "Z" => Token::Command("set Z".to_owned()),
        "N" => Token::Command("set N".to_owned()),
        "Q" => Token::Command("set Q".to_owned()),
        "ldots" | "dots" | "cdots" | "dotsc" | "dotsb" | "vdots" | "ddots" => Token::Ellipsis,
        "overline" | "bar" => Token::Command("overline".to_owned()),
        "vec" | "overrightarrow" => Token::Command("accent vec".to_owned()),
        "hat" | "widehat" => Token::Command("accent hat".to_owned()),
        "tilde" | "widetilde" => Token::Command("accent tilde".to_owned()),
        "overarc" | "wideparen" => Token::Command("accent arc".to_owned()),
        "dot" | "ddot" | "overleftrightarrow" => Token::Command(format!("accent {name}")),
        "circ" | "degree" | "textdegree" | "degrees" => Token::Symbol('\u{b0}'),
        "prime" => Token::Symbol('\''),
        "colon" => Token::Symbol(':'),
        "percent" | "textpercent" => Token::Symbol('%'),
        "textdollar" | "dollar" => Token::Currency("usd".to_owned()),
        "pounds" | "textsterling" => Token::Currency("gbp".to_owned()),
        "euro" | "texteuro" | "EUR" => Token::Currency("eur".to_owned()),
        "yen" => Token::Currency("yen".to_owned()),
        "top" | "intercal" => Token::Letter("T".to_owned()),
        "cr" | "newline" | "tabularnewline" => Token::Row,
        "angle" | "measuredangle" => Token::Word("angle".to_owned()),
        "triangle" | "bigtriangleup" => Token::Word("triangle".to_owned()),
        "parallelogram" => Token::Word(name.to_owned()),
        "odot" => Token::Word("circle".to_owned()),
        // What spaces, ends a proof or chooses a script; nothing that an answer is made of.
        "therefore" | "because" | "hline" | "thinspace" | "enspace" | "hfill" | "nonumber" | "checkmark" | "square"
        | "blacksquare" | "Box" | "qed" | "strut" | "noindent" | "centering" | "allowbreak" | "relax" | "cal"
        | "mathcal" | "mathscr" | "mathfrak" | "smash" | "medspace" | "negthinspace" | "textsuperscript" | "Large"
        | "mathbin" | "mathrel" | "mathopen" | "mathclose" | "par" => Token::Symbol(' '),
        _ => return None,
    })
}
