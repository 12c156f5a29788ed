//! Length: a penalty that rises as a response comes near its limit.

use sapo_datasets::Transcript;

use crate::score::PartScore;

/// When the penalty starts and when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlong {
    /// Tokens at which the penalty is 1; the transcript's own limit when `None`.
    pub max_tokens: Option<usize>,
    /// Over how many tokens before that it rises from 0.
    pub buffer_tokens: usize,
}

/// 0 up to `max - buffer` tokens, 1 from `max` tokens on, a straight line between.
pub fn score(transcript: &Transcript, rule: Overlong) -> PartScore {
    let most = rule.max_tokens.unwrap_or(transcript.token_limit);
    let tokens = transcript.tokens;
    let from = most.saturating_sub(rule.buffer_tokens);
    let value = if tokens >= most {
        1.0
    } else if tokens <= from {
        0.0
    } else {
        (tokens - from) as f64 / (most - from) as f64
    };
    PartScore::value(value, format!("{tokens} tokens, free up to {from} of {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_penalty_rises_over_the_buffer() {
        let value = |tokens| {
            let transcript = Transcript { tokens, token_limit: 100, ..Transcript::of_answer("q", "x") };
            score(&transcript, Overlong { max_tokens: None, buffer_tokens: 20 }).outcome.value().unwrap()
        };
        assert_eq!([value(0), value(80), value(90), value(100), value(500)], [0.0, 0.0, 0.5, 1.0, 1.0]);
        let none = Overlong { max_tokens: Some(0), buffer_tokens: 5 };
        assert_eq!(score(&Transcript::of_answer("q", "x"), none).outcome.value(), Some(1.0));
    }
}
