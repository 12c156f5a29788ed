//! Prose with mathematics in it: equal when the words are the same and what stands between them has the same value.

use super::{
    doubtful::is_numbered,
    gathered::is_judgement,
    lexer,
    merge::merge,
    parser,
    scalar::Session,
    token::{Lexeme, Token},
    units,
    verdict::Verdict,
    words::keeps_case,
};

/// A piece of prose.
enum Piece {
    Word(String),
    Run(Vec<Lexeme>),
}

/// Longer prose than this is not compared, in pieces.
const MAX_PIECES: usize = 64;

impl Session {
    /// Whether two texts with words say one thing; nothing where that cannot be told.
    pub(super) fn templates(&mut self, gold: &str, prediction: &str) -> Option<Verdict> {
        let (a, b) = (lexer::unmerged(gold).ok()?, lexer::unmerged(prediction).ok()?);
        let has_words = |lexemes: &[Lexeme]| lexemes.iter().any(|lexeme| matches!(lexeme.token, Token::Word(_)));
        if !has_words(&a) || !has_words(&b) {
            return None;
        }
        let whole = self.same_pieces(&pieces(&a), &pieces(&b));
        if whole == Verdict::Equal {
            return Some(whole);
        }
        // Parts that each have words of their own may stand in another order.
        let (a, b) = (parts(&a), parts(&b));
        let judged =
            |part: &Vec<Lexeme>| matches!(&part[..], [Lexeme { token: Token::Word(word), .. }] if is_judgement(word));
        if a.len() < 2 || a.len() != b.len() || a.iter().all(judged) || !a.iter().chain(&b).all(|part| has_words(part))
        {
            return Some(whole);
        }
        Some(self.paired(&a, &b, &mut |session, a, b| session.same_pieces(&pieces(a), &pieces(b))))
    }

    fn same_pieces(&mut self, a: &[Piece], b: &[Piece]) -> Verdict {
        if a.len() != b.len() || a.len() > MAX_PIECES {
            return Verdict::Unknown;
        }
        let mut all = Verdict::Equal;
        for (at, (own, other)) in a.iter().zip(b).enumerate() {
            // Of all that letters name, a ray alone has a first one.
            let ray = at.checked_sub(1).is_some_and(|before| matches!(&a[before], Piece::Word(word) if word == "ray"));
            all = all.and(match (own, other) {
                (Piece::Run(a), Piece::Run(b)) if ray && !are_alike(a, b) => Verdict::Unknown,
                (Piece::Word(a), Piece::Word(b)) if a == b => Verdict::Equal,
                (Piece::Run(a), Piece::Run(b)) => self.same_runs(a, b),
                // Other words may say the same thing.
                _ => Verdict::Unknown,
            });
        }
        all
    }

    fn same_runs(&mut self, a: &[Lexeme], b: &[Lexeme]) -> Verdict {
        if are_alike(a, b) {
            return Verdict::Equal;
        }
        // "3 by 4" beside a word is a size and no product: the order of its sides counts.
        let sized =
            |run: &[Lexeme]| run.iter().all(|lexeme| matches!(lexeme.token, Token::Number(..) | Token::Symbol('*')));
        if sized(a) && sized(b) || is_numbered(a) || is_numbered(b) {
            return Verdict::Unknown;
        }
        let (Ok(a), Ok(b)) = (parser::parse(&merge(a.to_vec()), false), parser::parse(&merge(b.to_vec()), false))
        else {
            return Verdict::Unknown;
        };
        match (self.settle(&a), self.settle(&b)) {
            (Ok(a), Ok(b)) => self.equal(&a, &b),
            _ => Verdict::Unknown,
        }
    }
}

fn are_alike(a: &[Lexeme], b: &[Lexeme]) -> bool {
    a.iter().map(|lexeme| &lexeme.token).eq(b.iter().map(|lexeme| &lexeme.token))
}

