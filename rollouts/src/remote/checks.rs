//! Whether an answer can be what it claims, and what of its log-probs is recorded where.

use sapo_datasets::StopReason;

use super::config::ServerLogProbs;
use super::dialect::{Answer, Ask};
use crate::request::Sampling;

/// What an answer must agree with.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    /// Ids of the policy are below this.
    pub(super) vocabulary: usize,
    /// The version of the weights, where a server tells one.
    pub(super) version: Option<String>,
    /// Whether answers come without log-probs.
    pub(super) may_lack_log_probs: bool,
}

/// Why an answer is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Distrust {
    /// The server has other weights than it was given; it can be given them again.
    Stale(String),
    /// The server does not do what it says.
    Lies(String),
}

/// A log-prob is never above 0 but for rounding.
const ROUNDING: f32 = 1e-3;

/// Whether an answer agrees with what was asked, and with itself.
///
/// # Errors
/// When it does not.
pub(super) fn check(ask: &Ask, answer: &Answer, expected: &Expected) -> Result<(), Distrust> {
    if let (Some(wanted), Some(found)) = (&expected.version, &answer.version)
        && wanted != found
    {
        return Err(Distrust::Stale(format!("it answered with weights of version {found}, and was given {wanted}")));
    }
    match fault(ask, answer, expected) {
        Some(reason) => Err(Distrust::Lies(reason)),
        None => Ok(()),
    }
}

fn fault(ask: &Ask, answer: &Answer, expected: &Expected) -> Option<String> {
    if answer.log_probs.is_empty() && expected.may_lack_log_probs {
        // Its ids are how a text is read here, not what the server has sampled: there may be more of them, or none.
        return None;
    }
    if let Some(model) = answer.model.as_ref().filter(|model| **model != ask.model) {
        return Some(format!("it answered as the model `{model}`, and `{}` was asked for", ask.model));
    }
    let prompt = ask.prompt.ids();
    if let Some(read) = answer.prompt_ids.as_ref().filter(|read| **read != prompt) {
        let same = read.iter().zip(&prompt).take_while(|(one, other)| one == other).count();
        let (read, sent) = (read.len(), prompt.len());
        return Some(format!("it read a prompt of {read} tokens where {sent} were sent; token {} differs", same + 1));
    }
    if let Some(read) = answer.prompt_tokens.filter(|read| *read != prompt.len()) {
        return Some(format!("it read a prompt of {read} tokens where {} were sent", prompt.len()));
    }
    let sampled = answer.ids.len();
    if sampled == 0 {
        return Some("it sampled no token".to_owned());
    }
    if sampled > ask.max_tokens {
        return Some(format!("it sampled {sampled} tokens where {} are the limit", ask.max_tokens));
    }
    if let Some(id) = answer.ids.iter().find(|id| usize::try_from(**id).is_ok_and(|id| id >= expected.vocabulary)) {
        return Some(format!("it sampled token {id}, and the policy has {} tokens", expected.vocabulary));
    }
    if let Some(id) = answer.ids.iter().find(|id| ask.banned.contains(id)) {
        return Some(format!("it sampled token {id}, which is banned"));
    }
    if let Some(at) = answer.ids[..sampled - 1].iter().position(|id| ask.stop_ids.contains(id)) {
        return Some(format!("it went on after token {}, which ends an answer", answer.ids[at]));
    }
    if answer.log_probs.len() != sampled {
        return Some(format!("it gave {} log-probs of {sampled} tokens", answer.log_probs.len()));
    }
    let wrong = answer.log_probs.iter().find(|value| !(value.is_finite() && **value <= ROUNDING));
    wrong.map(|value| format!("it gave {value} as a log-prob"))
}

