//! Prompts to scored groups: the engine samples, and every rollout is scored as soon as it ends, while others are still
//! being sampled.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sapo_datasets::Transcript;
use sapo_policies::processor::Processor;
use sapo_policies::{Model, Policy};
use sapo_rewards::{RewardCall, Score, Scored, ledger};
use sapo_rollouts::{Engine, Event, LocalEngine, Request, Rollout, Sampling, seed_of, transcript};

use crate::data::{Prompt, Rejected};
use crate::error::{Result, RunError};
use crate::finite::{NotFinite, Watch};
use crate::score::{Pending, ReadyRubric, Rewards};

/// A rollout with its score.
#[derive(Clone, Debug)]
pub struct ScoredRollout {
    /// The token record.
    pub rollout: Rollout,
    /// What was said, as rewards saw it.
    pub transcript: Transcript,
    /// The score.
    pub score: Score,
    /// Which reward gave what, and how long it took.
    pub calls: Vec<RewardCall>,
    /// Digest of what was scored.
    pub input: String,
    /// Log-prob of each sampled token by the reference that a KL is measured from; empty where there is none.
    pub reference: Vec<f32>,
    /// By the trainer, where it corrects those of the engine; empty where it does not.
    pub trainer: Vec<f32>,
}

impl ScoredRollout {
    /// Whether there is reasoning before the answer.
    pub fn reasoned(&self) -> bool {
        !self.transcript.reasoning().trim().is_empty()
    }

    /// What the policy said, all its turns joined.
    pub fn text(&self) -> String {
        self.transcript.turns.iter().map(|turn| turn.text.as_str()).collect()
    }
}

/// The rollouts of one query, in the order of their samples.
#[derive(Clone)]
pub struct ScoredGroup {
    /// What was asked.
    pub prompt: Prompt,
    /// What it was scored by.
    pub rubric: ReadyRubric,
    /// What came back.
    pub rollouts: Vec<ScoredRollout>,
}

impl ScoredGroup {
    /// The samples that passed, and those that were scored.
    pub fn passed(&self) -> (usize, usize) {
        let verdicts = self.rollouts.iter().filter_map(|rollout| rollout.score.passed);
        verdicts.fold((0, 0), |(passed, scored), verdict| (passed + usize::from(verdict), scored + 1))
    }
}

/// A request that the engine could not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRequest {
    /// Its place among the requests.
    pub request: usize,
    /// The query.
    pub query_id: String,
    /// Its number in its source.
    pub index: u64,
    /// Why.
    pub reason: String,
}

impl FailedRequest {
    /// The query as a row of its source that could not be used.
    pub fn of(self, source: &str) -> Rejected {
        let reason = format!("query `{}`: {}", self.query_id, self.reason);
        Rejected { source: source.to_owned(), index: self.index, reason }
    }
}

/// Where samples are taken, which their seeds depend on, and how.
#[derive(Clone, Copy, Debug)]
pub struct SeedScope<'a> {
    /// The run's or the evaluation's seed.
    pub seed: u64,
    /// The phase and step, or the evaluation.
    pub place: &'a str,
    /// Samples of each query.
    pub samples: usize,
}

/// Whether a seed, whose bits are all even since it is a digest, falls into a share of all.
pub fn is_drawn(seed: u64, share: f64) -> bool {
    // As many bits as a double holds exactly: the chance is the share, and 1 is always.
    ((seed >> 11) as f64) < share * (1_u64 << 53) as f64
}

/// What samples and scores.
#[derive(Clone, Copy)]
pub struct Generator<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// What turns tokens into text.
    pub processor: &'a Processor,
    /// What samples.
    pub engine: &'a dyn Engine,
    /// What scores.
    pub rewards: &'a Rewards,
}

/// The engine that samples with a policy on this machine; the one place where it is made.
pub fn local_engine(model: &Model, decode_rows: usize, cache_mib: usize) -> LocalEngine {
    LocalEngine::new(model.processor.stop_ids(), decode_rows)
        .reading(Arc::clone(&model.processor))
        .with_cache_bytes(cache_mib << 20)
}

/// How far a sampling is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Rollouts that have ended.
    pub rollouts: usize,
    /// Groups all of whose rollouts have ended.
    pub groups: usize,
}

/// Hears how far a sampling is, and says whether it is to go on.
pub type OnEnded<'a> = &'a mut dyn FnMut(Ended) -> ControlFlow<()>;

/// Hears of a group that is whole and scored, by the place of its request; an error ends the sampling.
pub type OnWhole<'a> = &'a mut dyn FnMut(usize, &ScoredGroup) -> Result<()>;

/// What a sampling came to.
pub struct Sampled {
    /// Groups that are whole, in the order of their prompts.
    pub groups: Vec<ScoredGroup>,
    /// Requests that the engine could not answer.
    pub failed: Vec<FailedRequest>,
    /// Groups that were given up because the sampling was broken off before they were whole.
    pub stopped_groups: usize,
    /// Rollouts of theirs that had ended, and were scored in vain.
    pub stopped_rollouts: usize,
    /// What it was waited for.
    pub waited: Waited,
}