/// Words and what stands between them, without articles and full stops.
fn pieces(lexemes: &[Lexeme]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut run = Vec::new();
    let end = |run: &mut Vec<Lexeme>, pieces: &mut Vec<Piece>| {
        while matches!(run.last().map(|last| &last.token), Some(Token::Symbol(',' | ';' | ':'))) {
            run.pop();
        }
        while matches!(run.first().map(|first| &first.token), Some(Token::Symbol(',' | ';'))) {
            run.remove(0);
        }
        if !run.is_empty() {
            pieces.push(Piece::Run(std::mem::take(run)));
        }
    };
    // What a word in front of a bracket is said of ends with it: `Var(X)+Y` is not `Var(X+Y)`.
    let (mut depth, mut applied) = (0_usize, false);
    for lexeme in lexemes {
        match &lexeme.token {
            Token::Symbol('(') => {
                applied |= depth == 0 && run.is_empty() && matches!(pieces.last(), Some(Piece::Word(_)));
                depth += 1;
            }
            Token::Symbol(')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        match &lexeme.token {
            Token::Word(word) => {
                end(&mut run, &mut pieces);
                let word = plain_word(word);
                if !matches!(word.as_str(), "the" | "a" | "an" | "all" | "every" | "each") {
                    pieces.push(Piece::Word(word));
                }
            }
            Token::Symbol('.') => {}
            _ => run.push(lexeme.clone()),
        }
        if applied && depth == 0 {
            end(&mut run, &mut pieces);
            applied = false;
        }
    }
    end(&mut run, &mut pieces);
    // "a necessary but not a sufficient condition"
    if let [.., Piece::Word(before), Piece::Word(last)] = pieces.as_slice()
        && matches!(before.as_str(), "necessary" | "sufficient")
        && matches!(last.as_str(), "condition" | "conditions")
    {
        pieces.pop();
    }
    settled(pieces)
}

/// A word in one spelling.
fn plain_word(word: &str) -> String {
    if units::is_cased(word) || keeps_case(word) {
        return word.to_owned();
    }
    match word.to_lowercase().as_str() {
        "approx" | "about" => "approximately".to_owned(),
        "min" => "minimum".to_owned(),
        "max" => "maximum".to_owned(),
        lower => units::singular(lower),
    }
}

/// The same said in one way: "it is not ..." as "not ...", "n is odd" as "odd n", "to the left" as "left".
fn settled(mut pieces: Vec<Piece>) -> Vec<Piece> {
    let is = |piece: Option<&Piece>, words: &[&str]| matches!(piece, Some(Piece::Word(own)) if words.contains(&own.as_str()));
    if is(pieces.first(), &["it", "they", "this", "that"]) && is(pieces.get(1), &["is", "are"]) {
        pieces.remove(0);
    }
    if is(pieces.first(), &["is", "are"]) {
        pieces.remove(0);
    }
    let mut at = 1;
    while at < pieces.len() {
        let before = &pieces[at - 1];
        if is(Some(before), &["to"]) && is(pieces.get(at), &["left", "right", "north", "south", "east", "west"])
            || is(Some(before), &["for"]) && is(pieces.get(at), &["some"])
            || is(Some(before), &["at"]) && at > 1 && matches!(pieces.get(at), Some(Piece::Run(_)))
        {
            pieces.remove(at - 1);
        } else if is(Some(before), &["prime", "real", "rational", "natural", "whole", "complex"])
            && is(pieces.get(at), &["number"])
        {
            pieces.remove(at);
        } else {
            at += 1;
        }
    }
    for piece in &mut pieces {
        if let Piece::Word(word) = piece
            && matches!(word.as_str(), "where" | "with")
        {
            "some".clone_into(word);
        }
    }
    const KINDS: [&str; 6] = ["odd", "even", "prime", "composite", "positive", "negative"];
    let turned = matches!(pieces.as_slice(), [Piece::Run(_), .., kind] if is(Some(kind), &KINDS))
        && (pieces.len() == 2 || pieces.len() == 3 && is(pieces.get(1), &["is", "are"]));
    if turned {
        pieces.rotate_right(1);
        pieces.truncate(2);
    }
    pieces
}

/// What stands between commas outside brackets.
fn parts(lexemes: &[Lexeme]) -> Vec<Vec<Lexeme>> {
    let mut depth = 0_usize;
    let mut parts = vec![Vec::new()];
    for lexeme in lexemes {
        match &lexeme.token {
            Token::Symbol('(' | '[' | '{') | Token::SetOpen => depth += 1,
            Token::Symbol(')' | ']' | '}') | Token::SetClose => depth = depth.saturating_sub(1),
            _ => {}
        }
        let separates = match &lexeme.token {
            Token::Symbol(',' | ';') => true,
            Token::Word(word) => word.eq_ignore_ascii_case("and"),
            _ => false,
        };
        if separates && depth == 0 {
            parts.push(Vec::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(lexeme.clone());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}
