//! One step of reinforcement learning: sample, score, advantage, loss, update, record.

mod auditing;
mod read_again;
mod sampling;

use std::time::Instant;

use sapo_datasets::{Dataset, MixturePart, MixtureState};
use sapo_policies::{Policy, Slopes};

use super::{Phase, Step, curate, stretch};
use crate::audit::Audit;
use crate::batch::{TrainedGroup, mini_batches, packed, select};
use crate::collective::Collective;
use crate::config::{RlConfig, SourceUse};
use crate::curation::Curation;
use crate::data;
use crate::error::{Result, RunError};
use crate::failure::{Failures, refusal};
use crate::finite::Watch;
use crate::gates::Gates;
use crate::loader::{Loader, Wants};
use crate::loss::{Counts, Loss};
use crate::metrics::{Metrics, names};
use crate::reference;
use crate::reward_metrics;
use crate::rollout_metrics;
use crate::run::Run;
use crate::run::record::{InLoss, curation_file};
use crate::run::updating::Rate;
use crate::run_dir::read_lines;
use crate::sample::{ScoredGroup, first_not_finite};
use crate::score::ReadyRubric;
use crate::update::{Passes, Scored, gradients};

/// Reinforcement learning at work.
pub(super) struct Rl {
    name: String,
    config: RlConfig,
    loader: Loader,
    rubrics: Vec<ReadyRubric>,
    judges: Vec<String>,
    /// What the KL is measured from.
    reference: Option<Policy>,
    audit: Option<Audit>,
}

/// The groups of one optimizer step.
struct MiniBatch<'a> {
    batch: &'a [ScoredGroup],
    part: &'a [&'a TrainedGroup],
    /// Whether the weights are still those that sampled: then what the trainer's log-probs differ by from the sampler's is a
    /// gap, and not a change.
    on_policy: bool,
    lr: f64,
}

impl Rl {
    pub(super) fn open(name: &str, config: &RlConfig, run: &mut Run<'_>) -> Result<Self> {
        let rubrics = run.rewards.of_uses(run.config, &config.data, &config.rubric)?;
        let judges: Vec<&str> = rubrics.iter().flat_map(|rubric| run.config.judges_of(rubric.name())).collect();
        let sources = config.data.iter().map(|used| source(run, name, config, used)).collect::<Result<Vec<_>>>()?;
        let (parts, known): (Vec<MixturePart>, Vec<Known>) = sources.into_iter().unzip();
        let state = run.state.data.as_ref();
        let loader = Loader::new(
            parts,
            config.prompts_per_step + config.oversample_prompts,
            Wants::queries(),
            run.config,
            &run.processor,
            state,
        )?;
        run.measure_judges(name, &judges)?;
        let audit = auditing::open(name, config, run)?;
        if run.state.step_in_part == 0 {
            run.state.failures.clear();
            run.state.pass_rates.clear();
            for (used, known) in config.data.iter().zip(known) {
                for (index, passed) in known.into_iter().enumerate() {
                    run.state.pass_rates.remember(&used.name, index as u64, passed, 0);
                }
            }
            run.measure_precision(config, false)?;
        }
        if let Some(advice) = config.algorithm.advice(config.mini_batches) {
            run.say(&format!("{name}: {advice}"))?;
        }
        let reference = config
            .kl
            .as_ref()
            .map(|kl| {
                reference::open(name, &kl.from, run.config, run.recorder.dir(), &run.model, run.state.step_in_part == 0)
            })
            .transpose()?;
        run.progress.begin(name, config.steps, run.state.step_in_part);
        let judges = judges.into_iter().map(str::to_owned).collect();
        let mut rl = Self { name: name.to_owned(), config: config.clone(), loader, rubrics, judges, reference, audit };
        rl.prepare(run, run.state.step_in_part);
        Ok(rl)
    }

    /// Begins to make the batch of a step, if there is such a step.
    fn prepare(&mut self, run: &Run<'_>, step: u64) {
        if step < self.config.steps {
            let passed_over = self.passed_over(run, step);
            self.loader.prepare(passed_over);
        }
    }

    /// Keeps in mind how often each query passed.
    fn remember(&self, run: &mut Run<'_>, batch: &[ScoredGroup]) {
        let known_at = run.state.step_in_part + 1;
        for group in batch.iter().filter(|group| self.loader.has_end(group.prompt.part)) {
            let source = &self.loader.sources()[group.prompt.part];
            run.state.pass_rates.remember(source, group.prompt.index, group.passed(), known_at);
        }
    }

