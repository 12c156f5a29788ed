//! The sum of a score: gates close parts, silence is paid, the total is clipped and shaped by length; all of it is in the
//! record.

use sapo_datasets::Transcript;

use super::config::{GateConfig, OverlongConfig};
use super::{OVERLONG, RewardPart, Rubric};
use crate::extract;
use crate::score::{FailureKind, Outcome, PartScore, Score, WeightedPart};
use crate::verifiers::length::{self, Length};

impl Rubric {
    /// Adds up what the rewards gave for one transcript; `outer` holds a score for each gate with a reward of its own.
    pub(super) fn sum(&self, transcript: &Transcript, given: Vec<PartScore>, outer: &[&PartScore]) -> Score {
        let weighted = |(part, score): (&RewardPart, PartScore)| WeightedPart {
            name: part.name.clone(),
            weight: part.weight,
            score: clipped(score, part.clip),
        };
        let mut parts: Vec<WeightedPart> = self.parts.iter().zip(given).map(weighted).collect();
        let broken = self.close_gates(&mut parts, outer);
        if is_blank(extract::answer(transcript).unwrap_or_else(|| transcript.reasoning())) {
            self.without_answer(&mut parts, is_silent(transcript));
        }
        parts.extend(broken);
        let skips = parts.iter().filter_map(|part| match &part.score.outcome {
            Outcome::Skip(reason) => Some(format!("`{}`: {reason}", part.name)),
            _ => None,
        });
        let skips: Vec<String> = skips.collect();
        if skips.len() == parts.len() {
            let reason = format!("no part of the rubric applies: {}", skips.join("; "));
            let score = PartScore::failed(FailureKind::Empty, reason);
            parts.push(WeightedPart { name: "rubric".to_owned(), weight: 0.0, score });
        }
        let score = Score::of(parts);
        match score.total {
            Some(total) => self.shaped(transcript, score, total),
            None => score,
        }
    }

    /// Takes the weight of parts behind closed gates away. A gate whose reward failed is given back as a failed part.
    fn close_gates(&self, parts: &mut [WeightedPart], outer: &[&PartScore]) -> Option<WeightedPart> {
        let mut outer = outer.iter();
        let mut broken = None;
        let mut closed: Vec<(&GateConfig, f64)> = Vec::new();
        for gate in &self.gates {
            let config = &gate.config;
            let score = match gate.reward {
                Some(_) => outer.next().copied(),
                None => parts.iter().find(|part| part.name == config.reward).map(|part| &part.score),
            };
            match score.map(|score| &score.outcome) {
                Some(Outcome::Value(value)) if *value < config.min => closed.push((config, *value)),
                Some(Outcome::Failed { kind, message }) => {
                    let score = PartScore::failed(*kind, message.clone());
                    broken = Some(WeightedPart { name: format!("gate {}", config.reward), weight: 0.0, score });
                }
                _ => {}
            }
        }
        // Only now, so that a gate sees the parts as the rewards gave them.
        for (config, value) in closed {
            for part in parts.iter_mut().filter(|part| config.parts.contains(&part.name)) {
                part.weight = 0.0;
                let evidence = part.score.evidence.take().unwrap_or_default();
                let reason = format!("{} is {value}, below {}", config.reward, config.min);
                part.score.evidence = Some(format!("{evidence}; adds nothing: {reason}"));
            }
        }
        broken
    }

    /// A reply without an answer: no extra, and every penalty in full when it is silent.
    fn without_answer(&self, parts: &mut [WeightedPart], silent: bool) {
        for (part, own) in parts.iter_mut().zip(&self.parts).skip(1) {
            if part.score.outcome.value().is_none() {
                continue;
            }
            if own.weight > 0.0 {
                part.weight = 0.0;
                part.score.evidence = Some("adds nothing: there is no answer".to_owned());
            } else if silent {
                let whole = own.clip.map_or(own.reward.spec().range.1, |[_, greatest]| greatest);
                part.score = PartScore::value(whole, "nothing is said: the whole penalty");
            }
        }
    }

    /// What is put right and taken off afterwards are parts too, so that the total is the sum of the record.
    fn shaped(&self, transcript: &Transcript, score: Score, total: f64) -> Score {
        let mut parts = score.parts;
        let clipped = self.clip.map(|[least, greatest]| total.clamp(least, greatest));
        if let Some(clipped) = clipped.filter(|sum| *sum != total) {
            let score = PartScore::value(clipped - total, format!("the sum {total} is clipped to {clipped}"));
            parts.push(WeightedPart { name: "clip".to_owned(), weight: 1.0, score });
        }
        if let Some(rule) = &self.overlong {
            parts.push(overlong(rule, transcript, score.passed));
        }
        Score::of(parts)
    }
}

fn overlong(rule: &OverlongConfig, transcript: &Transcript, passed: Option<bool>) -> WeightedPart {
    let score = if rule.correct_only && passed != Some(true) {
        PartScore::skip("only right answers are shaped by their length")
    } else if is_silent(transcript) {
        PartScore::value(1.0, "nothing is said: the whole penalty")
    } else {
        length::score(transcript, Length { max_tokens: rule.max_tokens, buffer_tokens: rule.buffer_tokens })
    };
    WeightedPart { name: OVERLONG.to_owned(), weight: -rule.weight, score }
}

/// Whether a reply says nothing at all, neither in its thinking nor after it.
fn is_silent(transcript: &Transcript) -> bool {
    is_blank(extract::answer(transcript).unwrap_or_default()) && is_blank(transcript.reasoning())
}

fn is_blank(text: &str) -> bool {
    !text.chars().any(|letter| !letter.is_whitespace() && !letter.is_control() && !extract::is_invisible(letter))
}

fn clipped(mut score: PartScore, clip: Option<[f64; 2]>) -> PartScore {
    let (Some(value), Some([least, greatest])) = (score.outcome.value(), clip) else { return score };
    let kept = value.clamp(least, greatest);
    if kept != value {
        score.outcome = Outcome::Value(kept);
        score.evidence = Some(format!("{}; {value} is clipped to {kept}", score.evidence.unwrap_or_default()));
    }
    score
}