/// How long was waited for what others do; the rest of the time is this program's own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Waited {
    /// For the engine's answers.
    pub engine: Duration,
    /// For rewards, beyond that.
    pub rewards: Duration,
}

impl std::ops::AddAssign for Waited {
    fn add_assign(&mut self, other: Self) {
        self.engine += other.engine;
        self.rewards += other.rewards;
    }
}

/// A rollout whose score is on its way.
struct Open {
    rollout: Rollout,
    transcript: Transcript,
    score: Pending,
}

impl Generator<'_> {
    /// Samples answers to prompts and scores them; `rubrics` are those of the sources that prompts come from. When `ended`
    /// breaks off, groups that are not whole are given up.
    ///
    /// # Errors
    /// When the engine fails as a whole, or a reward died.
    pub fn sample_and_score(
        &self,
        prompts: Vec<Prompt>,
        sampling: &Sampling,
        scope: SeedScope<'_>,
        rubrics: &[ReadyRubric],
        ended: OnEnded<'_>,
    ) -> Result<Sampled> {
        let requests = prompts.iter().map(|prompt| request(prompt, sampling, scope)).collect();
        self.answer_and_score(prompts, requests, rubrics, ended)
    }

    /// As [`Generator::sample_and_score`], with a request for each prompt: what is answered is the request's own input, and
    /// it is scored as an answer to the prompt's query.
    ///
    /// # Errors
    /// When the engine fails as a whole, or a reward died.
    pub fn answer_and_score(
        &self,
        prompts: Vec<Prompt>,
        requests: Vec<Request>,
        rubrics: &[ReadyRubric],
        ended: OnEnded<'_>,
    ) -> Result<Sampled> {
        self.answer_and_tell(prompts, &requests, rubrics, ended, None)
    }

    /// As [`Generator::answer_and_score`]; `whole` hears of each group, by the place of its request, as soon as all its
    /// rollouts have ended and are scored, while others are still being sampled.
    ///
    /// # Errors
    /// As [`Generator::answer_and_score`], and what `whole` gives, which ends the sampling. Whatever was whole when an engine
    /// failed has been told before.
    pub fn answer_and_tell(
        &self,
        prompts: Vec<Prompt>,
        requests: &[Request],
        rubrics: &[ReadyRubric],
        ended: OnEnded<'_>,
        whole: Option<OnWhole<'_>>,
    ) -> Result<Sampled> {
        let mut work = Work::new(*self, prompts, requests, rubrics, whole)?;
        let (mut fault, began, mut handed) = (None, Instant::now(), Duration::ZERO);
        let sampled = self.engine.sample(self.policy, requests, &mut |event| {
            let since = Instant::now();
            let goes_on = match event {
                Event::Token { .. } => ControlFlow::Continue(()),
                Event::Failed { request, reason } => {
                    work.asked[request].failed = Some(reason);
                    ControlFlow::Continue(())
                }
                Event::Ended { request, rollout } => {
                    work.ended(request, rollout, requests[request].sampling.max_new_tokens);
                    ended(work.done)
                }
            };
            let told = work.tell(false);
            handed += since.elapsed();
            match told {
                Ok(()) => goes_on,
                Err(error) => {
                    fault = Some(error);
                    ControlFlow::Break(())
                }
            }
        });
        work.waited.engine = began.elapsed().saturating_sub(handed);
        fault.map_or(Ok(()), Err)?;
        work.tell(true)?;
        sampled.map_err(|error| RunError::Stopped(error.to_string()))?;
        work.sampled()
    }

    /// Waits for the scores of a group.
    fn close(
        &self,
        prompt: Prompt,
        rubric: ReadyRubric,
        mut open: Vec<Open>,
        waited: &mut Duration,
    ) -> Result<ScoredGroup> {
        open.sort_by_key(|one| one.rollout.sample);
        let mut rollouts = Vec::with_capacity(open.len());
        for Open { rollout, transcript, score } in open {
            let since = Instant::now();
            let Scored { score, calls } = self.rewards.finish(score)?;
            *waited += since.elapsed();
            let input = ledger::input_digest(&prompt.query, &transcript);
            let (reference, trainer) = Default::default();
            rollouts.push(ScoredRollout { rollout, transcript, score, calls, input, reference, trainer });
        }
        Ok(ScoredGroup { prompt, rubric, rollouts })
    }
}

/// A request on its way.
struct Asked {
    prompt: Prompt,
    rubric: ReadyRubric,
    /// Rollouts that it is to have.
    samples: usize,
    open: Vec<Open>,
    failed: Option<String>,
}

/// Requests on their way, and who hears of those that are whole.
struct Work<'a, 'w> {
    generator: Generator<'a>,
    asked: Vec<Asked>,
    done: Ended,
    whole: Option<OnWhole<'w>>,
    /// Requests that are whole and not told yet, because scores are on their way.
    untold: Vec<usize>,
    /// Those that were told.
    told: BTreeMap<usize, ScoredGroup>,
    waited: Waited,
}

