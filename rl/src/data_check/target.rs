//! What is checked: a source with the rubrics that score it and whether a supervised phase imitates it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use sapo_datasets::{Dataset, OpenContext, SourceConfig, Split};
use sapo_rewards::{Endpoints, Registry, Rubric, RubricConfig, registry};

use crate::config::{Config, GENERATED_QUERIES, SourceUse};
use crate::error::{Result, RunError};

/// Rows that are checked of a generated source without an end.
const GENERATED_ROWS: u64 = 1000;

/// Rubrics by name.
type Rubrics = BTreeMap<String, Arc<Rubric>>;

/// A source to check.
pub struct Target {
    /// Its name in the configuration, or of its file.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its rows; each has an end.
    pub dataset: Dataset,
    /// Whether it is evaluated on, and not trained on.
    pub is_evaluation: bool,
    /// Whether a supervised phase imitates its responses.
    pub needs_response: bool,
    known: Arc<Rubrics>,
    used: BTreeSet<String>,
}

impl Target {
    /// Rows that are read and not scored.
    pub(super) fn to_read(dataset: Dataset, needs_response: bool) -> Self {
        Self {
            name: dataset.name().to_owned(),
            address: String::new(),
            dataset,
            is_evaluation: false,
            needs_response,
            known: Arc::default(),
            used: BTreeSet::new(),
        }
    }

    /// How many rows are checked.
    pub fn rows(&self) -> u64 {
        self.dataset.len().unwrap_or(0)
    }

    /// Whether rows are compared with each other: generated questions repeat themselves, and are meant to.
    pub fn may_repeat(&self) -> bool {
        self.dataset.generated().is_some()
    }

    pub(super) fn scores(&self) -> bool {
        !self.used.is_empty()
    }

    pub(super) fn named_rubric(&self, name: &str) -> Option<&Rubric> {
        self.known.get(name).map(Arc::as_ref)
    }

    pub(super) fn rubrics(&self) -> impl Iterator<Item = (&str, &Rubric)> {
        self.used.iter().filter_map(|name| Some((name.as_str(), self.known.get(name)?.as_ref())))
    }
}

/// Sources that are named by their addresses, scored by one rubric or by none.
///
/// # Errors
/// When a source cannot be used.
pub fn of_addresses(
    addresses: &[(String, SourceConfig)],
    is_evaluation: bool,
    seed: u64,
    rubric: Option<(&str, Rubric)>,
) -> Result<Vec<Target>> {
    let used: BTreeSet<String> = rubric.iter().map(|(name, _)| (*name).to_owned()).collect();
    let known: Arc<Rubrics> =
        Arc::new(rubric.into_iter().map(|(name, rubric)| (name.to_owned(), Arc::new(rubric))).collect());
    let default_split = if is_evaluation { Split::Test } else { Split::Train };
    let target = |(name, source): &(String, SourceConfig)| {
        let context = OpenContext { seed, base: PathBuf::new(), default_split };
        Ok(Target {
            name: name.clone(),
            address: source.source.clone(),
            dataset: ended(Dataset::open_to_check(name, source, &context)?, GENERATED_ROWS)?,
            is_evaluation,
            needs_response: false,
            known: Arc::clone(&known),
            used: used.clone(),
        })
    };
    addresses.iter().map(target).collect()
}

/// All sources of a configuration, as its phases and evaluations use them; `rubric` is in place of theirs.
///
/// # Errors
/// When a source or a rubric cannot be used.
pub fn of_config(config: &Config, rubric: Option<&str>) -> Result<Vec<Target>> {
    let known = Arc::new(all_rubrics(config)?);
    let mut found = Uses { config, known, rubric, targets: Vec::new(), keys: BTreeMap::new() };
    for phase in config.run.phases.iter().map(|name| config.phases[name].kind()) {
        for used in phase.data() {
            let scored = phase.rubric().map(|rubric| config.rubric_of(used, rubric));
            found.add(used, scored, None)?;
        }
    }
    for name in config.data.keys().filter(|name| !is_used(config, name)) {
        found.add(&SourceUse::of(name), config.data[name.as_str()].rubric.as_deref(), None)?;
    }
    for eval in config.eval.values() {
        for used in eval.uses() {
            let scored = config.rubric_of(&used, &eval.rubric);
            found.add(&used, Some(scored), Some((eval.seed, eval.queries_per_source)))?;
        }
    }
    Ok(found.targets)
}

