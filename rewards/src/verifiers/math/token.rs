//! The smallest units of an answer.

use dashu::rational::RBig;

use super::expression::{Clock, Constant, Function, Relation};

/// The smallest unit of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A value, and whether it is a plain run of digits (so that `1 3/4` can be a mixed number).
    Number(RBig, bool),
    Letter(String),
    Word(String),
    Function(Function),
    Constant(Constant),
    Relation(Relation),
    Command(String),
    Begin(String),
    End(String),
    Currency(String),
    Clock(Clock),
    Radix {
        digits: String,
        base: u32,
    },
    Symbol(char),
    SetOpen,
    SetClose,
    Row,
    Ellipsis,
}

/// A token with what stood around it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    /// Whether space came before it.
    pub(super) spaced: bool,
    /// Whether it stood inside `\text{...}` or the like.
    pub(super) text: bool,
    pub(super) style: Style,
}

/// How a token was written, where that may change what it means beside others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    /// A bold letter, as vectors are written.
    Bold,
    /// A product sign that is a cross, and no dot.
    Cross,
}
