//! `sapo bench train`: how long one step of training takes, by the code that trains, and what it holds meanwhile.

use std::time::Instant;

use clap::Args;
use sapo_policies::weights::Loading;
use sapo_policies::{Completion, Model, PolicyInput};
use serde_json::json;

use super::super::printer::{Printer, add_kernels, print_json, print_text};
use super::rollout::prompt;
use super::watched;
use crate::collective::Alone;
use crate::error::{Result, RunError};
use crate::moment::MomentFormat;
use crate::optimizer::{AdamW, OptimizerConfig, Schedule};
use crate::progress::Progress;
use crate::update::{Passes, Scored, TrainGroup, apply, gradients};
use crate::{device, memory};

/// What to train on.
#[derive(Args)]
pub(crate) struct TrainArguments {
    /// A checkpoint folder, or a preset.
    #[arg(long)]
    pub(crate) model: String,
    /// Sequences of a step.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) sequences: u32,
    /// Tokens of each; all but the first are predicted.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    pub(crate) tokens: u32,
    /// Timed steps, of which the medians are told.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) repeat: u32,
    /// Layers keep only their input and run again on the way back, as with `run.recompute`.
    #[arg(long)]
    pub(crate) recompute: bool,
    /// Where the model computes: `cpu`, or `cuda:0` in a build with the feature `cuda`.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What one step took.
#[derive(Clone, Copy, Debug)]
struct Took {
    step: f64,
    forward: f64,
    backward: f64,
    optimizer: f64,
    loss: f64,
    /// Anonymous memory that its forward and backward pass took beyond what was held, at most; 0 where nobody looked.
    activation_bytes: u64,
}

/// What is trained, on what.
struct Bench {
    model: Model,
    optimizer: AdamW,
    prompts: Vec<PolicyInput>,
    completions: Vec<Completion>,
    recompute: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &TrainArguments) -> Result<()> {
    let device = device::open(&arguments.device)?;
    let mut model = Model::open_as(&arguments.model, 1, Loading::default(), &device)?;
    // The loss is over the whole vocabulary, as others compute it.
    model.policy.banned.clear();
    let parameters = model.policy.parameter_count();
    let mut bench = Bench::new(model, arguments);
    let printer = Printer::new();
    printer.begin("training", u64::from(arguments.repeat) + 1, 0);
    // Before the optimizer has moments, and before freed memory waits to be used again.
    let first = bench.step(true);
    let mut all = Vec::new();
    for done in 0..u64::from(arguments.repeat) {
        printer.done(done + 1, "");
        all.push(bench.step(false)?);
    }
    printer.finish();
    let first = first?;
    let median = |of: fn(&Took) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let tokens = u64::from(arguments.sequences) * u64::from(arguments.tokens);
    let secs = median(|took| took.step);
    if arguments.json {
        let mut object = json!({
            "model": arguments.model, "parameters": parameters, "sequences": arguments.sequences,
            "tokens_per_sequence": arguments.tokens, "repeat": arguments.repeat, "recompute": arguments.recompute,
            "secs_step": secs, "secs_forward": median(|took| took.forward),
            "secs_backward": median(|took| took.backward), "secs_optimizer": median(|took| took.optimizer),
            "peak_rss_bytes": memory::peak_rss_bytes(std::process::id()),
            "activation_bytes": first.activation_bytes, "tokens": tokens, "loss": first.loss,
            "vectors": sapo_policies::vector_units(), "threads": std::thread::available_parallelism().map_or(1, usize::from),
        });
        add_kernels(&mut object);
        return print_json(&object, true);
    }
    print_text(&format!(
        "{tokens} tokens in {secs:.3} s: forward {:.3} s, backward {:.3} s, optimizer {:.3} s\n{:.0} MiB for activations \
         and gradients at most, {} MiB in all\nloss {:.6}\n",
        median(|took| took.forward),
        median(|took| took.backward),
        median(|took| took.optimizer),
        first.activation_bytes as f64 / f64::from(1 << 20),
        memory::peak_rss_bytes(std::process::id()) >> 20,
        first.loss,
    ))
}

impl Bench {
    /// Ids that spread over the vocabulary and are the same for whoever measures. The first of a sequence is its prompt, and
    /// what follows its completion.
    fn new(model: Model, arguments: &TrainArguments) -> Self {
        let all: Vec<Vec<u32>> =
            (0..arguments.sequences).map(|number| prompt(&model, number, arguments.tokens).ids().to_vec()).collect();
        Self {
            model,
            optimizer: AdamW::default(),
            prompts: all.iter().map(|ids| PolicyInput::of_text(ids[..1].to_vec())).collect(),
            completions: all.iter().map(|ids| Completion::of_sampled(ids[1..].to_vec())).collect(),
            recompute: arguments.recompute,
        }
    }

    /// One step: all sequences in one micro-batch, then the update.
    fn step(&mut self, look: bool) -> Result<Took> {
        let each = self.prompts.iter().zip(&self.completions);
        let groups: Vec<TrainGroup<'_>> =
            each.map(|(prompt, completion)| TrainGroup { prompt, completions: vec![completion.clone()] }).collect();
        let passes =
            Passes { temperature: 1.0, token_budget: usize::MAX, balance_coef: None, recompute: self.recompute };
        let (mut loss, mut forward) = (0.0, 0.0);
        let started = Instant::now();
        let mut mean = |sequences: &[Scored<'_>]| {
            let log_probs: Vec<f32> = sequences.iter().flat_map(|one| one.log_probs).copied().collect();
            let count = log_probs.len() as f64;
            loss = -log_probs.iter().map(|log_prob| f64::from(*log_prob)).sum::<f64>() / count;
            forward = started.elapsed().as_secs_f64();
            vec![(-1.0 / count) as f32; log_probs.len()].into()
        };
        let policy = &self.model.policy;
        let (found, activation_bytes) = if look {
            let before = memory::anonymous_bytes();
            let (found, _, peak) = watched(|| gradients(policy, &groups, passes, &mut mean));
            (found, peak.saturating_sub(before))
        } else {
            (gradients(policy, &groups, passes, &mut mean), 0)
        };
        let found = found?;
        let both = started.elapsed().as_secs_f64();
        let config = optimizer();
        apply(&mut self.model, &mut self.optimizer, found.params, &config, config.lr, &Alone)
            .map_err(|reason| RunError::User(format!("the step broke: {reason}")))?;
        self.model.policy.device().sync().map_err(|error| RunError::Internal(error.to_string()))?;
        let step = started.elapsed().as_secs_f64();
        Ok(Took { step, forward, backward: both - forward, optimizer: step - both, loss, activation_bytes })
    }
}

/// Nothing is clipped.
fn optimizer() -> OptimizerConfig {
    OptimizerConfig {
        lr: 1e-5,
        warmup_steps: 0,
        final_lr_ratio: 1.0,
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.1,
        clip_norm: f64::INFINITY,
        schedule: Schedule::Constant,
        moments: MomentFormat::F32,
        groups: Vec::new(),
    }
}