/// Whether a phase or an evaluation uses a source.
fn is_used(config: &Config, name: &str) -> bool {
    let phases = config.run.phases.iter().flat_map(|phase| config.phases[phase].kind().data());
    let evals = config.eval.values().flat_map(|eval| &eval.data);
    phases.map(|used| &used.name).chain(evals).any(|used| used == name)
}

/// All rubrics of a configuration, without asking anybody anything.
///
/// # Errors
/// When one cannot be built.
fn all_rubrics(config: &Config) -> Result<Rubrics> {
    let registry = registry_of(config)?;
    let rubric =
        |(name, options): (&String, &RubricConfig)| Ok((name.clone(), Arc::new(Rubric::new(options, &registry)?)));
    config.rubrics.iter().map(rubric).collect()
}

/// The rewards of a configuration; judges that a run would serve are nowhere.
///
/// # Errors
/// When one cannot be built.
pub fn registry_of(config: &Config) -> Result<Registry> {
    let served = registry::served_judges(&config.rewards);
    let nowhere = served.into_iter().map(|name| (name.to_owned(), "http://127.0.0.1:9".to_owned())).collect();
    Ok(Registry::build(&config.rewards, &Endpoints(nowhere))?)
}

/// Sources as they are used: what is used twice in the same way is one target.
struct Uses<'a> {
    config: &'a Config,
    known: Arc<Rubrics>,
    rubric: Option<&'a str>,
    targets: Vec<Target>,
    keys: BTreeMap<String, usize>,
}

impl Uses<'_> {
    /// Adds a use; an evaluation has a seed and, perhaps, a number of queries.
    fn add(&mut self, used: &SourceUse, scored: Option<&str>, evaluation: Option<(u64, Option<usize>)>) -> Result<()> {
        let source = self.config.source(used, "data")?;
        // How responses are generated is not checked.
        let key = format!("{:?} {:?} {evaluation:?}", used.name, SourceConfig { hasty: 0.0, ..source.clone() });
        let at = match self.keys.get(&key) {
            Some(at) => *at,
            None => {
                let (seed, default_split) = match evaluation {
                    Some((seed, _)) => (seed, Split::Test),
                    None => (self.config.run.seed, Split::Train),
                };
                let context = OpenContext { seed, base: PathBuf::new(), default_split };
                let dataset = Dataset::open_to_check(&used.name, &source, &context)?;
                let dataset = match evaluation {
                    Some((_, most)) => evaluated(dataset, most)?,
                    None => ended(dataset, GENERATED_ROWS)?,
                };
                self.targets.push(Target {
                    name: used.name.clone(),
                    address: source.source.clone(),
                    dataset,
                    is_evaluation: evaluation.is_some(),
                    needs_response: false,
                    known: Arc::clone(&self.known),
                    used: BTreeSet::new(),
                });
                self.keys.insert(key, self.targets.len() - 1);
                self.targets.len() - 1
            }
        };
        let target = &mut self.targets[at];
        match scored {
            Some(scored) => target.used.extend([self.rubric.unwrap_or(scored).to_owned()]),
            None if evaluation.is_none() && is_imitated(self.config, used) => target.needs_response = true,
            None => target.used.extend(self.rubric.map(str::to_owned)),
        }
        Ok(())
    }
}

/// Whether a phase imitates a source.
fn is_imitated(config: &Config, used: &SourceUse) -> bool {
    let mut phases = config.run.phases.iter().map(|name| config.phases[name].kind()).filter(|phase| phase.imitates());
    phases.any(|phase| phase.data().iter().any(|other| other.name == used.name))
}

/// A generated source up to some row; what has an end stays as it is.
fn ended(dataset: Dataset, rows: u64) -> Result<Dataset> {
    match dataset.len() {
        Some(_) => Ok(dataset),
        None => Ok(dataset.slice(None, Some(rows))?),
    }
}

/// The rows that an evaluation asks.
fn evaluated(dataset: Dataset, most: Option<usize>) -> Result<Dataset> {
    let most = most.or(dataset.len().is_none().then_some(GENERATED_QUERIES));
    let rows = most.map(|most| dataset.len().map_or(most as u64, |length| length.min(most as u64)));
    Ok(dataset.slice(None, rows)?)
}

/// A rubric of a configuration by its name.
///
/// # Errors
/// When there is none; the message names those that are.
pub fn rubric_of(config: &Config, name: &str) -> Result<Rubric> {
    let known = || config.rubrics.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let options = config.rubrics.get(name);
    let options =
        options.ok_or_else(|| RunError::User(format!("--rubric {name}: the configuration has {}", known())))?;
    Ok(Rubric::new(options, &registry_of(config)?)?)
}