    /// The optimizer steps of a batch, one for each mini-batch.
    fn update(
        &self,
        run: &mut Run<'_>,
        batch: &[ScoredGroup],
        trained: &[TrainedGroup],
        metrics: &mut Metrics,
    ) -> Result<Gates> {
        let started = Instant::now();
        let lr = self.config.optimizer.lr_at(run.state.step_in_part, self.config.steps);
        let parts = match first_not_finite(batch) {
            None => mini_batches(batch, trained, self.config.mini_batches),
            // What was sampled by numbers that are not finite is nothing to learn from.
            Some(first) => {
                run.skip(&first, metrics)?;
                Vec::new()
            }
        };
        let mut gates = Gates::new(run.config.log.gate_share);
        for (index, part) in parts.iter().enumerate() {
            let mini = MiniBatch { batch, part, on_policy: index == 0, lr };
            self.mini_batch(run, mini, &mut gates, metrics)?;
        }
        metrics.set(names::LR, lr);
        let secs = started.elapsed().as_secs_f64();
        metrics.set(names::UPDATE_SECS, secs);
        let tokens: usize = parts.iter().flatten().map(|group| trained_tokens(batch, group)).sum();
        metrics.set(names::TRAIN_SPEED, tokens as f64 / secs);
        run.publish(parts.len())?;
        Ok(gates)
    }

    /// One optimizer step.
    fn mini_batch(
        &self,
        run: &mut Run<'_>,
        mini: MiniBatch<'_>,
        gates: &mut Gates,
        metrics: &mut Metrics,
    ) -> Result<()> {
        let MiniBatch { batch, part, on_policy, lr } = mini;
        let (groups, sequences) = packed(batch, part, self.config.importance);
        let count: usize = sequences.iter().map(Vec::len).sum();
        let tokens: usize = sequences.iter().flatten().map(|sequence| sequence.old_log_probs.len()).sum();
        let loss = Loss {
            algorithm: &*self.config.algorithm,
            kl: self.config.kl.as_ref().map(|kl| (kl.in_loss(), kl.estimator)),
            entropy_coef: self.config.entropy_coef,
            counts: Counts { sequences: run.collective.total(count), tokens: run.collective.total(tokens) },
        };
        let passes = Passes {
            temperature: self.config.sampling.logprob_temperature(),
            token_budget: run.config.run.token_budget,
            balance_coef: None,
            recompute: run.config.run.recompute,
        };
        let mut watch = Watch::default();
        let found = gradients(&run.model.policy, &groups, passes, &mut |scored: &[Scored<'_>]| {
            let mut slopes: Slopes = Slopes::default();
            for one in scored {
                let known = &sequences[one.group][one.completion];
                let before = slopes.log_probs.len();
                loss.add(known, one.log_probs, &mut slopes, metrics);
                watch.answer(&batch[part[one.group].index].prompt.query.id, one.log_probs, &slopes.log_probs[before..]);
                gates.keep(loss.algorithm, (batch, part[one.group], one.completion), known, one.log_probs);
                rollout_metrics::record_ratio(one.log_probs, &known.old_log_probs, metrics);
                // Where the trainer has read the rollouts again, the gap is known already.
                if self.config.importance.is_none() {
                    rollout_metrics::record_gap(one.log_probs, &known.old_log_probs, on_policy, metrics);
                }
            }
            slopes
        })?;
        run.apply(found.params, Rate { optimizer: &self.config.optimizer, lr }, watch, metrics)
    }

    /// Saves the run before a step that could not be sampled, which has changed nothing: it goes on from there.
    fn give_up(run: &mut Run<'_>, before: Option<MixtureState>, error: RunError) -> Result<RunError> {
        run.say_notes()?;
        run.state.data = before;
        if run.is_ahead() {
            run.checkpoint()?;
        }
        let path = run.path().display();
        Ok(match error {
            RunError::Stopped(reason) => {
                RunError::Stopped(format!("{reason}; mend it, then go on with --resume={path}"))
            }
            other => other,
        })
    }

    /// Keeps what failed, to be looked at, and stops the run before the step: it goes on from there.
    fn refuse(&self, run: &mut Run<'_>, file: &str, batch: &[ScoredGroup], reason: &str) -> Result<Step> {
        run.recorder.rollouts(file, run.state.step, batch, InLoss::None)?;
        Err(RunError::Stopped(format!(
            "{}: {reason}. See {}; mend it, then go on with --resume={}",
            self.name,
            run.path().join(file).display(),
            run.path().display()
        )))
    }

    fn record(
        run: &mut Run<'_>,
        file: &str,
        batch: &[ScoredGroup],
        trained: Vec<TrainedGroup>,
        gates: &Gates,
    ) -> Result<()> {
        let mut advantages = vec![None; batch.len()];
        for group in trained {
            advantages[group.index] = Some(group.advantages);
        }
        run.recorder.rollouts(file, run.state.step, batch, InLoss::By(&advantages, gates))
    }
}

