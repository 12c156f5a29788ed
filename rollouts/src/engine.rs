//! The contract of an engine: requests in, rollouts out as they end, whoever samples them.

use std::ops::ControlFlow;

use sapo_policies::Policy;

use crate::request::Request;
use crate::rollout::Rollout;
use crate::sampler::Draw;

/// What an engine tells while it samples; `request` is the number of the request in its list.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A token was drawn.
    Token {
        /// Of which request.
        request: usize,
        /// Of which of its samples.
        sample: usize,
        /// The token, with what is recorded of it.
        draw: Draw,
    },
    /// A rollout has ended; others may still be sampled.
    Ended {
        /// Of which request.
        request: usize,
        /// The record.
        rollout: Rollout,
    },
    /// A request cannot be answered; none of its rollouts will come any more, and those that came do not count. The others
    /// go on.
    Failed {
        /// Which request.
        request: usize,
        /// Why.
        reason: String,
    },
}

/// Hears what an engine tells, and says whether it is to go on.
pub type Listener<'a> = &'a mut dyn FnMut(Event) -> ControlFlow<()>;

/// Samples answers. Every request ends in one [`Event::Ended`] for each of its seeds, or in one [`Event::Failed`]; when the
/// listener breaks off, whatever is still being sampled is dropped.
pub trait Engine {
    /// Samples all requests with a policy, which is borrowed for this call alone; engines with weights of their own ignore
    /// it.
    ///
    /// # Errors
    /// When the engine as a whole cannot sample.
    fn sample(&self, policy: &Policy, requests: &[Request], events: Listener<'_>) -> Result<(), EngineError>;

    /// Takes over the weights of a policy, which from then on has this version: the number of its updates.
    ///
    /// # Errors
    /// When the weights cannot be handed over.
    fn publish(&mut self, policy: &Policy, version: u64) -> Result<(), EngineError>;
}

/// An engine that cannot sample.
#[derive(Debug, thiserror::Error)]
#[error("the engine cannot sample: {0}")]
pub struct EngineError(pub String);

/// Samples all requests and waits for all: the rollouts of each in the order of its seeds, or why it cannot be answered.
///
/// # Errors
/// When the engine as a whole cannot sample.
pub fn sample_all(
    engine: &dyn Engine,
    policy: &Policy,
    requests: &[Request],
) -> Result<Vec<Result<Vec<Rollout>, String>>, EngineError> {
    let mut groups: Vec<Result<Vec<Rollout>, String>> = requests.iter().map(|_| Ok(Vec::new())).collect();
    engine.sample(policy, requests, &mut |event| {
        match event {
            Event::Token { .. } => {}
            Event::Ended { request, rollout } => {
                if let Ok(group) = &mut groups[request] {
                    group.push(rollout);
                }
            }
            Event::Failed { request, reason } => groups[request] = Err(reason),
        }
        ControlFlow::Continue(())
    })?;
    groups.iter_mut().flatten().for_each(|group| group.sort_by_key(|rollout| rollout.sample));
    Ok(groups)
}
