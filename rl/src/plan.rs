//! The plan of a run: what will be done, how much of it, and about how long it takes.

use std::collections::BTreeMap;
use std::time::Instant;

use sapo_policies::{Completion, Model};
use serde::Serialize;

use crate::config::{AuditPlan, Config, SourceUse, Work};
use crate::data::{self, Prompt};
use crate::error::{Result, RunError};
use crate::figures::percent;
use crate::footprint::{Footprint, Lengths};
use crate::parts::{Part, parts};
use crate::stats::detectable_by;
use crate::update::{Passes, TrainGroup, gradients};

/// Demonstrations of the trial step that the time is estimated from.
const TRIAL: usize = 8;
/// Tokens that an answer is taken to have where no demonstration says.
const UNKNOWN_ANSWER: usize = 64;
/// What sampling a token costs beside training on one, as a share; measured on small policies.
const SAMPLING_SHARE: f64 = 0.5;
/// Larger batches use the machine better than the trial does, by about this factor.
const BATCH_FACTOR: f64 = 0.7;

/// A run, planned.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Version of this record.
    pub v: u32,
    /// Numbers in the policy's parameters.
    pub parameters: usize,
    /// Numbers that training changes, an adapter's included.
    pub trained_parameters: usize,
    /// The parts in order.
    pub parts: Vec<PartPlan>,
    /// Seconds that the whole run may take, from a trial step on this machine.
    pub about_secs: f64,
    /// Bytes that it may hold at its peak.
    pub about_bytes: u64,
    /// The same by part, and what each is made of.
    pub footprint: Footprint,
    /// The smallest difference of pass@1 over all tasks that evaluations of a set find four times of five, in the worst case.
    pub detectable: BTreeMap<String, f64>,
}

/// A part of a run, planned.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartPlan {
    /// The phase's name, or `evaluation`.
    pub name: String,
    /// `sft`, `curate`, `rl` or `evaluation`.
    pub kind: &'static str,
    /// Optimizer steps of supervised learning, or steps that each sample one batch.
    pub steps: u64,
    /// Demonstrations or queries of a step.
    pub prompts_per_step: usize,
    /// Answers sampled for each query; 0 where demonstrations are given.
    pub rollouts_per_prompt: usize,
    /// Seconds that it may take.
    pub about_secs: f64,
    /// What its audit costs, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditPlan>,
}

impl Plan {
    /// Plans a run; one small step is tried for the estimate, and forgotten.
    ///
    /// # Errors
    /// When a demonstration cannot be encoded.
    pub fn of(config: &Config, model: &Model) -> Result<Self> {
        let first = First::of(config, model)?;
        let footprint = Footprint::of(config, &model.policy.config, first.lengths());
        footprint.refuse_more_than_there_is(config)?;
        let trial = Trial::run(config, model, &first)?;
        let mut planned = Vec::new();
        for part in parts(config) {
            planned.push(match &part {
                Part::Phase(name) => {
                    let kind = config.phases[name].kind();
                    let work = work(config, name)?;
                    let audit = kind.audit().map(|audit| audit.planned(config, work));
                    PartPlan { audit, ..trial.part(name, kind.word(), work) }
                }
                Part::Evaluate { after, sets } => {
                    let work = evaluation(config, sets)?;
                    trial.part(&format!("eval {after}"), "evaluation", work)
                }
            });
        }
        let parts = planned;
        let parameters = model.policy.parameter_count();
        Ok(Self {
            v: 1,
            parameters,
            trained_parameters: model.policy.trained_count(),
            about_secs: parts.iter().map(|part| part.about_secs).sum(),
            about_bytes: footprint.total,
            footprint,
            parts,
            detectable: detectable(config)?,
        })
    }

    /// The plan in lines for people.
    pub fn lines(&self) -> Vec<String> {
        let trained = match self.trained_parameters {
            all if all == self.parameters => String::new(),
            some => format!(", {:.3} million of them or beside them trained", some as f64 / 1e6),
        };
        let mut lines = vec![format!(
            "plan: {:.2} million parameters{trained}, about {} and {} MiB",
            self.parameters as f64 / 1e6,
            duration(self.about_secs),
            self.about_bytes >> 20
        )];
        for part in &self.parts {
            let (steps, prompts, rollouts) = (part.steps, part.prompts_per_step, part.rollouts_per_prompt);
            let work = match (part.kind, rollouts) {
                ("evaluation" | "curate", _) => format!("{prompts} queries x {rollouts} rollouts"),
                (_, 0) => format!("{steps} steps x {prompts} demonstrations"),
                _ => format!("{steps} steps x {prompts} queries x {rollouts} rollouts"),
            };
            let held = self.footprint.parts.iter().find(|held| held.name == part.name);
            let held = held.map_or(String::new(), |held| format!(", {} MiB", held.total >> 20));
            lines.push(format!("  {:<12} {:<44} about {}{held}", part.name, work, duration(part.about_secs)));
            lines.extend(part.audit.as_ref().map(|audit| format!("  {:<12} {}", "", audit.line())));
        }
        for (set, least) in &self.detectable {
            let points = percent(*least);
            lines.push(format!("  eval.{set} finds a difference of {points} points 4 times of 5 in the worst case"));
        }
        lines
    }
}

/// The first prompts of a run's sources, encoded, with an answer to each.
struct First {
    prompts: Vec<Prompt>,
    answers: Vec<Vec<u32>>,
}

impl First {
    fn of(config: &Config, model: &Model) -> Result<Self> {
        let prompts = first_prompts(config, model)?;
        let answer = |prompt: &Prompt| -> Result<Vec<u32>> {
            let tokenizer = model.processor.tokenizer();
            let ids = match &prompt.response {
                Some(response) => tokenizer.encode(response)?,
                None => prompt.input.ids().iter().rev().take(UNKNOWN_ANSWER).copied().collect(),
            };
            Ok(if ids.is_empty() { vec![0] } else { ids })
        };
        let answers = prompts.iter().map(answer).collect::<Result<_>>()?;
        Ok(Self { prompts, answers })
    }

