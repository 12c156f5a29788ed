//! The rewards of a run: built once, rules on a pool of threads, what asks others beside generation.

pub mod judge;
pub mod served;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use sapo_datasets::{Query, Transcript};
use sapo_rewards::{Endpoints, Judge, Registry, RewardConfig, Rubric, RubricConfig, Scored};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use self::served::Served;
use crate::config::{Config, EvalConfig, SourceUse};
use crate::data::Prompt;
use crate::error::{Result, RunError};

/// A score that is on its way.
pub type Pending = JoinHandle<Scored>;

/// A rubric that is ready, with its name.
#[derive(Clone)]
pub struct ReadyRubric {
    name: Arc<str>,
    rubric: Arc<Rubric>,
    asks_others: bool,
}

impl std::ops::Deref for ReadyRubric {
    type Target = Rubric;

    fn deref(&self) -> &Self::Target {
        &self.rubric
    }
}

impl ReadyRubric {
    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it asks judges, plugins or programs.
    pub fn asks_others(&self) -> bool {
        self.asks_others
    }
}

/// Rewards that are ready, with the servers of the judges that the run itself serves.
pub struct Rewards {
    /// Rules: they compute, and must not hold up what waits for others.
    rules: Runtime,
    /// Judges, plugins and programs: they wait.
    others: Runtime,
    registry: Registry,
    configs: BTreeMap<String, RewardConfig>,
    rubrics: BTreeMap<String, ReadyRubric>,
    prepared: Vec<String>,
    served: Vec<Served>,
}

impl Rewards {
    /// The rewards of a run: those that the rubrics of its phases and evaluations use. Judges are started, asked whether
    /// they are there.
    ///
    /// # Errors
    /// When a reward cannot be built or cannot work here, or a judge does not start or answer.
    pub fn open(config: &Config) -> Result<Self> {
        let used: Vec<(&str, &RubricConfig)> =
            config.used_rubrics().into_iter().map(|name| (name, &config.rubrics[name])).collect();
        let rewards = Self::of_rubrics(&config.rewards, &used)?;
        for judge in rewards.judges().values() {
            rewards.wait(judge.reach())?;
        }
        Ok(rewards)
    }

    /// From now on judges remember their verdicts in a run's folder.
    pub fn remember_in(&self, run: &Path) {
        self.judges().values().for_each(|judge| judge.open_cache(Some(run)));
    }

    /// The rewards that some rubrics use; judges that the configuration wants served are started.
    ///
    /// # Errors
    /// As [`Rewards::open`].
    pub fn of_rubrics(configs: &BTreeMap<String, RewardConfig>, rubrics: &[(&str, &RubricConfig)]) -> Result<Self> {
        let used: BTreeSet<&str> = rubrics.iter().flat_map(|(_, rubric)| rubric.rewards()).collect();
        let configs: BTreeMap<String, RewardConfig> = configs
            .iter()
            .filter(|(name, _)| used.contains(name.as_str()))
            .map(|(name, reward)| (name.clone(), reward.clone()))
            .collect();
        let (endpoints, served) = serve_judges(&configs)?;
        let registry = Registry::build(&configs, &endpoints)?;
        let prepared = registry.prepare()?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut rewards = Self {
            rules: runtime(threads)?,
            others: runtime(1)?,
            registry,
            configs,
            rubrics: BTreeMap::new(),
            prepared,
            served,
        };
        for (name, rubric) in rubrics {
            let ready = rewards.ready(name, rubric)?;
            rewards.rubrics.insert((*name).to_owned(), ready);
        }
        Ok(rewards)
    }

    /// A rubric of its own over these rewards.
    ///
    /// # Errors
    /// When a reward is not known, a name comes twice, or a number makes no sense.
    pub fn ready(&self, name: &str, config: &RubricConfig) -> Result<ReadyRubric> {
        let asks = |reward: &RewardConfig| {
            matches!(
                reward,
                RewardConfig::Judge(_) | RewardConfig::Process(_) | RewardConfig::Http(_) | RewardConfig::Code(_)
            )
        };
        let asks_others = config.rewards().into_iter().any(|reward| self.configs.get(reward).is_some_and(asks));
        let rubric = Arc::new(Rubric::new(config, &self.registry)?);
        Ok(ReadyRubric { name: name.into(), rubric, asks_others })
    }

