//! `sapo bench step`: how long a whole step of SAPO takes, as training does it, without data, records and checkpoints.

use std::time::Instant;

use clap::Args;
use sapo_policies::weights::Loading;
use sapo_policies::{Model, PolicyInput, Slopes};
use sapo_rollouts::{LocalEngine, Request, Rollout, Sampling, sample_all, seed_of};
use serde_json::json;

use super::super::printer::{Printer, add_kernels, print_json, print_text};
use super::super::weights::Dtype;
use super::rollout::prompt;
use crate::advantage::{AdvantageNorm, EPS, advantages};
use crate::algorithm::Sapo;
use crate::batch::TrainedSequence;
use crate::collective::Alone;
use crate::device;
use crate::error::{Result, RunError};
use crate::loss::{Counts, Loss};
use crate::metrics::Metrics;
use crate::optimizer::{AdamW, OptimizerConfig};
use crate::sample::local_engine;
use crate::update::{Passes, Scored, TrainGroup, apply, gradients};

/// What to do.
#[derive(Args)]
pub(crate) struct StepArguments {
    /// A checkpoint folder, or a preset.
    #[arg(long)]
    pub(crate) model: String,
    /// Prompts of a step.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) prompts: u32,
    /// Rollouts of each prompt.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(2..=65536))]
    pub(crate) group: u32,
    /// Tokens of each prompt.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) prompt_tokens: u32,
    /// Tokens of each rollout.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) new_tokens: u32,
    /// Optimizer steps on each batch.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) updates: u32,
    /// Timed steps, after one that warms up; the mean is told.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) steps: u32,
    /// Rows (tokens) of a micro-batch at most.
    #[arg(long, default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) token_budget: u32,
    /// The format that weights are kept in; those that train are kept in f32.
    #[arg(long, default_value = "f32")]
    pub(crate) dtype: Dtype,
    /// Where the model computes: `cpu`, or `cuda:0` in a build with the feature `cuda`.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A policy in training, with what its steps took.
struct Trainer<'a> {
    arguments: &'a StepArguments,
    model: Model,
    optimizer: AdamW,
    options: OptimizerConfig,
    rollout_secs: f64,
    update_secs: f64,
}

/// Runs the command.
pub(super) fn run(arguments: &StepArguments) -> Result<()> {
    let printer = Printer::new();
    let device = device::open(&arguments.device)?;
    let mut model = Model::open_as(&arguments.model, 1, Loading::kept_in(arguments.dtype.format()), &device)?;
    model.policy.widen_trained();
    let options = toml::from_str("lr = 1e-6\nclip_norm = 1.0");
    let options = options.map_err(|error| RunError::Internal(error.to_string()))?;
    let mut trainer =
        Trainer { arguments, model, optimizer: AdamW::default(), options, rollout_secs: 0.0, update_secs: 0.0 };
    trainer.step(0)?;
    (trainer.rollout_secs, trainer.update_secs) = (0.0, 0.0);
    let started = Instant::now();
    for number in 1..=arguments.steps {
        trainer.step(number)?;
    }
    let steps = f64::from(arguments.steps);
    let secs = started.elapsed().as_secs_f64() / steps;
    let rollouts = arguments.prompts * arguments.group;
    let (rollout_secs, update_secs) = (trainer.rollout_secs / steps, trainer.update_secs / steps);
    printer.finish();
    if arguments.json {
        let mut object = json!({
            "model": arguments.model, "secs_per_step": secs, "steps": arguments.steps, "rollouts": rollouts,
            "tokens": rollouts * arguments.new_tokens, "updates": arguments.updates,
            "prompts": arguments.prompts, "group": arguments.group, "prompt_tokens": arguments.prompt_tokens,
            "new_tokens": arguments.new_tokens, "rollout_secs": rollout_secs, "update_secs": update_secs,
            "peak_rss_bytes": crate::memory::peak_rss_bytes(std::process::id()),
        });
        add_kernels(&mut object);
        return print_json(&object, true);
    }
    print_text(&format!(
        "{secs:.3} s a step: {rollout_secs:.3} s to sample {rollouts} rollouts of {} tokens, {update_secs:.3} s for {} \
         updates\n",
        arguments.new_tokens, arguments.updates
    ))
}

