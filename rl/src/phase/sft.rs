//! Supervised learning: the cold start, from demonstrations.

use std::time::Instant;

use super::demonstrations::{demonstrations, end_of_turn};
use super::{Phase, Step, draw, whole};
use crate::config::SftConfig;
use crate::error::Result;
use crate::finite::Watch;
use crate::loader::{Loader, Prompts, Wants};
use crate::metrics::{Metrics, names};
use crate::run::Run;
use crate::run::updating::Rate;
use crate::update::{Passes, Scored, gradients};

/// Supervised learning at work.
pub(super) struct Sft {
    name: String,
    config: SftConfig,
    loader: Loader,
    /// The token that ends a turn.
    end: u32,
}

impl Sft {
    pub(super) fn open(name: &str, config: &SftConfig, run: &mut Run<'_>) -> Result<Self> {
        let end = end_of_turn(&run.processor)?;
        let parts = whole(run, name, &config.data)?;
        let state = run.state.data.as_ref();
        let loader = Loader::new(
            parts,
            config.batch_size,
            Wants::responses(config.max_tokens),
            run.config,
            &run.processor,
            state,
        )?;
        run.progress.begin(name, config.steps, run.state.step_in_part);
        Ok(Self { name: name.to_owned(), config: config.clone(), loader, end })
    }

    /// The weight of the loss that spreads rows over experts. A dense model has no router to balance, and a coefficient for
    /// it is refused when the run is opened.
    fn balance_coef(&self, run: &Run<'_>) -> Option<f64> {
        let moe = run.model.policy.config.text.moe.as_ref()?;
        Some(self.config.router_aux_loss_coef.unwrap_or(moe.balance_coef)).filter(|coef| *coef > 0.0)
    }

    /// One optimizer step.
    ///
    /// The loss is the negative log-prob of each answer token, with the weight that the phase gives it.
    fn update(&self, run: &mut Run<'_>, batch: &Prompts, metrics: &mut Metrics) -> Result<()> {
        let groups = demonstrations(&run.processor, self.end, &batch.prompts)?;
        let lengths: Vec<usize> = groups.iter().map(|group| group.completions[0].sampled_count()).collect();
        let weights = self.config.weighting.of_tokens(&lengths);
        let passes = Passes {
            temperature: 1.0,
            token_budget: run.config.run.token_budget,
            balance_coef: self.balance_coef(run),
            recompute: run.config.run.recompute,
        };
        let (mut loss, mut watch) = (0.0, Watch::default());
        let found = gradients(&run.model.policy, &groups, passes, &mut |sequences: &[Scored<'_>]| {
            let mut derivatives = Vec::new();
            for sequence in sequences {
                let weight = weights[sequence.group];
                loss -= sequence.log_probs.iter().map(|log_prob| weight * f64::from(*log_prob)).sum::<f64>();
                let own = vec![-weight as f32; sequence.log_probs.len()];
                watch.answer(&batch.prompts[sequence.group].query.id, sequence.log_probs, &own);
                derivatives.extend(own);
            }
            derivatives.into()
        })?;
        let lr = self.config.optimizer.lr_at(run.state.step_in_part, self.config.steps);
        metrics.sum(names::SFT_LOSS, loss);
        if let Some(balance) = found.balance {
            metrics.sum(names::BALANCE_LOSS, balance);
            watch.loss("loss that spreads rows over experts", balance);
        }
        metrics.set(names::LR, lr);
        run.apply(found.params, Rate { optimizer: &self.config.optimizer, lr }, watch, metrics)
    }
}

impl Phase for Sft {
    fn step(&mut self, run: &mut Run<'_>) -> Result<Step> {
        if run.state.step_in_part < self.config.steps {
            let started = Instant::now();
            let mut metrics = Metrics::default();
            let batch = draw(&mut self.loader, run, self.config.steps, &mut metrics)?;
            self.update(run, &batch, &mut metrics)?;
            run.publish(1)?;
            run.state.data = Some(batch.state);
            let note = format!("loss {:.3}", metrics.get(names::SFT_LOSS).unwrap_or(f64::NAN));
            run.record(&self.name, &metrics, started, &note)?;
        }
        Ok(if run.state.step_in_part >= self.config.steps { Step::Last } else { Step::More })
    }
}
