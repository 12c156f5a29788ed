//! What is held against a query, one stage after the other: each looks only at what the one before has left.

use std::ops::Range;
use std::sync::Arc;

use sapo_datasets::{Query, Transcript};
use sapo_rewards::check::answer_of_truth;
use sapo_rewards::{FailureKind, Scored};

use super::answers::{Answers, Wanted, ask};
use super::{Case, Curate};
use crate::curation::{
    Blind, Curation, Decision, DropRule, Filtered, QueryRule, Response, blind_samples, choices_of, decide, guessed,
    without_pictures,
};
use crate::data;
use crate::encode::encode;
use crate::error::Result;
use crate::ledger::LedgerEntry;
use crate::run::Run;
use crate::sample::{ScoredGroup, ScoredRollout};

/// The word, in the ledger, for answers without pictures.
const BLIND: &str = "without_pictures";

impl Curate {
    /// Reads and encodes rows; what cannot be used has a record that says why.
    pub(super) fn read(&self, run: &Run<'_>, part: usize, rows: Range<u64>) -> Vec<Case> {
        let dataset = &self.datasets[part];
        let read = |index: u64| {
            let mut record = Curation { source: dataset.name().to_owned(), index, ..Curation::default() };
            let prompt = match data::prompt(&run.processor, dataset, part, index) {
                Ok(prompt) => {
                    record.query_id.clone_from(&prompt.query.id);
                    record.task.clone_from(&prompt.query.task);
                    record.dropped_pictures = prompt.input.dropped_pictures();
                    Some(prompt)
                }
                Err(error) => {
                    dataset.task().unwrap_or(dataset.name()).clone_into(&mut record.task);
                    record.settle(Decision::Unusable, error.to_string());
                    None
                }
            };
            Case { record, prompt, entries: Vec::new() }
        };
        rows.map(read).collect()
    }

    /// Rules on the query itself, and what a stronger policy never solved.
    pub(super) fn by_rules(&self, run: &Run<'_>, cases: &mut [Case]) -> Result<()> {
        for case in cases.iter_mut().filter(|case| case.is_open()) {
            let Some(prompt) = &case.prompt else { continue };
            if let Some(known) = self.stronger.get(&prompt.query.id)
                && DropRule::is_hopeless(known.passed, known.scored)
            {
                let reason = format!("stronger: the stronger policy passed 0 of {}", known.scored);
                case.record.settle(Decision::DroppedNeverSolved, reason);
                continue;
            }
            let found = self.config.query_rules.iter().find_map(|rule| Some((rule, rule.objection(&prompt.query)?)));
            if let Some((rule, reason)) = found {
                let rule = serde_json::to_value(rule).unwrap_or_default();
                let reason = format!("{}: {reason}", rule.as_str().unwrap_or_default());
                case.record.settle(Decision::DroppedByFilter, reason);
            }
        }
        if self.config.query_rules.contains(&QueryRule::UnreadableGroundTruth) {
            self.by_readable_truth(run, cases)?;
        }
        Ok(())
    }

    /// Asks the query's own rubric whether it can read the ground truth.
    fn by_readable_truth(&self, run: &Run<'_>, cases: &mut [Case]) -> Result<()> {
        let pending: Vec<_> = cases
            .iter()
            .enumerate()
            .filter(|(_, case)| case.is_open())
            .filter_map(|(at, case)| Some((at, case.prompt.as_ref()?)))
            .map(|(at, prompt)| {
                let rubric = run.rewards.of_row(prompt, &self.rubrics)?;
                // A judge reads anything, and is not asked for nothing.
                let start = || run.rewards.start(&rubric, Arc::clone(&prompt.query), truth_as_answer(&prompt.query));
                Ok((at, (!rubric.asks_others()).then(start)))
            })
            .collect::<Result<_>>()?;
        for (at, score) in pending.into_iter().filter_map(|(at, score)| Some((at, score?))) {
            let Scored { score, .. } = run.rewards.finish(score)?;
            if let Some((part, FailureKind::GroundTruth, message)) = score.failure() {
                let reason = format!("unreadable_ground_truth: {part}: {message}");
                cases[at].record.settle(Decision::DroppedByFilter, reason);
            }
        }
        Ok(())
    }