impl<'a, 'w> Work<'a, 'w> {
    fn new(
        generator: Generator<'a>,
        prompts: Vec<Prompt>,
        requests: &[Request],
        rubrics: &[ReadyRubric],
        whole: Option<OnWhole<'w>>,
    ) -> Result<Self> {
        let asked = prompts.into_iter().zip(requests).map(|(prompt, request)| {
            let rubric = generator.rewards.of_row(&prompt, rubrics)?;
            Ok(Asked { prompt, rubric, samples: request.seeds.len(), open: Vec::new(), failed: None })
        });
        let asked = asked.collect::<Result<Vec<Asked>>>()?;
        let (done, untold, told, waited) = Default::default();
        Ok(Self { generator, asked, done, whole, untold, told, waited })
    }

    /// Takes a rollout, whose score is on its way from now on.
    fn ended(&mut self, request: usize, rollout: Rollout, limit: usize) {
        let Generator { processor, rewards, .. } = self.generator;
        let asked = &mut self.asked[request];
        let query = &asked.prompt.query;
        let transcript = transcript(processor, &query.id, &rollout, limit);
        let score = rewards.start(&asked.rubric, Arc::clone(query), transcript.clone());
        asked.open.push(Open { rollout, transcript, score });
        self.done.rollouts += 1;
        if asked.open.len() == asked.samples {
            self.done.groups += 1;
            if self.whole.is_some() {
                self.untold.push(request);
            }
        }
    }

    /// Tells of the requests that are whole and scored; with `waiting`, of all that are whole once they are scored.
    fn tell(&mut self, waiting: bool) -> Result<()> {
        let Some(whole) = &mut self.whole else { return Ok(()) };
        let asked = &mut self.asked;
        // Rules are as good as done, and nothing may happen for long after the last answer; judges are not waited for here.
        let is_ready = |request: &mut usize| {
            let Asked { rubric, open, .. } = &asked[*request];
            waiting || !rubric.asks_others() || open.iter().all(|one| one.score.is_finished())
        };
        let ready: Vec<usize> = self.untold.extract_if(.., is_ready).collect();
        for request in ready {
            let Asked { prompt, rubric, open, .. } = &mut self.asked[request];
            let group =
                self.generator.close(prompt.clone(), rubric.clone(), std::mem::take(open), &mut self.waited.rewards)?;
            whole(request, &group)?;
            self.told.insert(request, group);
        }
        Ok(())
    }

    /// What the sampling came to.
    fn sampled(mut self) -> Result<Sampled> {
        let groups = Vec::with_capacity(self.asked.len());
        let waited = self.waited;
        let mut all = Sampled { groups, failed: Vec::new(), stopped_groups: 0, stopped_rollouts: 0, waited };
        for (request, Asked { prompt, rubric, samples, open, failed }) in self.asked.into_iter().enumerate() {
            if let Some(group) = self.told.remove(&request) {
                all.groups.push(group);
                continue;
            }
            let is_whole = open.len() == samples;
            // Whatever was given to rewards is waited for, so that their records are whole.
            let group = self.generator.close(prompt, rubric, open, &mut all.waited.rewards)?;
            match failed {
                Some(reason) => {
                    let query_id = group.prompt.query.id.clone();
                    all.failed.push(FailedRequest { request, query_id, index: group.prompt.index, reason });
                }
                None if is_whole => all.groups.push(group),
                None => {
                    all.stopped_groups += 1;
                    all.stopped_rollouts += group.rollouts.len();
                }
            }
        }
        Ok(all)
    }
}

/// The first sampled token whose log-prob is not a finite number: the policy that gives one is broken.
pub fn first_not_finite(groups: &[ScoredGroup]) -> Option<NotFinite> {
    let mut watch = Watch::default();
    for group in groups {
        for scored in &group.rollouts {
            watch.answer(&group.prompt.query.id, &scored.rollout.log_probs(), &[]);
        }
    }
    watch.first()
}

/// Refuses answers of a policy that is broken.
///
/// # Errors
/// When the log-prob of a token is not finite.
pub fn refuse_not_finite(groups: &[ScoredGroup]) -> Result<()> {
    match first_not_finite(groups) {
        Some(first) => Err(RunError::NotFinite(format!("the policy gives no distribution to sample from: {first}"))),
        None => Ok(()),
    }
}

/// What asks for a prompt's samples.
pub fn request(prompt: &Prompt, sampling: &Sampling, scope: SeedScope<'_>) -> Request {
    let id = &prompt.query.id;
    let seeds = (0..scope.samples).map(|sample| seed_of(scope.seed, scope.place, id, sample)).collect();
    Request { query_id: id.clone(), prompt: prompt.input.clone(), seeds, sampling: sampling.clone(), follow: None }
}

#[cfg(test)]
mod tests;