    /// A rubric by its name.
    ///
    /// # Errors
    /// When these rewards were not opened for it.
    pub fn rubric(&self, name: &str) -> Result<ReadyRubric> {
        let known = || self.rubrics.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let unknown = || RunError::User(format!("the rubric `{name}` is not in use here; in use: {}", known()));
        self.rubrics.get(name).cloned().ok_or_else(unknown)
    }

    /// The rubric of every source of a list, in its order.
    ///
    /// # Errors
    /// As [`Rewards::rubric`].
    pub fn of_uses(&self, config: &Config, uses: &[SourceUse], rubric: &str) -> Result<Vec<ReadyRubric>> {
        uses.iter().map(|used| self.rubric(config.rubric_of(used, rubric))).collect()
    }

    /// The rubric that a row asks for, else that of its source.
    ///
    /// # Errors
    /// As [`Rewards::rubric`].
    pub fn of_row(&self, prompt: &Prompt, rubrics: &[ReadyRubric]) -> Result<ReadyRubric> {
        match &prompt.query.rubric {
            Some(name) => self.rubric(name),
            None => Ok(rubrics[prompt.part].clone()),
        }
    }

    /// The rubric of every source of an evaluation, in its order.
    ///
    /// # Errors
    /// As [`Rewards::rubric`].
    pub fn of_eval(&self, config: &Config, eval: &EvalConfig) -> Result<Vec<ReadyRubric>> {
        self.of_uses(config, &eval.uses(), &eval.rubric)
    }

    /// What people should know of the rewards, a line each: as which sandbox programs run in.
    pub fn prepared(&self) -> &[String] {
        &self.prepared
    }

    /// The judges, by name.
    pub fn judges(&self) -> &BTreeMap<String, Arc<Judge>> {
        self.registry.judges()
    }

    /// Starts to score a transcript.
    pub fn start(&self, rubric: &ReadyRubric, query: Arc<Query>, transcript: Transcript) -> Pending {
        let runtime = if rubric.asks_others { &self.others } else { &self.rules };
        let rubric = Arc::clone(&rubric.rubric);
        runtime.spawn(async move { rubric.score_with_calls(&query, &transcript).await })
    }

    /// Waits for a score.
    ///
    /// # Errors
    /// When a reward panicked, which is a fault of this program or of a reward that was compiled in.
    pub fn finish(&self, pending: Pending) -> Result<Scored> {
        self.others.block_on(pending).map_err(|error| RunError::Internal(format!("a reward died: {error}")))
    }

    /// Waits for anything that rewards promise.
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.others.block_on(future)
    }

    /// Stops the run when nothing can be judged any more.
    ///
    /// # Errors
    /// [`RunError::Stopped`] with the reason.
    pub fn ensure_running(&self) -> Result<()> {
        let stopped = self.judges().iter().find_map(|(name, judge)| Some((name, judge.stopped()?)));
        stopped.map_or(Ok(()), |(name, reason)| Err(RunError::Stopped(format!("rewards.{name}: {reason}"))))
    }

    /// What the judges have to tell people.
    pub fn take_notes(&self) -> Vec<String> {
        self.judges().values().flat_map(|judge| judge.take_notes()).collect()
    }

    /// Largest resident memory of the servers that were started, in bytes.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.served.iter().map(Served::peak_rss_bytes).sum()
    }
}

fn runtime(threads: usize) -> Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    runtime.map_err(|error| RunError::Internal(format!("no thread for rewards: {error}")))
}

/// Starts the servers that judges ask for by `serve:MODEL`; they end with what is returned.
///
/// # Errors
/// When one does not start.
pub fn serve_judges(rewards: &BTreeMap<String, RewardConfig>) -> Result<(Endpoints, Vec<Served>)> {
    let (mut endpoints, mut served) = (Endpoints::default(), Vec::new());
    for reward in rewards.values() {
        let RewardConfig::Judge(judge) = reward else { continue };
        let Some(model) = judge.serve_name() else { continue };
        if !endpoints.0.contains_key(model) {
            let server = Served::start(model, &judge.model, judge.max_tokens as usize)?;
            endpoints.0.insert(model.to_owned(), server.url().to_owned());
            served.push(server);
        }
    }
    Ok((endpoints, served))
}