    /// Rubrics that score the query itself.
    pub(super) fn by_filters(&self, run: &Run<'_>, cases: &mut [Case]) -> Result<()> {
        for (number, (filter, rubric)) in self.config.query_filters.iter().zip(&self.filters).enumerate() {
            let open: Vec<(usize, Arc<Query>)> = open_queries(cases);
            let pending: Vec<_> = open
                .into_iter()
                .map(|(at, query)| {
                    let transcript = truth_as_answer(&query);
                    (at, run.rewards.start(rubric, Arc::clone(&query), transcript.clone()), query, transcript)
                })
                .collect();
            for (at, score, query, transcript) in pending {
                let scored = run.rewards.finish(score)?;
                let case = &mut cases[at];
                case.entries.push(LedgerEntry::of_other(&query, &transcript, ("query", number), &scored));
                let correct = scored.score.part(sapo_rewards::score::CORRECT).map(|part| &part.score);
                let value = correct.and_then(|part| part.outcome.value());
                if let Some(value) = value.filter(|value| *value < filter.at_least) {
                    let said = correct.and_then(|part| part.evidence.as_deref()).unwrap_or_default();
                    let reason = format!("{}: {value} is below {} ({said})", filter.rubric, filter.at_least);
                    case.record.settle(Decision::DroppedByFilter, reason);
                }
                let filtered = Filtered { rubric: filter.rubric.clone(), value, at_least: filter.at_least };
                case.record.filters.push(filtered);
            }
        }
        Ok(())
    }

    /// The response that the data have, where it is to be imitated.
    pub(super) fn by_own_response(&self, run: &Run<'_>, cases: &mut [Case]) -> Result<()> {
        if !self.config.filters_responses() || self.config.keep_responses > 0 {
            return Ok(());
        }
        let mut pending = Vec::new();
        for (at, case) in cases.iter_mut().enumerate().filter(|(_, case)| case.is_open()) {
            let Some(prompt) = &case.prompt else { continue };
            let Some(text) = &prompt.response else {
                case.record.settle(Decision::DroppedResponses, "response: the row has none");
                continue;
            };
            let thinking_open = run.processor.thinking_open();
            let transcript = Transcript { thinking_open, ..Transcript::of_answer(&prompt.query.id, text) };
            let rubric = run.rewards.of_row(prompt, &self.rubrics)?;
            let query = Arc::clone(&prompt.query);
            pending.push((at, run.rewards.start(&rubric, Arc::clone(&query), transcript.clone()), query, transcript));
        }
        for (at, score, query, transcript) in pending {
            let scored = run.rewards.finish(score)?;
            let case = &mut cases[at];
            case.entries.push(LedgerEntry::of_other(&query, &transcript, ("response", 0), &scored));
            let reason = self.objection(run, &transcript, &scored.score)?;
            if let Some(reason) = &reason {
                case.record.settle(Decision::DroppedResponses, reason);
            }
            case.record.responses.push(Response { sample: None, reason, text: None });
        }
        Ok(())
    }

    /// Why a response is not to be imitated.
    fn objection(&self, run: &Run<'_>, said: &Transcript, score: &sapo_rewards::Score) -> Result<Option<String>> {
        if let Some(reason) = self.config.response_filters.iter().find_map(|limit| limit.objection(score)) {
            return Ok(Some(reason));
        }
        match self.config.guess_below.filter(|_| score.passed == Some(true)) {
            Some(least) => Ok(guessed(said, run.processor.tokenizer().encode(said.reasoning())?.len(), least)),
            None => Ok(None),
        }
    }