    fn lengths(&self) -> Lengths {
        let mean = |count: &dyn Fn(usize) -> usize| {
            (0..self.prompts.len()).map(count).sum::<usize>() as f64 / self.prompts.len().max(1) as f64
        };
        let input = |at: usize| &self.prompts[at].input;
        Lengths {
            prompt: mean(&|at| input(at).ids().len()),
            answer: mean(&|at| self.answers[at].len()),
            patches: mean(&|at| input(at).pictures().iter().map(|picture| picture.patches()).sum()),
        }
    }
}

/// What a trial step has shown.
struct Trial {
    secs_per_token: f64,
    lengths: Lengths,
}

impl Trial {
    /// Trains on a few of the run's own prompts, and forgets it.
    fn run(config: &Config, model: &Model, first: &First) -> Result<Self> {
        let groups: Vec<TrainGroup<'_>> = first
            .prompts
            .iter()
            .zip(&first.answers)
            .map(|(prompt, ids)| TrainGroup {
                prompt: &prompt.input,
                completions: vec![Completion::of_sampled(ids.clone())],
            })
            .collect();
        let passes = Passes {
            temperature: 1.0,
            token_budget: config.run.token_budget,
            balance_coef: None,
            recompute: config.run.recompute,
        };
        let started = Instant::now();
        gradients(&model.policy, &groups, passes, &mut |sequences| {
            sequences.iter().flat_map(|sequence| vec![1.0; sequence.log_probs.len()]).collect::<Vec<f32>>().into()
        })?;
        let secs = started.elapsed().as_secs_f64();
        let lengths = first.lengths();
        let tokens = first.prompts.len() as f64 * (lengths.prompt + lengths.answer);
        Ok(Self { secs_per_token: BATCH_FACTOR * secs / tokens, lengths })
    }

    fn part(&self, name: &str, kind: &'static str, work: Work) -> PartPlan {
        let (prompts, rollouts) = (work.prompts_per_step, work.rollouts_per_prompt);
        // Answers are about as long as demonstrations, and not longer than their limit.
        let limit = if work.max_new_tokens == 0 { f64::INFINITY } else { work.max_new_tokens as f64 };
        let answers = prompts as f64 * rollouts.max(1) as f64 * self.lengths.answer.min(limit);
        let read = prompts as f64 * self.lengths.prompt;
        let trained = if matches!(kind, "sft" | "distill" | "rl") { read + answers } else { 0.0 };
        let sampled = if rollouts > 0 { SAMPLING_SHARE * (read + answers) } else { 0.0 };
        PartPlan {
            name: name.to_owned(),
            kind,
            steps: work.steps,
            prompts_per_step: prompts,
            rollouts_per_prompt: rollouts,
            about_secs: work.steps as f64 * self.secs_per_token * (trained + sampled),
            audit: None,
        }
    }
}

/// The first prompts of the sources that the run's phases use, in turn.
fn first_prompts(config: &Config, model: &Model) -> Result<Vec<Prompt>> {
    let uses: Vec<&SourceUse> = config.run.phases.iter().flat_map(|name| config.phases[name].kind().data()).collect();
    let mut prompts = Vec::new();
    for round in 0..TRIAL as u64 {
        for used in &uses {
            if prompts.len() < TRIAL
                && let Ok(prompt) = data::prompt(&model.processor, &data::open(config, used, 0)?, 0, round)
            {
                prompts.push(prompt);
            }
        }
    }
    if prompts.is_empty() {
        return Err(RunError::User("no row of the run's sources can be used; `sapo data show` lists them".to_owned()));
    }
    Ok(prompts)
}

/// What a phase does, with the length of its sources where it takes all of them.
fn work(config: &Config, name: &str) -> Result<Work> {
    let kind = config.phases[name].kind();
    let mut work = kind.work();
    if work.prompts_per_step == 0 {
        for used in kind.data() {
            work.prompts_per_step += data::open(config, used, 0)?.len().unwrap_or(0) as usize;
        }
    }
    Ok(work)
}

/// What evaluations do: every query is answered a few times, and once greedily.
fn evaluation(config: &Config, sets: &[String]) -> Result<Work> {
    let mut work = Work { steps: 1, prompts_per_step: 0, rollouts_per_prompt: 0, max_new_tokens: 0 };
    for eval in sets.iter().map(|set| &config.eval[set]) {
        for dataset in data::open_eval(config, eval)? {
            work.prompts_per_step += dataset.len().unwrap_or(0) as usize;
        }
        work.rollouts_per_prompt = work.rollouts_per_prompt.max(eval.samples + 1);
        work.max_new_tokens = work.max_new_tokens.max(eval.max_new_tokens);
    }
    Ok(work)
}

/// What the evaluations can tell apart, by their sources that count.
fn detectable(config: &Config) -> Result<BTreeMap<String, f64>> {
    let mut found = BTreeMap::new();
    for (name, eval) in &config.eval {
        let datasets = data::open_eval(config, eval)?;
        let counted = datasets.iter().filter(|dataset| !eval.unaveraged.iter().any(|one| one == dataset.name()));
        let queries: Vec<usize> = counted.map(|dataset| dataset.len().unwrap_or(0) as usize).collect();
        found.extend(detectable_by(&queries, eval.samples).map(|least| (name.clone(), least)));
    }
    Ok(found)
}

fn duration(secs: f64) -> String {
    if secs < 90.0 { format!("{secs:.0} s") } else { format!("{:.0} min", secs / 60.0) }
}
