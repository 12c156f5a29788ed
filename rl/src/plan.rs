//! The plan of a run: what will be done, how much of it, and about how long it takes.

use std::time::Instant;

use burn::tensor::DType;
use sapo_policies::nn::Param;
use sapo_policies::{Completion, Model};
use serde::Serialize;

use crate::config::{Config, SourceUse, Work};
use crate::data::{self, Prompt};
use crate::error::{Result, RunError};
use crate::parts::{Part, parts};
use crate::sizes::Activations;
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
    /// Bytes of weights, gradients, moments and activations that it may hold at its peak.
    pub about_bytes: u64,
    /// Bytes that a micro-batch of text keeps for its backward pass, with and without `run.recompute`.
    pub activations: Activations,
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
}

impl Plan {
    /// Plans a run; one small step is tried for the estimate, and forgotten.
    ///
    /// # Errors
    /// When a demonstration cannot be encoded.
    pub fn of(config: &Config, model: &Model) -> Result<Self> {
        let trial = Trial::run(config, model)?;
        let mut planned = Vec::new();
        for part in parts(config) {
            planned.push(match &part {
                Part::Phase(name) => {
                    let kind = config.phases[name].kind();
                    trial.part(name, kind.word(), work(config, name)?)
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
            about_bytes: about_bytes(config, model, parameters),
            activations: Activations::of(&model.policy.config, config.run.token_budget),
            parts,
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
        let Activations { plain, recomputed } = self.activations;
        lines.push(format!(
            "  activations of a micro-batch of text: {} MiB, {} MiB with run.recompute",
            plain >> 20,
            recomputed >> 20
        ));
        for part in &self.parts {
            let (steps, prompts, rollouts) = (part.steps, part.prompts_per_step, part.rollouts_per_prompt);
            let work = match (part.kind, rollouts) {
                ("evaluation" | "curate", _) => format!("{prompts} queries x {rollouts} rollouts"),
                (_, 0) => format!("{steps} steps x {prompts} demonstrations"),
                _ => format!("{steps} steps x {prompts} queries x {rollouts} rollouts"),
            };
            lines.push(format!("  {:<12} {:<44} about {}", part.name, work, duration(part.about_secs)));
        }
        lines
    }
}

/// What a trial step has shown.
struct Trial {
    secs_per_token: f64,
    tokens_per_prompt: f64,
    tokens_per_answer: f64,
}

impl Trial {
    /// Trains on a few of the run's own prompts, and forgets it.
    fn run(config: &Config, model: &Model) -> Result<Self> {
        let prompts = first_prompts(config, model)?;
        let answer = |prompt: &Prompt| -> Result<Vec<u32>> {
            let tokenizer = model.processor.tokenizer();
            let ids = match &prompt.response {
                Some(response) => tokenizer.encode(response)?,
                None => prompt.input.ids().iter().rev().take(UNKNOWN_ANSWER).copied().collect(),
            };
            Ok(if ids.is_empty() { vec![0] } else { ids })
        };
        let answers: Vec<Vec<u32>> = prompts.iter().map(answer).collect::<Result<_>>()?;
        let groups: Vec<TrainGroup<'_>> = prompts
            .iter()
            .zip(&answers)
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
        let mean = |counts: Vec<usize>| counts.iter().sum::<usize>() as f64 / prompts.len() as f64;
        let tokens_per_prompt = mean(prompts.iter().map(|prompt| prompt.input.ids().len()).collect());
        let tokens_per_answer = mean(answers.iter().map(Vec::len).collect());
        let secs_per_token = BATCH_FACTOR * secs / (prompts.len() as f64 * (tokens_per_prompt + tokens_per_answer));
        Ok(Self { secs_per_token, tokens_per_prompt, tokens_per_answer })
    }

    fn part(&self, name: &str, kind: &'static str, work: Work) -> PartPlan {
        let (prompts, rollouts) = (work.prompts_per_step, work.rollouts_per_prompt);
        // Answers are about as long as demonstrations, and not longer than their limit.
        let limit = if work.max_new_tokens == 0 { f64::INFINITY } else { work.max_new_tokens as f64 };
        let answers = prompts as f64 * rollouts.max(1) as f64 * self.tokens_per_answer.min(limit);
        let read = prompts as f64 * self.tokens_per_prompt;
        let trained = if matches!(kind, "sft" | "distill" | "rl") { read + answers } else { 0.0 };
        let sampled = if rollouts > 0 { SAMPLING_SHARE * (read + answers) } else { 0.0 };
        PartPlan {
            name: name.to_owned(),
            kind,
            steps: work.steps,
            prompts_per_step: prompts,
            rollouts_per_prompt: rollouts,
            about_secs: work.steps as f64 * self.secs_per_token * (trained + sampled),
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

/// What a process holds beside tensors: code, tokenizer, queries, records.
const PROCESS_BYTES: usize = 40 << 20;

/// Weights, gradients and two moments of what trains; what a micro-batch keeps for its backward pass (counted in widths of a layer, as
/// small policies have shown), the logits of a chunk, and the caches of the rows that are decoded together.
fn about_bytes(config: &Config, model: &Model, parameters: usize) -> u64 {
    let text = &model.policy.config.text;
    let per_row = text.layers * (24 * text.hidden_size + 10 * text.intermediate_size);
    let training = config.run.token_budget * per_row + 3 * 2048 * text.vocab_size;
    let sampled = config.run.phases.iter().map(|name| config.phases[name].kind().work().max_new_tokens);
    let longest = sampled.chain(config.eval.values().map(|eval| eval.max_new_tokens)).max().unwrap_or(0);
    let cached = 2 * text.layers * text.kv_heads * text.head_dim * longest;
    let decoding = config.run.decode_rows * (cached + 2 * text.vocab_size);
    let narrow = |param: &&Param| param.value.dtype() != DType::F32;
    let narrowed = model.policy.parameters().into_iter().filter(narrow);
    let narrowed: usize = narrowed.map(|param| param.value.dims().iter().product::<usize>()).sum();
    let adapter: usize =
        model.policy.adapter_parameters().iter().map(|param| param.value.dims().iter().product::<usize>()).sum();
    let held = parameters + adapter + 3 * model.policy.trained_count();
    let all = (4 * (held + training + decoding) - 2 * narrowed + PROCESS_BYTES) as u64;
    let Activations { plain, recomputed } = Activations::of(&model.policy.config, config.run.token_budget);
    if config.run.recompute { all.saturating_sub(plain.saturating_sub(recomputed)) } else { all }
}

fn duration(secs: f64) -> String {
    if secs < 90.0 { format!("{secs:.0} s") } else { format!("{:.0} min", secs / 60.0) }
}
