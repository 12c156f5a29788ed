//! What a run holds in memory, phase by phase: worked out from sizes and lengths before anything is loaded.

use std::path::Path;

use sapo_policies::config::Config as Sizes;
use sapo_policies::preset::config_of;
use sapo_policies::{Cache, Part, WeightFormat};
use sapo_rewards::registry::served_judges;
use serde::Serialize;

use crate::config::{Config, PhaseConfig, Work};
use crate::error::{Result, RunError};
use crate::kl::Reference;
use crate::memory::available_bytes;
use crate::moment::MomentFormat;
use crate::parts::{self, parts};
use crate::sizes::{Activations, MOMENTS, Method, ModelSize, Question};

/// Bytes of an f32.
const F32: u64 = 4;
/// What a process holds beside tensors: code, tokenizer, queries, records, and pages that its allocator keeps.
const PROCESS: u64 = 92 << 20;
/// What a served judge holds while it answers.
const JUDGING: u64 = 24 << 20;
/// Tokens of prompts that the engine reads in one step at most, beside one of every rollout.
const READ_AT_ONCE: u64 = 512;
/// What an allocator holds beyond what it is asked for: a tenth, and for small policies at most so much again.
const SLACK: u64 = 48 << 20;
/// Copies of the largest matrix that an update makes of it.
const UPDATE_COPIES: u64 = 4;

/// How long what a run reads and writes is, on average, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lengths {
    /// Of a prompt, pictures included.
    pub prompt: f64,
    /// Of an answer that is given.
    pub answer: f64,
    /// Patches of a prompt's pictures.
    pub patches: f64,
}

/// What a run holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Footprint {
    /// By part of the run, in order.
    pub parts: Vec<PartFootprint>,
    /// Judges that the run starts, each a process of its own.
    pub judges: u64,
    /// Bytes at the peak.
    pub total: u64,
}

/// What a part of a run holds at most, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartFootprint {
    /// The phase's name, or `eval PHASE`.
    pub name: String,
    /// The policy's weights: in f32 what trains, in the run's format the others; adapters too.
    pub weights: u64,
    /// Models beside it: a teacher, or what KL is measured from.
    pub beside: u64,
    /// The optimizer's two moments of what trains.
    pub optimizer: u64,
    /// Gradients of what trains.
    pub gradients: u64,
    /// What a micro-batch keeps for its way back, with what the allocator holds beyond it.
    pub activations: u64,
    /// Keys and values of the rollouts that are decoded together, and what a step of theirs computes.
    pub sampling: u64,
    /// The peak. Training and sampling follow each other, but an allocator keeps much of what one has freed when the other begins.
    pub total: u64,
}

impl Footprint {
    /// Of a run whose model has these sizes.
    pub fn of(config: &Config, sizes: &Sizes, lengths: Lengths) -> Self {
        let mut optimizer = 0;
        let parts = parts(config).into_iter().map(|part| match part {
            parts::Part::Phase(name) => {
                let part = phase(config, sizes, lengths, &name);
                optimizer = part.optimizer;
                part
            }
            parts::Part::Evaluate { after, sets } => {
                let new = sets.iter().map(|set| config.eval[set].max_new_tokens).max().unwrap_or(0);
                let samples = sets.iter().map(|set| config.eval[set].samples + 1).max().unwrap_or(1);
                let queries = sets.iter().filter_map(|set| {
                    let eval = &config.eval[set];
                    Some(eval.queries_per_source? * eval.data.len())
                });
                let work = Work {
                    steps: 1,
                    prompts_per_step: queries.max().unwrap_or(usize::MAX / samples),
                    rollouts_per_prompt: samples,
                    max_new_tokens: new,
                };
                let size = size(config, sizes, &[]).memory;
                // Moments of the phase before stay.
                PartFootprint::of(format!("eval {after}"), weights(&size), 0)
                    .holding(optimizer)
                    .sampling(sampling(config, sizes, lengths, work))
            }
        });
        let parts: Vec<PartFootprint> = parts.collect();
        let judges: u64 = served_judges(&config.rewards).into_iter().map(judge).sum();
        let total = PROCESS + judges + parts.iter().map(|part| part.total).max().unwrap_or(0);
        Self { parts, judges, total }
    }