    /// Queries with pictures, asked without them.
    pub(super) fn by_blind_answers(&self, run: &Run<'_>, cases: &mut [Case]) -> Result<()> {
        let Some(config) = &self.config.without_pictures else { return Ok(()) };
        let by = self.blind_by.as_ref().unwrap_or(&self.by);
        let generator = by.generator(run);
        let place = format!("{}:{BLIND}", self.name);
        let (mut wanted, mut asked) = (Vec::new(), Vec::new());
        for (at, case) in cases.iter_mut().enumerate().filter(|(_, case)| case.is_open()) {
            let Some(prompt) = &case.prompt else { continue };
            let Some(blind) = without_pictures(&prompt.query) else { continue };
            let choices = choices_of(&prompt.query, config.choices);
            match (by, &generator) {
                (Answers::Record(known), _) => {
                    let known = known.get(&prompt.query.id).and_then(|record| record.without_pictures.as_ref());
                    let blind = known.map(|known| Blind::of(known.outcomes.clone(), choices)).unwrap_or_default();
                    self.judge_blind(case, blind);
                }
                (_, Some(generator)) => match encode(generator.processor, &blind) {
                    Ok(input) => {
                        let mut sampling = self.config.sampling.clone();
                        sampling.temperature = config.temperature;
                        sampling.max_new_tokens = config.max_new_tokens.unwrap_or(sampling.max_new_tokens);
                        let samples = 0..blind_samples(config.samples, choices);
                        wanted.push(Wanted { prompt: prompt.clone(), input, samples, place: &place, sampling });
                        asked.push((at, choices));
                    }
                    Err(error) => case.record.settle(Decision::Unusable, error.to_string()),
                },
                (_, None) => {}
            }
        }
        let Some(generator) = generator else { return Ok(()) };
        for ((at, choices), group) in asked.into_iter().zip(ask(generator, run, &self.rubrics, wanted)?) {
            match group {
                Ok(group) => {
                    let case = &mut cases[at];
                    case.entries.extend(entries(&group).map(|entry| entry.scored(BLIND)));
                    self.judge_blind(case, Blind::of(outcomes(&group.rollouts), choices));
                }
                Err(reason) => cases[at].record.settle(Decision::Unusable, format!("without pictures: {reason}")),
            }
        }
        Ok(())
    }

    fn judge_blind(&self, case: &mut Case, blind: Blind) {
        if blind.is_solved() {
            case.record.settle(Decision::DroppedWithoutPictures, format!("without pictures: {}", blind.words()));
        }
        case.record.without_pictures = Some(blind);
    }

    /// The pass rate: samples of the query as it stands, or the outcomes of a record.
    pub(super) fn by_samples(&self, run: &Run<'_>, cases: &mut [Case]) -> Result<()> {
        let open: Vec<usize> = open_queries(cases).into_iter().map(|(at, _)| at).collect();
        match (&self.by, self.by.generator(run)) {
            (Answers::Record(known), _) => {
                for at in open {
                    let case = &mut cases[at];
                    match known.get(&case.record.query_id).filter(|known| !known.outcomes.is_empty()) {
                        Some(known) => {
                            case.record.set_outcomes(known.outcomes.clone());
                            case.record.stopped = known.stopped;
                            self.decide(&mut case.record);
                        }
                        None => case.record.settle(Decision::Undecided, "record: it has no samples of this query"),
                    }
                }
                Ok(())
            }
            (_, Some(generator)) if self.config.samples > 0 => self.sample(generator, run, cases, open),
            _ => Ok(()),
        }
    }

    /// Samples in rounds; a query whose decision stands is sampled no further.
    fn sample(
        &self,
        generator: crate::sample::Generator<'_>,
        run: &Run<'_>,
        cases: &mut [Case],
        mut open: Vec<usize>,
    ) -> Result<()> {
        let samples = self.config.samples;
        let round = self.config.sequential.map_or(samples, |sequential| sequential.round);
        let mut rollouts: Vec<Vec<ScoredRollout>> = cases.iter().map(|_| Vec::new()).collect();
        for start in (0..samples).step_by(round) {
            let end = samples.min(start + round);
            let (mut wanted, mut asked) = (Vec::new(), Vec::new());
            for at in open.drain(..) {
                let Some(prompt) = cases[at].prompt.clone() else { continue };
                let input = match &self.by {
                    Answers::Policy => Ok(prompt.input.clone()),
                    _ => encode(generator.processor, &prompt.query),
                };
                match input {
                    Ok(input) => {
                        let (place, sampling) = (self.name.as_str(), self.config.sampling.clone());
                        wanted.push(Wanted { prompt, input, samples: start..end, place, sampling });
                        asked.push(at);
                    }
                    Err(error) => cases[at].record.settle(Decision::Unusable, error.to_string()),
                }
            }
            for (at, group) in asked.into_iter().zip(ask(generator, run, &self.rubrics, wanted)?) {
                match group {
                    Ok(group) => {
                        cases[at].entries.extend(entries(&group));
                        rollouts[at].extend(group.rollouts);
                        cases[at].record.set_outcomes(outcomes(&rollouts[at]));
                        if end == samples || self.stop(&mut cases[at].record, samples - end) {
                            self.decide(&mut cases[at].record);
                        } else {
                            open.push(at);
                        }
                    }
                    Err(reason) => cases[at].record.settle(Decision::Unusable, reason),
                }
            }
        }
        for (case, rollouts) in cases.iter_mut().zip(rollouts).filter(|(_, rollouts)| !rollouts.is_empty()) {
            self.keep_responses(run, &mut case.record, &rollouts)?;
        }
        Ok(())
    }

