//! The plan of a run: what will be done, how much of it, and about how long it takes.

use std::time::Instant;

use burn::tensor::DType;
use sapo_datasets::Task;
use sapo_datasets::synthetic::{self, Style};
use sapo_policies::nn::Param;
use sapo_policies::{Completion, Group, Model};
use serde::Serialize;

use crate::asking::encode;
use crate::config::{Config, PhaseConfig};
use crate::error::Result;
use crate::update::gradients;

/// Demonstrations of the trial step that the time is estimated from.
const TRIAL: usize = 8;
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
}

/// A part of a run, planned.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartPlan {
    /// The phase's name, or `evaluation`.
    pub name: String,
    /// `sft`, `curate`, `rl` or `evaluation`.
    pub kind: &'static str,
    /// How often it is done: 1 but for evaluations.
    pub times: usize,
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
        let trial = Trial::run(model)?;
        let eval = &config.eval;
        let mut parts: Vec<PartPlan> = config
            .run
            .phases
            .iter()
            .map(|name| match &config.phases[name] {
                PhaseConfig::Sft(phase) => trial.part(name, "sft", phase.steps, phase.batch_size, 0),
                PhaseConfig::Curate(phase) => {
                    trial.part(name, "curate", 1, phase.tasks.len() * phase.queries_per_task, phase.samples)
                }
                PhaseConfig::Rl(phase) => {
                    let prompts = phase.tasks.len() * phase.prompts_per_task;
                    trial.part(name, "rl", phase.steps, prompts, phase.rollouts_per_prompt)
                }
            })
            .collect();
        let evaluations =
            1 + config.run.phases.iter().filter(|name| config.phases[*name].eval_after().is_some()).count();
        let rollouts = eval.rollouts();
        let mut evaluation = trial.part("evaluation", "evaluation", 1, rollouts, 1);
        evaluation.times = evaluations;
        evaluation.about_secs *= evaluations as f64;
        parts.push(evaluation);
        let parameters = model.policy.parameter_count();
        Ok(Self {
            v: 1,
            parameters,
            trained_parameters: model.policy.trained_count(),
            about_secs: parts.iter().map(|part| part.about_secs).sum(),
            about_bytes: about_bytes(config, model, parameters),
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
        for part in &self.parts {
            let work = match part.kind {
                "sft" => format!("{} steps x {} demonstrations", part.steps, part.prompts_per_step),
                "curate" => format!("{} queries x {} rollouts", part.prompts_per_step, part.rollouts_per_prompt),
                "rl" => format!(
                    "{} steps x {} queries x {} rollouts",
                    part.steps, part.prompts_per_step, part.rollouts_per_prompt
                ),
                _ => format!("{} times {} answers", part.times, part.prompts_per_step),
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
    fn run(model: &Model) -> Result<Self> {
        let mut examples = Vec::with_capacity(TRIAL);
        for index in 0..TRIAL {
            let task = Task::REASONING[index % Task::REASONING.len()];
            let shown = synthetic::demonstration(task, 0, index as u64, Style::Careful);
            examples
                .push((encode(&model.processor, &shown.query)?, model.processor.tokenizer().encode(&shown.response)?));
        }
        let answers: Vec<Completion> =
            examples.iter().map(|(_, tokens)| Completion::of_sampled(tokens.clone())).collect();
        let answers: Vec<[&Completion; 1]> = answers.iter().map(|answer| [answer]).collect();
        let groups: Vec<Group<'_>> =
            examples.iter().zip(&answers).map(|((prompt, _), completions)| Group { prompt, completions }).collect();
        let started = Instant::now();
        gradients(&model.policy, &groups, 1.0, usize::MAX, &mut |_, log_probs| log_probs.sum())?;
        let secs = started.elapsed().as_secs_f64();
        let mean = |counts: Vec<usize>| counts.iter().sum::<usize>() as f64 / TRIAL as f64;
        let tokens_per_prompt = mean(examples.iter().map(|(prompt, _)| prompt.ids().len()).collect());
        let tokens_per_answer = mean(examples.iter().map(|(_, tokens)| tokens.len()).collect());
        let secs_per_token = BATCH_FACTOR * secs / (TRIAL as f64 * (tokens_per_prompt + tokens_per_answer));
        Ok(Self { secs_per_token, tokens_per_prompt, tokens_per_answer })
    }

    fn part(&self, name: &str, kind: &'static str, steps: u64, prompts: usize, rollouts: usize) -> PartPlan {
        let answers = prompts as f64 * rollouts.max(1) as f64 * self.tokens_per_answer;
        let read = prompts as f64 * self.tokens_per_prompt;
        let trained = if matches!(kind, "sft" | "rl") { read + answers } else { 0.0 };
        let sampled = if rollouts > 0 { SAMPLING_SHARE * (read + answers) } else { 0.0 };
        PartPlan {
            name: name.to_owned(),
            kind,
            times: 1,
            steps,
            prompts_per_step: prompts,
            rollouts_per_prompt: rollouts,
            about_secs: steps as f64 * self.secs_per_token * (trained + sampled),
        }
    }
}

/// What a process holds beside tensors: code, tokenizer, queries, records.
const PROCESS_BYTES: usize = 40 << 20;

/// Weights, gradients and two moments of what trains; what a micro-batch keeps for its backward pass (counted in widths of a layer, as
/// small policies have shown), the logits of a chunk, and the caches of the rows that are decoded together.
fn about_bytes(config: &Config, model: &Model, parameters: usize) -> u64 {
    let text = &model.policy.config.text;
    let per_row = text.layers * (24 * text.hidden_size + 10 * text.intermediate_size);
    let training = config.run.token_budget * per_row + 3 * 2048 * text.vocab_size;
    let cached = 2 * text.layers * text.kv_heads * text.head_dim * config.eval.max_new_tokens;
    let decoding = config.run.decode_rows * (cached + 2 * text.vocab_size);
    let narrow = |param: &&Param| param.value.dtype() != DType::F32;
    let narrowed = model.policy.parameters().into_iter().filter(narrow);
    let narrowed: usize = narrowed.map(|param| param.value.dims().iter().product::<usize>()).sum();
    let adapter: usize =
        model.policy.adapter_parameters().iter().map(|param| param.value.dims().iter().product::<usize>()).sum();
    let held = parameters + adapter + 3 * model.policy.trained_count();
    (4 * (held + training + decoding) - 2 * narrowed + PROCESS_BYTES) as u64
}

fn duration(secs: f64) -> String {
    if secs < 90.0 { format!("{secs:.0} s") } else { format!("{:.0} min", secs / 60.0) }
}
