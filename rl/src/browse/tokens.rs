//! The texts of sampled tokens, each with its log-prob and, where the update's are recorded, its gate.

use std::path::{Path, PathBuf};

use sapo_policies::processor::Tokenizer;
use serde_json::{Value, json};

use crate::gates;

/// Tokens of an answer that are shown one by one.
const TOKENS: usize = 4096;

/// The tokens of a line of `rollouts/`: `[text]` of what was injected, `[text, log-prob]` of what was sampled, and the gate behind
/// it where it is recorded. A character that several tokens make stands at the last of them. `None` where no tokens are
/// recorded, or too many to show.
pub(super) fn tokens(line: &Value, tokenizer: &Tokenizer) -> Option<Vec<Value>> {
    let ids: Vec<u32> = serde_json::from_value(line["tokens"].clone()).ok()?;
    let log_probs: Vec<f64> = serde_json::from_value(line["log_probs"].clone()).ok()?;
    let sampled = sampled(line, ids.len());
    if sampled.iter().filter(|sampled| **sampled).count() != log_probs.len() || ids.len() > TOKENS {
        return None;
    }
    let gates = gates::of_line(line, log_probs.len());
    let mut shown = Vec::with_capacity(ids.len());
    let (mut bytes, mut at): (Vec<u8>, usize) = Default::default();
    for (id, sampled) in ids.iter().zip(sampled) {
        bytes.extend_from_slice(tokenizer.bytes().get(*id));
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text.to_owned(),
            Err(error) if error.error_len().is_none() => String::new(),
            Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
        };
        if !text.is_empty() || bytes.is_empty() {
            bytes.clear();
        }
        shown.push(match (sampled, &gates) {
            (false, _) => json!([text]),
            (true, None) => json!([text, rounded(log_probs[at])]),
            (true, Some(gates)) => json!([text, rounded(log_probs[at]), gates[at]]),
        });
        at += usize::from(sampled);
    }
    Some(shown)
}

/// Which of so many tokens the policy sampled: all, unless turns say that some were injected.
fn sampled(line: &Value, tokens: usize) -> Vec<bool> {
    let turns = line["turns"].as_array().into_iter().flatten();
    let of_turn = |turn: &Value| {
        let count = turn["tokens"].as_u64().and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
        std::iter::repeat_n(turn["sampled"] != false, count.min(tokens))
    };
    let by_turn: Vec<bool> = turns.flat_map(of_turn).collect();
    if by_turn.len() == tokens { by_turn } else { vec![true; tokens] }
}

fn rounded(log_prob: f64) -> f64 {
    (log_prob * 1e4).round() / 1e4
}

/// The tokenizer of the newest checkpoint, if there is one.
pub(crate) fn tokenizer(folder: &Path) -> Option<Tokenizer> {
    let entries = std::fs::read_dir(folder.join("checkpoints")).ok()?.flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path().join("policy/tokenizer.json")).collect();
    paths.push(folder.join("base/tokenizer.json"));
    paths.sort();
    let path = paths.into_iter().rev().find(|path| path.is_file())?;
    Tokenizer::from_bytes(&std::fs::read(path).ok()?, "tokenizer.json").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn injected_tokens_have_no_number_and_sampled_ones_their_own() {
        let turns =
            json!([{"sampled": true, "tokens": 2}, {"sampled": false, "tokens": 1}, {"sampled": true, "tokens": 1}]);
        assert_eq!(sampled(&json!({"turns": turns}), 4), [true, true, false, true]);
        assert_eq!(sampled(&json!({"turns": turns}), 3), [true; 3], "turns that do not add up say nothing");
        assert_eq!(sampled(&json!({}), 2), [true; 2]);
    }
}
