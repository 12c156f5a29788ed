//! What `sapo eval` evaluates on: sets of a configuration, generated tasks, or the rows of files.

use clap::ValueEnum;
use sapo_datasets::{Dataset, DatasetError, SourceConfig, Split, Task};
use sapo_policies::preset::PRESETS;

use super::EvalArguments;
use crate::cli::address;
use crate::config::{Config, EvalConfig, GENERATED_QUERIES};
use crate::data;
use crate::data_check::{KnownRubrics, remarks_of};
use crate::error::{Result, RunError};
use crate::eval::EvalSampling;

/// Rows that are decoded together at most, where no configuration says otherwise.
pub(super) const DECODE_ROWS: usize = 1024;
/// The reward of an evaluation without a configuration: each row's own verifier.
const REWARD: &str = "truth";
/// Seed of queries and samples where nothing is said.
pub(super) const SEED: u64 = 7;
/// Token limit of a preset's answers where nothing is said: they are short, or have no end.
const PRESET_TOKENS: usize = 40;
/// Token limit of the answers of any other model where nothing is said.
const USUAL_TOKENS: usize = 2048;

/// What is evaluated on, and how.
pub(super) struct Target {
    pub(super) set: String,
    pub(super) datasets: Vec<Dataset>,
    pub(super) rubrics: Vec<String>,
    pub(super) unaveraged: Vec<String>,
    pub(super) sampling: EvalSampling,
    /// Where the token limit is set.
    pub(super) limit: String,
    /// What is worth saying of its rows.
    pub(super) remarks: Vec<String>,
}

impl Target {
    /// An evaluation of a configuration, with what the arguments change.
    pub(super) fn of_set(arguments: &EvalArguments, config: &Config, name: &str) -> Result<Self> {
        let mut eval = config.eval[name].clone();
        let number = |given: Option<u32>, configured: usize| given.map_or(configured, |given| given as usize);
        eval.samples = number(arguments.samples, eval.samples);
        eval.max_new_tokens = number(arguments.max_new_tokens, eval.max_new_tokens);
        eval.seed = arguments.seed.unwrap_or(eval.seed);
        eval.queries_per_source = arguments.queries.map(|queries| queries as usize).or(eval.queries_per_source);
        let uses = eval.uses();
        let of_source = |used| arguments.rubric.clone().unwrap_or(config.rubric_of(used, &eval.rubric).to_owned());
        let given = arguments.max_new_tokens.is_some();
        let datasets = data::open_eval(config, &eval)?;
        let known = KnownRubrics::of(config.rubrics.keys());
        Ok(Self {
            set: name.to_owned(),
            remarks: looked_at(&datasets, &known)?,
            datasets,
            rubrics: uses.iter().map(of_source).collect(),
            unaveraged: [eval.unaveraged.clone(), arguments.apart.clone()].concat(),
            sampling: arguments.sampling(eval.sampling(config.run.decode_rows))?,
            limit: if given { "--max-new-tokens".to_owned() } else { format!("eval.{name}.max_new_tokens") },
        })
    }

    /// The sources that the arguments name, or the reasoning tasks.
    pub(super) fn of_arguments(
        arguments: &EvalArguments,
        config: Option<&Config>,
        eval: Option<&EvalConfig>,
    ) -> Result<Self> {
        let seed = arguments.seed.or(eval.map(|eval| eval.seed)).unwrap_or(SEED);
        let configured = eval.and_then(|eval| eval.queries_per_source);
        let datasets = sources(arguments, configured, seed)?;
        let number = |given: Option<u32>, configured: Option<usize>, usual: usize| {
            given.map(|given| given as usize).or(configured).unwrap_or(usual)
        };
        let known: Vec<&str> = datasets.iter().map(Dataset::name).collect();
        if let Some(unknown) = arguments.apart.iter().find(|apart| !known.contains(&apart.as_str())) {
            let known = known.join(", ");
            return Err(RunError::User(format!(
                "--apart {unknown}: no source is called `{unknown}`; there are {known}"
            )));
        }
        let only = config.and_then(|config| config.rubrics.keys().next().filter(|_| config.rubrics.len() == 1));
        let configured = eval.map(|eval| eval.rubric.clone()).or(only.cloned());
        let rubric = arguments.rubric.clone().or(configured).unwrap_or(REWARD.to_owned());
        let known = config.map(|config| KnownRubrics::of(config.rubrics.keys())).unwrap_or_default();
        let is_preset = PRESETS.contains(&arguments.model.as_str()) && arguments.endpoint.is_none();
        let tokens = if is_preset { PRESET_TOKENS } else { USUAL_TOKENS };
        Ok(Self {
            set: "eval".to_owned(),
            rubrics: vec![rubric; datasets.len()],
            remarks: looked_at(&datasets, &known)?,
            datasets,
            unaveraged: arguments.apart.clone(),
            sampling: arguments.sampling(EvalSampling {
                samples: number(arguments.samples, eval.map(|eval| eval.samples), 4),
                temperature: 1.0,
                top_p: 1.0,
                top_k: 0,
                presence_penalty: 0.0,
                max_new_tokens: number(arguments.max_new_tokens, eval.map(|eval| eval.max_new_tokens), tokens),
                seed,
                decode_rows: config.map_or(DECODE_ROWS, |config| config.run.decode_rows),
            })?,
            limit: "--max-new-tokens".to_owned(),
        })
    }

    /// The ids of its queries that can be read, in order.
    pub(super) fn ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for dataset in &self.datasets {
            dataset.visit(0, dataset.len().unwrap_or(0), &mut |_, example| {
                ids.extend(example.map(|example| example.query.id));
            });
        }
        ids
    }
}