impl Trainer<'_> {
    fn step(&mut self, number: u32) -> Result<()> {
        let started = Instant::now();
        let requests: Vec<Request> = (0..self.arguments.prompts).map(|query| self.request(number, query)).collect();
        let rows = (self.arguments.prompts * self.arguments.group) as usize;
        let engine = local_engine(&self.model, rows, LocalEngine::CACHE_MIB);
        let sampled = sample_all(&engine, &self.model.policy, &requests);
        let sampled = sampled.map_err(|error| RunError::User(error.to_string()))?;
        let groups = sampled.into_iter().collect::<std::result::Result<Vec<_>, _>>().map_err(RunError::User)?;
        self.rollout_secs += started.elapsed().as_secs_f64();
        let started = Instant::now();
        let inputs: Vec<&PolicyInput> = requests.iter().map(|request| &request.prompt).collect();
        let all: Vec<(&PolicyInput, Vec<Rollout>)> = inputs.into_iter().zip(groups).collect();
        let each = all.len().div_ceil(self.arguments.updates as usize);
        for part in all.chunks(each) {
            self.update(part)?;
        }
        self.update_secs += started.elapsed().as_secs_f64();
        Ok(())
    }

    /// Rollouts of exactly so many tokens: what ends a text is never drawn.
    fn request(&self, step: u32, query: u32) -> Request {
        let banned_ids = self.model.processor.stop_ids().to_vec();
        let sampling = Sampling { banned_ids, ..Sampling::at(1.0, self.arguments.new_tokens as usize) };
        let (query_id, place) = (query.to_string(), format!("bench:{step}"));
        let seeds = (0..self.arguments.group).map(|sample| seed_of(1, &place, &query_id, sample as usize)).collect();
        let prompt = prompt(&self.model, query, self.arguments.prompt_tokens);
        Request { query_id, prompt, seeds, sampling, follow: None }
    }

    /// One optimizer step on some groups.
    fn update(&mut self, part: &[(&PolicyInput, Vec<Rollout>)]) -> Result<()> {
        let groups: Vec<TrainGroup<'_>> = part
            .iter()
            .map(|(prompt, rollouts)| TrainGroup {
                prompt,
                completions: rollouts.iter().map(Rollout::completion).collect(),
            })
            .collect();
        let sequences: Vec<Vec<TrainedSequence>> = part.iter().map(|(_, rollouts)| sequences(rollouts)).collect();
        let count = sequences.iter().map(Vec::len).sum();
        let tokens = part.iter().flat_map(|(_, rollouts)| rollouts).map(Rollout::sampled).sum();
        let algorithm = Sapo::default();
        let counts = Counts { sequences: count, tokens };
        let loss = Loss { algorithm: &algorithm, kl: None, entropy_coef: 0.0, counts };
        let token_budget = self.arguments.token_budget as usize;
        let passes = Passes { temperature: 1.0, token_budget, balance_coef: None, recompute: false };
        let mut metrics = Metrics::default();
        let found = gradients(&self.model.policy, &groups, passes, &mut |scored: &[Scored<'_>]| {
            let mut slopes = Slopes::default();
            for one in scored {
                loss.add(&sequences[one.group][one.completion], one.log_probs, &mut slopes, &mut metrics);
            }
            slopes
        })?;
        let (options, lr) = (&self.options, self.options.lr);
        apply(&mut self.model, &mut self.optimizer, found.params, options, lr, &Alone)
            .map_err(|reason| RunError::User(format!("the step broke: {reason}")))?;
        Ok(())
    }
}

/// What is trained of a group: the reward of a rollout is the sum of its ids modulo 101, as a share of 100; a group whose
/// rewards are all equal has advantages of 0, and is trained on all the same.
fn sequences(rollouts: &[Rollout]) -> Vec<TrainedSequence> {
    let reward = |rollout: &Rollout| Some((rollout.ids().map(u64::from).sum::<u64>() % 101) as f64 / 100.0);
    let rewards: Vec<Option<f64>> = rollouts.iter().map(reward).collect();
    let advantages = advantages(&rewards, AdvantageNorm::Population, EPS);
    let advantages = advantages.unwrap_or_else(|| vec![Some(0.0); rollouts.len()]);
    let sequence = |(rollout, advantage): (&Rollout, Option<f64>)| TrainedSequence {
        old_log_probs: rollout.log_probs(),
        reference: Vec::new(),
        importance: Vec::new(),
        advantage: advantage.unwrap_or(0.0),
    };
    rollouts.iter().zip(advantages).map(sequence).collect()
}
