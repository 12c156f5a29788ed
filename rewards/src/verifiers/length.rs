//! Length: a penalty that rises as a response comes near its limit.

use sapo_datasets::Transcript;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kind::{Example, Verifier};
use crate::reward::{Item, Role};
use crate::score::PartScore;

/// More tokens than any response has.
const MOST_TOKENS: usize = 1 << 24;

/// A penalty that rises near the length limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Length {
    /// Tokens at which the penalty is full; the request's limit when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Over how many tokens before that it rises.
    pub buffer_tokens: usize,
}

impl Verifier for Length {
    const VERSION: &'static str = "length/1";
    const ROLE: Role = Role::Penalty;

    fn check(&self) -> Result<(), String> {
        let most = self.max_tokens.unwrap_or(MOST_TOKENS);
        if !(1..=MOST_TOKENS).contains(&most) {
            return Err(format!("max_tokens = {most}: it must be in 1..{MOST_TOKENS}"));
        }
        if !(1..=most).contains(&self.buffer_tokens) {
            return Err(format!("buffer_tokens = {}: it must be in 1..{most}", self.buffer_tokens));
        }
        Ok(())
    }

    fn score(&self, item: &Item<'_>) -> PartScore {
        score(item.transcript, *self)
    }

    fn example() -> Example {
        Example::new(Value::Null, "short", 0.0)
    }
}

/// 0 up to `max - buffer` tokens, 1 from `max` tokens on, a straight line between.
pub fn score(transcript: &Transcript, rule: Length) -> PartScore {
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
            score(&transcript, Length { max_tokens: None, buffer_tokens: 20 }).outcome.value().unwrap()
        };
        assert_eq!([value(0), value(80), value(90), value(100), value(500)], [0.0, 0.0, 0.5, 1.0, 1.0]);
        let none = Length { max_tokens: Some(0), buffer_tokens: 5 };
        assert_eq!(score(&Transcript::of_answer("q", "x"), none).outcome.value(), Some(1.0));
    }
}