/// The sampling of the report's text benchmarks (Qwen3-VL technical report, 5.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SamplingPreset {
    /// Instruct models of 30B and more: temperature 0.7, top-p 0.8, top-k 20, presence penalty 1.5.
    Instruct,
    /// Instruct models of 2B, 4B and 8B: temperature 1, top-p 1, top-k 40, presence penalty 2.
    InstructSmall,
    /// Thinking models with experts: temperature 0.6, top-p 0.95, top-k 20.
    Thinking,
    /// Dense thinking models: temperature 1, top-p 0.95, top-k 20, presence penalty 1.5.
    ThinkingDense,
}

impl SamplingPreset {
    fn applied(self, to: EvalSampling) -> EvalSampling {
        let (temperature, top_p, top_k, presence_penalty) = match self {
            Self::Instruct => (0.7, 0.8, 20, 1.5),
            Self::InstructSmall => (1.0, 1.0, 40, 2.0),
            Self::Thinking => (0.6, 0.95, 20, 0.0),
            Self::ThinkingDense => (1.0, 0.95, 20, 1.5),
        };
        EvalSampling { temperature, top_p, top_k, presence_penalty, ..to }
    }
}

/// What is worth saying of some rows of each source.
///
/// # Errors
/// When one of them asks for a rubric that is not there.
fn looked_at(datasets: &[Dataset], known: &KnownRubrics) -> Result<Vec<String>> {
    let mut remarks = Vec::new();
    for dataset in datasets {
        remarks.extend(remarks_of(dataset, known)?);
    }
    Ok(remarks)
}

impl EvalArguments {
    /// What is configured, with what the arguments change.
    ///
    /// # Errors
    /// When it makes no sense.
    fn sampling(&self, configured: EvalSampling) -> Result<EvalSampling> {
        let usual = self.preset.map_or(configured, |preset| preset.applied(configured));
        let sampling = EvalSampling {
            temperature: self.temperature.unwrap_or(usual.temperature),
            top_p: self.top_p.unwrap_or(usual.top_p),
            top_k: self.top_k.unwrap_or(usual.top_k),
            presence_penalty: self.presence_penalty.unwrap_or(usual.presence_penalty),
            ..usual
        };
        match sampling.fault() {
            Some((key, reason)) => Err(RunError::User(format!("--{}: {reason}", key.replace('_', "-")))),
            None => Ok(sampling),
        }
    }
}

/// The datasets of `--data`, or of `--tasks`, each cut to the queries that are asked for.
fn sources(arguments: &EvalArguments, configured: Option<usize>, seed: u64) -> Result<Vec<Dataset>> {
    let mut named: Vec<String> = arguments.data.clone();
    if named.is_empty() {
        let usual = Task::REASONING.iter().filter(|task| !arguments.apart.iter().any(|apart| apart == task.name()));
        let tasks: Vec<Task> = match arguments.tasks.as_slice() {
            [] => usual.copied().collect(),
            tasks => tasks.to_vec(),
        };
        named = tasks.iter().map(|task| task.name().to_owned()).collect();
        named.extend(arguments.apart.iter().filter(|apart| !tasks.iter().any(|task| task.name() == **apart)).cloned());
        named.iter().try_for_each(|name| Task::parse(name).map(|_| ()))?;
        named.iter_mut().for_each(|name| name.insert_str(0, "synthetic:"));
        if let Some((at, twice)) = named.iter().enumerate().find(|(at, name)| named[..*at].contains(name)) {
            return Err(RunError::User(format!("`{twice}` stands twice in --tasks (number {at}); leave one out")));
        }
    }
    named.iter().map(|name| source(arguments, name, configured, seed)).collect()
}

fn source(arguments: &EvalArguments, name: &str, configured: Option<usize>, seed: u64) -> Result<Dataset> {
    let (prompt, system) = (arguments.template.clone(), arguments.system.clone());
    let config = SourceConfig { source: name.to_owned(), prompt, system, ..SourceConfig::default() };
    let dataset = address::open_config(&config, seed, Split::Test)?;
    let generated = name.starts_with("synthetic:");
    let usual = (generated && arguments.data.is_empty()).then_some(configured.unwrap_or(GENERATED_QUERIES) as u64);
    let most = arguments.limit.or(arguments.queries).map(u64::from);
    let count = match (dataset.len(), most.or(usual)) {
        (Some(0), _) => {
            return Err(RunError::User(format!("--data {name}: it has no rows, so there is nothing to evaluate on")));
        }
        (Some(length), most) => most.unwrap_or(length).min(length),
        (None, Some(most)) => most,
        (None, None) => {
            let reason = "has no end; give --queries N or a slice such as [0:200]";
            return Err(DatasetError::Request(format!("--data {name}: {reason}")).into());
        }
    };
    let dataset = dataset.slice(None, Some(count))?;
    let first = dataset.get(0)?.query;
    if first.ground_truth.is_none() && arguments.config.is_empty() {
        return Err(RunError::User(format!(
            "{name} row 1 (query `{}`): no ground truth; add `ground_truth`, or give the --config whose [data.NAME] names its \
             column",
            first.id
        )));
    }
    match &first.rubric {
        // A row may ask for a rubric; another one is used only when it is asked for by name.
        Some(rubric) if arguments.rubric.is_none() && arguments.config.is_empty() => Err(RunError::User(format!(
            "{name} query `{}` asks for the rubric `{rubric}`; say --rubric {rubric} with the --config that has it, or \
             another one",
            first.id
        ))),
        _ => Ok(dataset),
    }
}