impl Phase for Rl {
    fn step(&mut self, run: &mut Run<'_>) -> Result<Step> {
        if run.state.step_in_part >= self.config.steps {
            return Ok(Step::Last);
        }
        let started = Instant::now();
        let place = format!("{}:{}", self.name, run.state.step_in_part);
        let mut metrics = Metrics::default();
        let before = run.state.data.clone();
        let mut batch = match self.sample(run, &place, &mut metrics) {
            Ok(batch) => batch,
            Err(error) => return Err(Self::give_up(run, before, error)?),
        };
        run.say_notes()?;
        let file = format!("rollouts/{}-{:06}.jsonl", self.name, run.state.step);
        // A step that a reward has stopped has changed nothing yet: the run goes on before it.
        let stopped = run.rewards.ensure_running().err();
        let refused = refusal(&batch, &self.config, &run.state.failures);
        if stopped.is_some() || refused.is_some() {
            run.state.data = before;
            if run.is_ahead() {
                run.checkpoint()?;
            }
        }
        match (stopped, refused) {
            (Some(error), _) => return Err(error),
            (None, Some(reason)) => return self.refuse(run, &file, &batch, &reason),
            (None, None) => {}
        }
        let slice = self.start_audit(run, &place, &batch);
        self.remember(run, &batch);
        self.prepare(run, run.state.step_in_part + 1);
        self.read_again(run, &mut batch, self.scope(run, &place), &mut metrics)?;
        let trained = select(&batch, &self.config, self.scope(run, &place), &mut metrics);
        rollout_metrics::record(&batch, &mut metrics);
        reward_metrics::record(&batch, &mut metrics);
        let gates = self.update(run, &batch, &trained, &mut metrics)?;
        let alarm = self.finish_audit(run, slice, (&batch, &file), &mut metrics)?;
        let Failures { failed, all } = Failures::of(&batch);
        run.state.failures.push(failed, all, self.config.failure_window());
        let gap = metrics.get(names::LOGPROB_GAP).filter(|gap| gap.is_finite()).unwrap_or(0.0);
        run.state.logprob_gap_max = run.state.logprob_gap_max.max(gap);
        Self::record(run, &file, &batch, trained, &gates)?;
        run.record(&self.name, &metrics, started, &rollout_metrics::note(&metrics))?;
        if alarm {
            self.heed_alarm(run)?;
        }
        Ok(if run.state.step_in_part >= self.config.steps { Step::Last } else { Step::More })
    }
}

fn trained_tokens(batch: &[ScoredGroup], group: &TrainedGroup) -> usize {
    let rollouts = batch[group.index].rollouts.iter().zip(&group.advantages);
    rollouts.filter(|(_, advantage)| advantage.is_some()).map(|(rollout, _)| rollout.rollout.sampled()).sum()
}

/// Samples that passed and that were scored, of each query that a curation kept.
type Known = Vec<(usize, usize)>;

/// A source of the phase: all its queries, or those that a curation kept, with what is known of them.
fn source(run: &Run<'_>, name: &str, config: &RlConfig, used: &SourceUse) -> Result<(MixturePart, Known)> {
    let (dataset, known) = match config.pool_of(used) {
        Some(pool) => kept(run, used, pool)?,
        None => (data::open(run.config, used, stretch(run, name))?, Known::new()),
    };
    Ok((MixturePart { name: used.name.clone(), dataset, share: used.share }, known))
}

/// The queries of a source that a curation kept.
fn kept(run: &Run<'_>, used: &SourceUse, pool: &str) -> Result<(Dataset, Known)> {
    let Some(curation) = run.config.phases.get(pool).and_then(|phase| phase.as_curate()) else {
        return Err(RunError::Internal(format!("`{pool}` is not a curate phase")));
    };
    let path = run.path().join(curation_file(pool));
    let (mut indices, mut known) = (Vec::new(), Known::new());
    for line in read_lines(&path)? {
        let record: Curation =
            serde_json::from_value(line).map_err(|error| RunError::User(format!("{}: {error}", path.display())))?;
        if record.is_kept() && record.source == used.name {
            indices.push(record.index);
            known.push((record.passed, record.scored));
        }
    }
    let datasets = curate::datasets(run, pool, curation)?;
    match datasets.iter().find(|dataset| dataset.name() == used.name) {
        Some(dataset) if !indices.is_empty() => Ok((dataset.picked(indices), known)),
        _ => Err(RunError::Stopped(format!(
            "`{pool}` kept no query of the source `{}`: there is nothing to train on; take it out of `data`, or curate \
             harder or more queries",
            used.name
        ))),
    }
}