    /// Of a run whose prompts and given answers have no length: what it needs in any case, told by the model's sizes alone.
    ///
    /// # Errors
    /// When the model cannot be found.
    pub fn at_least(config: &Config) -> Result<Self> {
        let none = Lengths { prompt: 0.0, answer: 0.0, patches: 0.0 };
        Ok(Self::of(config, &config_of(&config.policy.model)?, none))
    }

    /// Refuses a run that needs more than this machine has, unless the configuration insists. A run on another device is not
    /// held to this machine's memory.
    ///
    /// # Errors
    /// What is needed, by the part that needs it, and what to do.
    pub fn refuse_more_than_there_is(&self, config: &Config) -> Result<()> {
        let available = available_bytes();
        let fits = self.total <= available || available == 0;
        if fits || config.run.allow_over_memory || config.run.device != "cpu" {
            return Ok(());
        }
        let Some(part) = self.fullest() else { return Ok(()) };
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let most: Vec<String> = part
            .rows()
            .iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, bytes)| format!("{name} {:.1}", gib(*bytes)))
            .collect();
        Err(RunError::User(format!(
            "the run needs about {:.1} GiB, and this machine has {:.1} GiB left: {} holds {} (GiB). Less is needed with policy.lora, \
             policy.freeze, run.dtype=bf16, run.recompute=true, a smaller run.token_budget or fewer run.decode_rows; `sapo plan` \
             tells; run.allow_over_memory=true starts it in any case",
            gib(self.total),
            gib(available),
            part.name,
            most.join(", ")
        )))
    }

    /// The part with the most.
    pub fn fullest(&self) -> Option<&PartFootprint> {
        self.parts.iter().max_by_key(|part| part.total)
    }
}

impl PartFootprint {
    fn of(name: String, weights: u64, beside: u64) -> Self {
        let total = weights + beside;
        Self { name, weights, beside, optimizer: 0, gradients: 0, activations: 0, sampling: 0, total }
    }

    fn holding(self, optimizer: u64) -> Self {
        Self { optimizer, total: self.total + optimizer, ..self }
    }

    fn sampling(self, sampling: u64) -> Self {
        Self { sampling, total: self.total + sampling, ..self }
    }