    /// Whether a query needs no further sample; then the record says why, and has its decision.
    fn stop(&self, record: &mut Curation, left: usize) -> bool {
        let Some(sequential) = &self.config.sequential else { return false };
        if decide(record.passed, record.scored, record.outcomes.len(), &self.config.drop) == Decision::Undecided {
            return false;
        }
        let stopped = sequential.stop(record.passed, record.scored, left, &self.config.drop);
        if let Some((decision, why)) = stopped {
            (record.decision, record.stopped) = (decision, Some(why));
        }
        stopped.is_some()
    }

    /// The decision by pass rate, with its reason.
    fn decide(&self, record: &mut Curation) {
        let (passed, scored) = (record.passed, record.scored);
        if record.stopped.is_none() {
            record.decision = decide(passed, scored, record.outcomes.len(), &self.config.drop);
        }
        record.reason = match record.decision {
            Decision::DroppedTooEasy | Decision::DroppedNeverSolved => Some(format!("pass rate: {passed} of {scored}")),
            Decision::Undecided => Some(format!("scores: {scored} of {} samples have one", record.outcomes.len())),
            _ => None,
        };
    }

    /// Keeps sampled responses of a query as demonstrations.
    fn keep_responses(&self, run: &Run<'_>, record: &mut Curation, rollouts: &[ScoredRollout]) -> Result<()> {
        if self.config.keep_responses == 0 || !record.is_kept() {
            return Ok(());
        }
        let mut kept = 0;
        for scored in rollouts {
            if kept == self.config.keep_responses {
                break;
            }
            let wrong = || (scored.score.passed != Some(true)).then(|| "correct: the answer does not pass".to_owned());
            let reason = match wrong() {
                Some(reason) => Some(reason),
                None => self.objection(run, &scored.transcript, &scored.score)?,
            };
            kept += usize::from(reason.is_none());
            let text = reason.is_none().then(|| scored.text());
            record.responses.push(Response { sample: Some(scored.rollout.sample), reason, text });
        }
        if kept == 0 {
            let first = record.responses.first().and_then(|response| response.reason.clone()).unwrap_or_default();
            record.settle(Decision::DroppedResponses, first);
        }
        Ok(())
    }

    /// What is left undecided when all was asked: a filter that could not tell.
    pub(super) fn settle(&self, record: &mut Curation) {
        let silent = record.filters.iter().find(|filter| filter.value.is_none());
        if let (Decision::Kept, Some(filter)) = (record.decision, silent) {
            let reason = format!("{}: could not tell", filter.rubric);
            record.settle(Decision::Undecided, reason);
        }
    }
}

fn open_queries(cases: &[Case]) -> Vec<(usize, Arc<Query>)> {
    let open = cases.iter().enumerate().filter(|(_, case)| case.is_open());
    open.filter_map(|(at, case)| Some((at, Arc::clone(&case.prompt.as_ref()?.query)))).collect()
}

fn outcomes(rollouts: &[ScoredRollout]) -> Vec<Option<u8>> {
    rollouts.iter().map(|rollout| rollout.score.passed.map(u8::from)).collect()
}

fn entries(group: &ScoredGroup) -> impl Iterator<Item = LedgerEntry> {
    group.rollouts.iter().map(|rollout| LedgerEntry::of(&group.prompt.query, rollout, false))
}

/// The ground truth as if it were the answer: what a rule on a query is shown.
fn truth_as_answer(query: &Query) -> Transcript {
    Transcript::of_answer(&query.id, answer_of_truth(query).unwrap_or_default())
}
