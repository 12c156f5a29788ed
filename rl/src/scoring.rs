//! Scoring beside generation: rubrics that are ready, and the runtime on which their rewards wait for others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sapo_datasets::{Query, Transcript};
use sapo_rewards::{Endpoints, Judge, Registry, RewardConfig, Rubric, RubricConfig, Scored};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::error::{Result, RunError};

/// A score that is on its way.
pub type Pending = JoinHandle<Scored>;

/// Rewards that are ready, and a thread on which they run while the policy goes on sampling.
pub struct Scorer {
    runtime: Runtime,
    registry: Registry,
    prepared: Vec<String>,
}

impl Scorer {
    /// A scorer with the rewards of a configuration; `endpoints` says where its judges are.
    ///
    /// # Errors
    /// When a reward cannot be built, or cannot work on this machine.
    pub fn new(rewards: &BTreeMap<String, RewardConfig>, endpoints: &Endpoints) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| RunError::Internal(format!("no thread for rewards: {error}")))?;
        let registry = Registry::build(rewards, endpoints)?;
        let prepared = registry.prepare()?;
        Ok(Self { runtime, registry, prepared })
    }

    /// What people should know of the rewards, a line each: as which sandbox programs run in.
    pub fn prepared(&self) -> &[String] {
        &self.prepared
    }

    /// A rubric with its rewards.
    ///
    /// # Errors
    /// When a reward is not known, a name comes twice, or a number makes no sense.
    pub fn rubric(&self, config: &RubricConfig) -> Result<Arc<Rubric>> {
        Ok(Arc::new(Rubric::new(config, &self.registry)?))
    }

    /// The judges, by name.
    pub fn judges(&self) -> &BTreeMap<String, Arc<Judge>> {
        self.registry.judges()
    }

    /// Starts to score a transcript.
    pub fn start(&self, rubric: &Arc<Rubric>, query: Arc<Query>, transcript: Transcript) -> Pending {
        let rubric = Arc::clone(rubric);
        self.runtime.spawn(async move { rubric.score_with_calls(&query, &transcript).await })
    }

    /// Waits for a score.
    ///
    /// # Errors
    /// When a reward panicked, which is a fault of this program or of a reward that was compiled in.
    pub fn finish(&self, pending: Pending) -> Result<Scored> {
        self.runtime.block_on(pending).map_err(|error| RunError::Internal(format!("a reward died: {error}")))
    }

    /// Waits for anything that rewards promise.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// Which rubric scores which query: one for all, others for some tasks.
#[derive(Clone)]
pub struct Rubrics {
    all: Arc<Rubric>,
    by_task: BTreeMap<String, Arc<Rubric>>,
}

impl Rubrics {
    /// One rubric for every query.
    pub fn one(rubric: Arc<Rubric>) -> Self {
        Self { all: rubric, by_task: BTreeMap::new() }
    }

    /// With another rubric for a task.
    #[must_use]
    pub fn with(mut self, task: &str, rubric: Arc<Rubric>) -> Self {
        self.by_task.insert(task.to_owned(), rubric);
        self
    }

    /// The rubric of a query.
    pub fn of(&self, query: &Query) -> &Arc<Rubric> {
        self.by_task.get(&query.task).unwrap_or(&self.all)
    }
}

/// The names of the rewards that rubrics use.
pub fn used_rewards<'a>(rubrics: impl IntoIterator<Item = &'a RubricConfig>) -> BTreeSet<&'a str> {
    rubrics.into_iter().flat_map(RubricConfig::rewards).collect()
}