    /// What is held, with names for people.
    pub fn rows(&self) -> [(&'static str, u64); 6] {
        [
            ("weights", self.weights),
            ("models beside it", self.beside),
            ("optimizer", self.optimizer),
            ("gradients", self.gradients),
            ("activations", self.activations),
            ("sampling", self.sampling),
        ]
    }
}

/// A judge that is served beside the run.
fn judge(model: &str) -> u64 {
    let weights = config_of(model).map_or(0, |sizes| plain(WeightFormat::F32, &sizes).memory.weights);
    PROCESS + JUDGING + weights
}

/// A model that only answers.
fn plain(format: WeightFormat, sizes: &Sizes) -> ModelSize {
    ModelSize::of(
        sizes,
        &Question { format, method: Method::Inference, frozen: Vec::new(), batch: 0, context: 0, recompute: false },
    )
}

fn weights(memory: &crate::sizes::MemorySize) -> u64 {
    memory.weights + memory.f32_of_trained + memory.adapters
}

/// The model as it is kept while all but `frozen` trains.
fn size(config: &Config, sizes: &Sizes, frozen: &[Part]) -> ModelSize {
    let trains = config.run.phases.iter().any(|name| config.phases[name].kind().trains());
    let method = match &config.policy.lora {
        Some(lora) => Method::Lora { rank: lora.rank },
        None if trains => Method::Full,
        None => Method::Inference,
    };
    let (format, frozen) = (config.run.dtype, frozen.to_vec());
    ModelSize::of(sizes, &Question { format, method, frozen, batch: 0, context: 0, recompute: false })
}

fn phase(config: &Config, sizes: &Sizes, lengths: Lengths, name: &str) -> PartFootprint {
    let phase = &config.phases[name];
    let kind = phase.kind();
    let mut frozen = config.frozen_in(name).to_vec();
    if lengths.patches == 0.0 {
        // Nothing depends on them: they have no gradients, and no moments.
        frozen.extend([Part::Vision, Part::Merger, Part::Deepstack]);
    }
    let size = size(config, sizes, &frozen);
    let part = PartFootprint::of(name.to_owned(), weights(&size.memory), beside(config, phase, sizes));
    let sampled = sampling(config, sizes, lengths, kind.work());
    if !kind.trains() {
        return part.sampling(sampled);
    }
    let MicroBatch { rows, scored, prompts, all } = micro_batch(config, phase, lengths);
    let Activations { plain, recomputed } = Activations::of(sizes, rows as usize, scored as usize);
    let text = if config.run.recompute { recomputed } else { plain };
    let learns_to_see = config.policy.lora.is_none() && !frozen.contains(&Part::Vision);
    let seen =
        if learns_to_see { (prompts * lengths.patches) as u64 * of_patch(sizes, config.run.recompute) } else { 0 };
    let gradients = size.memory.gradients;
    let largest = (sizes.text.vocab_size * sizes.text.hidden_size) as u64 * F32;
    let updating = if size.trainable > 0 { gradients + UPDATE_COPIES * largest } else { 0 };
    // Gradients come as activations go; those of the micro-batches before are there all the time.
    let summed = if all > rows { gradients } else { 0 };
    let activations = text + seen;
    let kept = activations + activations / 10 + activations.min(SLACK);
    let training = (summed + kept.max(gradients)).max(updating);
    let moments = phase.optimizer().map_or(MomentFormat::F32, |options| options.moments);
    let part = part.holding(MOMENTS * moments.bytes(size.trainable));
    PartFootprint { gradients, activations: kept, sampling: sampled, total: part.total + training + sampled, ..part }
}

/// Models that a phase holds beside the policy.
fn beside(config: &Config, phase: &PhaseConfig, own: &Sizes) -> u64 {
    let of = |sizes: &Sizes| plain(config.run.dtype, sizes).memory.weights;
    let named = |model: &Path| config_of(&model.display().to_string()).map_or(0, |sizes| of(&sizes));
    match phase {
        PhaseConfig::Rl(rl) => match rl.kl.as_ref().map(|kl| &kl.from) {
            Some(Reference::Start) => of(own),
            Some(Reference::Model(model)) => named(model),
            Some(Reference::Base) | None => 0,
        },
        PhaseConfig::Distill(distill) => named(&distill.teacher),
        PhaseConfig::Sft(_) | PhaseConfig::Curate(_) => 0,
    }
}

/// A micro-batch: its rows, how many of them are scored, its prompts, and the rows of all that are summed to one update.
struct MicroBatch {
    rows: f64,
    scored: f64,
    prompts: f64,
    all: f64,
}

fn micro_batch(config: &Config, phase: &PhaseConfig, lengths: Lengths) -> MicroBatch {
    let work = phase.kind().work();
    let group = work.rollouts_per_prompt.max(1) as f64;
    let answer = if work.rollouts_per_prompt > 0 { work.max_new_tokens as f64 } else { lengths.answer };
    let updates = match phase {
        PhaseConfig::Rl(rl) => rl.mini_batches.max(1),
        _ => 1,
    };
    let rows_of_group = lengths.prompt + group * answer;
    let all = rows_of_group * (work.prompts_per_step as f64 / updates as f64).max(1.0);
    let groups = (all.min(config.run.token_budget as f64) / rows_of_group).floor().max(1.0);
    MicroBatch { rows: groups * rows_of_group, scored: groups * group * answer, prompts: groups, all }
}

/// What the vision tower keeps of a patch for its way back: of all blocks, or their inputs and one block.
fn of_patch(sizes: &Sizes, recompute: bool) -> u64 {
    let vision = &sizes.vision;
    let of_block = 16 * vision.hidden_size + 3 * vision.intermediate_size;
    let kept = if recompute { vision.depth * vision.hidden_size + of_block } else { vision.depth * of_block };
    F32 * kept as u64
}

/// Keys and values of rollouts that are decoded together, and the widest that a step of theirs holds.
fn sampling(config: &Config, sizes: &Sizes, lengths: Lengths, work: Work) -> u64 {
    if work.rollouts_per_prompt == 0 {
        return 0;
    }
    let all = work.prompts_per_step.saturating_mul(work.rollouts_per_prompt).max(work.rollouts_per_prompt);
    let rows = all.min(config.run.decode_rows) as u64;
    let prompts = rows.div_ceil(work.rollouts_per_prompt as u64);
    let blocks = rows * Cache::blocks_of(work.max_new_tokens) as u64
        + prompts * Cache::blocks_of(lengths.prompt as usize) as u64;
    let cache = (blocks * Cache::block_bytes(sizes) as u64).min((config.run.cache_mib as u64) << 20);
    let text = &sizes.text;
    let inner = text.moe.as_ref().map_or(text.intermediate_size, |moe| moe.top_k * moe.intermediate_size);
    let step = (rows + READ_AT_ONCE) * (6 * text.hidden_size + 3 * inner) as u64 + 2 * rows * text.vocab_size as u64;
    cache + F32 * step
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn footprint(overrides: &[&str]) -> Footprint {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs/recipes");
        let files = [file.join("rl.toml"), file.join("8b.toml")];
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let config = Config::compose(&files, &overrides).unwrap();
        let sizes = sapo_policies::config::published::published("8b").unwrap();
        Footprint::of(&config, &sizes, Lengths { prompt: 900.0, answer: 300.0, patches: 2400.0 })
    }

    #[test]
    fn what_a_part_holds_adds_up_and_what_saves_memory_is_seen_to() {
        let whole = footprint(&["run.recompute=false"]);
        for part in &whole.parts {
            let named: u64 = part.rows().iter().map(|(_, bytes)| bytes).sum();
            assert!(part.total <= named + UPDATE_COPIES * (1 << 32), "{part:?}");
            assert!(part.total >= part.weights + part.optimizer + part.sampling, "{part:?}");
        }
        let most = whole.fullest().unwrap();
        assert!(whole.total >= most.total && whole.parts.iter().all(|part| part.total <= most.total));
        // A parameter that trains has four bytes of gradient and eight of moments.
        assert_eq!(most.optimizer, 2 * most.gradients);

        let recomputed = footprint(&["run.recompute=true"]);
        assert!(recomputed.total < whole.total && recomputed.fullest().unwrap().optimizer == most.optimizer);
        let lora = footprint(&["policy.lora={ rank = 16, alpha = 32, targets = \"all-linear\" }"]);
        assert!(lora.fullest().unwrap().optimizer < most.optimizer / 50);
        let smaller = footprint(&["run.recompute=false", "run.token_budget=4096"]);
        assert!(smaller.fullest().unwrap().activations <= most.activations);
    }

    #[test]
    fn more_than_there_is_is_refused_unless_it_is_insisted_on() {
        let config = |more: &[String]| {
            let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs/smoke.toml");
            Config::compose(&[file], more).unwrap()
        };
        let mut footprint = Footprint::at_least(&config(&[])).unwrap();
        assert!(footprint.refuse_more_than_there_is(&config(&[])).is_ok());
        footprint.total = u64::MAX / 2;
        let told = footprint.refuse_more_than_there_is(&config(&[])).unwrap_err().to_string();
        assert!(told.contains("run.allow_over_memory=true") && told.contains("GiB"), "{told}");
        let insisted = config(&["run.allow_over_memory=true".to_owned()]);
        assert!(footprint.refuse_more_than_there_is(&insisted).is_ok());
    }
}
