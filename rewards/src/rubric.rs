//! A rubric: how the parts of a score are put together, the same for every query of a phase.

use sapo_datasets::{Query, StopReason, Transcript};
use serde::{Deserialize, Serialize};

use crate::score::{Outcome, PartScore, Score};
use crate::verify::{repeats, strays_from, verify};

/// What a rubric takes off; the `correct` part always counts 1 and alone decides pass or fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RubricConfig {
    /// Taken off when the working or the answer is not in the prompt's language.
    #[serde(default = "half")]
    pub language_penalty: f64,
    /// Taken off when the text says the same over and over.
    #[serde(default)]
    pub repetition_penalty: f64,
}

fn half() -> f64 {
    0.5
}

impl Default for RubricConfig {
    fn default() -> Self {
        Self { language_penalty: half(), repetition_penalty: 0.0 }
    }
}

impl RubricConfig {
    /// Scores one transcript.
    ///
    /// An answer that the token limit cut before it ended is wrong, whatever it says; an engine's error fails the score.
    pub fn score(&self, query: &Query, transcript: &Transcript) -> Score {
        let mut parts = vec![correct(query, transcript)];
        let language = query.columns.get("language").and_then(|language| language.as_str());
        if let Some(language) = language.filter(|_| self.language_penalty != 0.0) {
            let stray = strays_from(language, transcript.reasoning())
                .or_else(|| transcript.answer().and_then(|answer| strays_from(language, answer)));
            parts.push(penalty("language", self.language_penalty, stray));
        }
        if self.repetition_penalty != 0.0 {
            let evidence = repeats(transcript.last_text()).then(|| "the text repeats itself".to_owned());
            parts.push(penalty("repetition", self.repetition_penalty, evidence));
        }
        Score::of(parts)
    }
}

fn correct(query: &Query, transcript: &Transcript) -> PartScore {
    let part = |outcome: Outcome, extracted: Option<&str>, evidence: Option<String>| PartScore {
        name: "correct".to_owned(),
        outcome,
        weight: 1.0,
        extracted: extracted.map(|text| text.trim().to_owned()),
        evidence,
    };
    let answer = transcript.answer();
    match (transcript.stop, &query.ground_truth, answer) {
        (StopReason::Error, _, _) => part(Outcome::Failed("the engine failed".to_owned()), None, None),
        (_, None, _) => part(Outcome::Failed("the query has no ground truth".to_owned()), None, None),
        (StopReason::Length, _, _) => part(Outcome::Value(0.0), answer, Some("cut by the token limit".to_owned())),
        (_, _, None) => part(Outcome::Value(0.0), None, Some("the thinking is not closed".to_owned())),
        (_, Some(truth), Some(answer)) => match verify(truth, answer) {
            Ok((value, evidence)) => part(Outcome::Value(value), Some(answer), Some(evidence)),
            Err(fault) => part(Outcome::Failed(fault), Some(answer), None),
        },
    }
}

fn penalty(name: &str, weight: f64, evidence: Option<String>) -> PartScore {
    let outcome = Outcome::Value(f64::from(u8::from(evidence.is_some())));
    PartScore { name: name.to_owned(), outcome, weight: -weight, extracted: None, evidence }
}

#[cfg(test)]
mod tests {
    use sapo_datasets::synthetic::{self, Style, Task};

    use super::*;

    #[test]
    fn every_demonstration_of_a_reasoning_task_scores_one() {
        for task in Task::REASONING {
            for index in 0..60 {
                for style in [Style::Careful, Style::Hasty] {
                    let shown = synthetic::demonstration(task, 11, index, style);
                    let transcript =
                        Transcript { thinking_open: true, ..Transcript::of_answer(&shown.query.id, &shown.response) };
                    let score = RubricConfig::default().score(&shown.query, &transcript);
                    assert_eq!((score.total, score.passed), (Some(1.0), Some(true)), "{}: {}", task, shown.response);
                }
            }
        }
    }

    #[test]
    fn gold_of_another_query_does_not_pass_and_failures_are_no_zeros() {
        let query = synthetic::query(Task::Arith, sapo_datasets::Split::Train, 1, 0);
        let shown = |text: &str| Transcript { thinking_open: true, ..Transcript::of_answer(&query.id, text) };
        assert_eq!(RubricConfig::default().score(&query, &shown("</think>-1")).passed, Some(false));
        assert_eq!(RubricConfig::default().score(&query, &shown("unclosed 5")).total, Some(0.0));
        let failed = Transcript { stop: StopReason::Error, ..shown("</think>1") };
        let score = RubricConfig::default().score(&query, &failed);
        assert_eq!((score.total, score.passed), (None, None));
    }
}