/// The log-probs that a turn records: at the sampling temperature before truncation, and at temperature 1. A list is empty
/// where what the server gives is something else.
pub(super) fn recorded(
    given: ServerLogProbs,
    truncated: bool,
    sampling: &Sampling,
    log_probs: Vec<f32>,
) -> (Vec<f32>, Vec<f32>) {
    let at_one = sampling.logprob_temperature() == 1.0;
    // Penalties and bias are in what servers process; bans are in what is recorded as well.
    let bent = Sampling { banned_ids: Vec::new(), ..sampling.clone() }.changes_logits();
    match given {
        ServerLogProbs::Raw if at_one && sampling.untempered => (log_probs.clone(), log_probs),
        ServerLogProbs::Raw if at_one => (log_probs, Vec::new()),
        ServerLogProbs::Raw => (Vec::new(), log_probs),
        ServerLogProbs::Processed if bent || (truncated && sampling.truncates()) => (Vec::new(), Vec::new()),
        ServerLogProbs::Processed if sampling.untempered && at_one => (log_probs.clone(), log_probs),
        ServerLogProbs::Processed => (log_probs, Vec::new()),
    }
}

/// Why answers sampled so would have no log-probs that a trainer can use, if so.
pub(super) fn untrainable(given: ServerLogProbs, truncated: bool, sampling: &Sampling) -> Option<&'static str> {
    if !recorded(given, truncated, sampling, vec![0.0]).0.is_empty() {
        return None;
    }
    Some(match given {
        ServerLogProbs::Raw => {
            "the servers give log-probs at temperature 1, and training needs those at the sampling temperature: sample at 1, or \
             start vLLM with --logprobs-mode processed_logprobs and set engine.log_probs = \"processed\""
        }
        ServerLogProbs::Processed => {
            "the servers give log-probs after penalties, bias or truncation, and training needs those before: leave these keys \
             out"
        }
    })
}

/// Why the turn ended, by what its last token is: a server may stop at a token of its own.
pub(super) fn stop_of(ask: &Ask, answer: &Answer) -> StopReason {
    let ended = answer.ids.last().is_some_and(|last| ask.stop_ids.contains(last));
    match answer.stop {
        Some(StopReason::Length) if ended => StopReason::Eos,
        Some(stop) => stop,
        None => StopReason::Length,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probs_go_where_they_belong() {
        let of = |given, temperature, more: fn(&mut Sampling)| {
            let mut sampling = Sampling::at(temperature, 4);
            more(&mut sampling);
            let (own, untempered) = recorded(given, true, &sampling, vec![-1.0]);
            (own.len(), untempered.len(), untrainable(given, true, &sampling).is_some())
        };
        use ServerLogProbs::{Processed, Raw};
        let plain = |_: &mut Sampling| {};
        assert_eq!(of(Raw, 1.0, plain), (1, 0, false));
        assert_eq!(of(Raw, 0.0, plain), (1, 0, false), "greedy log-probs are those at temperature 1");
        assert_eq!(of(Raw, 0.7, plain), (0, 1, true), "raw ones are not those of tempered sampling");
        assert_eq!(of(Raw, 1.0, |sampling| sampling.untempered = true), (1, 1, false));
        assert_eq!(of(Raw, 1.0, |sampling| sampling.top_p = 0.9), (1, 0, false), "raw ones know nothing of truncation");
        assert_eq!(of(Processed, 0.7, plain), (1, 0, false));
        assert_eq!(of(Processed, 0.7, |sampling| sampling.top_p = 0.9), (0, 0, true));
        assert_eq!(of(Processed, 1.0, |sampling| sampling.presence_penalty = 0.5), (0, 0, true));
        assert_eq!(of(Processed, 1.0, |sampling| sampling.banned_ids = vec![3]), (1, 0, false));
        // SGLang's are taken before truncation.
        let sampling = Sampling { top_p: 0.9, ..Sampling::at(0.7, 4) };
        assert_eq!(recorded(Processed, false, &sampling, vec![-1.0]), (vec![-1.0], Vec::new()));
    }
}
