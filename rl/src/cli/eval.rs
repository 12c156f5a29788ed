//! `sapo eval`: evaluates a model on the sets of a configuration, on generated tasks, or on the rows of files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use sapo_datasets::{Dataset, DatasetError, Split, Task};
use sapo_policies::Model;
use sapo_policies::weights::Loading;
use sapo_rewards::RubricConfig;
use sapo_rollouts::LocalEngine;

use super::address;
use super::config::compose_rewards;
use super::printer::{Printer, print_json, print_text, table};
use super::weights::Dtype;
use crate::config::{Config, EvalConfig, GENERATED_QUERIES};
use crate::engine::RunEngine;
use crate::error::{Result, RunError};
use crate::eval::{ALL, EvalRow, EvalSampling, EvalSet, Evaluation, evaluate};
use crate::ledger::{self, Ledger};
use crate::progress::Progress;
use crate::run_dir::RunDir;
use crate::sample::Generator;
use crate::score::Rewards;
use crate::{checking, data, device};

/// Rows that are decoded together at most, where no configuration says otherwise.
const DECODE_ROWS: usize = 1024;
/// The reward of an evaluation without a configuration: each row's own verifier.
const REWARD: &str = "truth";
/// Seed of queries and samples where nothing is said.
const SEED: u64 = 7;
/// Rewards whose 1 is bad.
const PENALTIES: [&str; 2] = ["language", "repetition"];

/// Which model, on what, and how.
#[derive(Args)]
pub(crate) struct EvalArguments {
    /// A preset, a checkpoint of a run, or a folder in the Hugging Face layout.
    #[arg(long)]
    pub(crate) model: String,
    /// Rows to evaluate on, each with a ground truth: FILE.jsonl, FILE.parquet, a folder, or
    /// synthetic:TASK@test[0:200]; may be repeated.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) data: Vec<String>,
    /// At most so many rows of each --data.
    #[arg(long, requires = "data", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// Generated tasks, separated by commas [default: arith,count,clock,digits,locate,logic].
    #[arg(long, value_delimiter = ',', value_parser = Task::parse, conflicts_with = "data")]
    pub(crate) tasks: Vec<Task>,
    /// Test queries of each generated task [default: 200]; with --data at most so many of each task.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) queries: Option<u32>,
    /// Tasks, separated by commas, that get a row but are no part of `all`.
    #[arg(long, value_delimiter = ',', value_name = "TASKS")]
    pub(crate) apart: Vec<String>,
    /// A rubric of the configuration, or without one the name of a rule reward as `sapo reward list` shows
    /// [default: the configuration's, else truth].
    #[arg(long, value_name = "NAME")]
    pub(crate) rubric: Option<String>,
    /// Configuration files, then overrides, as `sapo train` takes them.
    #[arg(long, num_args = 1.., value_name = "FILE.toml")]
    pub(crate) config: Vec<String>,
    /// Samples of each query at temperature 1; from 16 on pass@16 is told [default: 4].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) samples: Option<u32>,
    /// Seed of queries and samples [default: 7].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Token limit of an answer [default: 40].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) max_new_tokens: Option<u32>,
    /// Evaluates this set of the configuration alone [default: all of them].
    #[arg(long, value_name = "NAME", requires = "config")]
    pub(crate) set: Option<String>,
    /// Writes results.json, samples.jsonl and ledger.jsonl into this new folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// The format that weights are kept in; all is computed in f32.
    #[arg(long, default_value = "f32")]
    pub(crate) dtype: Dtype,
    /// Where the model computes: `cpu`, `cuda:0` in a build with the feature `cuda`, or `wgpu:0` in one with `wgpu`
    /// (docs/gpu.md) [default: `run.device` of the configuration, else cpu].
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &EvalArguments) -> Result<()> {
    let config = (!arguments.config.is_empty()).then(|| compose_rewards(&arguments.config)).transpose()?;
    let sets = config.as_ref().map(|config| chosen(arguments, config)).transpose()?.unwrap_or_default();
    let out = arguments.out.as_deref().map(vacant).transpose()?;
    let targets = match config.as_ref().filter(|_| arguments.data.is_empty() && arguments.tasks.is_empty()) {
        Some(config) => sets.iter().map(|name| Target::of_set(arguments, config, name)).collect::<Result<Vec<_>>>()?,
        None => {
            let eval = config.as_ref().and_then(|config| config.eval.get(*sets.first()?));
            vec![Target::of_arguments(arguments, config.as_ref(), eval)?]
        }
    };
    let rewards = rewards(config.as_ref(), &targets)?;
    for line in rewards.prepared() {
        eprintln!("{line}");
    }
    let configured = config.as_ref().map(|config| &*config.run.device);
    let device = device::open(arguments.device.as_deref().or(configured).unwrap_or("cpu"))?;
    let seed = targets.first().map_or(SEED, |target| target.sampling.seed);
    let mut model = Model::open_as(&arguments.model, seed, Loading::kept_in(arguments.dtype.format()), &device)?;
    model.limit_prompts(config.as_ref().and_then(|config| config.policy.prompt_limit()));
    let engine = config.as_ref().map(|config| config.engine.clone()).unwrap_or_default();
    let decode_rows = config.as_ref().map_or(DECODE_ROWS, |config| config.run.decode_rows);
    let cache_mib = config.as_ref().map_or(LocalEngine::CACHE_MIB, |config| config.run.cache_mib);
    let engine = RunEngine::open(&engine, &model, [decode_rows, cache_mib])?;
    let printer = Printer::new();
    if let Some(config) = config.as_ref().filter(|config| !config.engine.is_local()) {
        printer.say(&RunEngine::described(&config.engine));
    }
    let mut evaluations = Vec::new();
    for target in &targets {
        let generator =
            Generator { policy: &model.policy, processor: &model.processor, engine: &engine, rewards: &rewards };
        evaluations.push(evaluated(arguments, target, generator, &printer)?);
        engine.take_notes().iter().for_each(|note| printer.say(note));
    }
    printer.finish();
    if let Some(folder) = out {
        keep(folder, &evaluations, &printer)?;
    }
    print(arguments, &evaluations, seed, &printer)
}

/// The evaluations of a configuration that are asked for: the one that is named, or all.
fn chosen<'a>(arguments: &'a EvalArguments, config: &'a Config) -> Result<Vec<&'a str>> {
    match &arguments.set {
        Some(name) if config.eval.contains_key(name) => Ok(vec![name]),
        Some(name) => {
            let known: Vec<&str> = config.eval.keys().map(String::as_str).collect();
            Err(RunError::User(format!("--set {name}: the configuration has {}", known.join(", "))))
        }
        None => Ok(config.eval.keys().map(String::as_str).collect()),
    }
}

/// What is evaluated on, and how.
struct Target {
    set: String,
    datasets: Vec<Dataset>,
    rubrics: Vec<String>,
    unaveraged: Vec<String>,
    sampling: EvalSampling,
}

impl Target {
    /// An evaluation of a configuration, with what the arguments change.
    fn of_set(arguments: &EvalArguments, config: &Config, name: &str) -> Result<Self> {
        let mut eval = config.eval[name].clone();
        let number = |given: Option<u32>, configured: usize| given.map_or(configured, |given| given as usize);
        eval.samples = number(arguments.samples, eval.samples);
        eval.max_new_tokens = number(arguments.max_new_tokens, eval.max_new_tokens);
        eval.seed = arguments.seed.unwrap_or(eval.seed);
        eval.queries_per_source = arguments.queries.map(|queries| queries as usize).or(eval.queries_per_source);
        let uses = eval.uses();
        let of_source = |used| arguments.rubric.clone().unwrap_or(config.rubric_of(used, &eval.rubric).to_owned());
        Ok(Self {
            set: name.to_owned(),
            datasets: data::open_eval(config, &eval)?,
            rubrics: uses.iter().map(of_source).collect(),
            unaveraged: [eval.unaveraged.clone(), arguments.apart.clone()].concat(),
            sampling: EvalSampling {
                samples: eval.samples,
                max_new_tokens: eval.max_new_tokens,
                seed: eval.seed,
                decode_rows: config.run.decode_rows,
            },
        })
    }

    /// The sources that the arguments name, or the reasoning tasks.
    fn of_arguments(arguments: &EvalArguments, config: Option<&Config>, eval: Option<&EvalConfig>) -> Result<Self> {
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
        Ok(Self {
            set: "eval".to_owned(),
            rubrics: vec![rubric; datasets.len()],
            datasets,
            unaveraged: arguments.apart.clone(),
            sampling: EvalSampling {
                samples: number(arguments.samples, eval.map(|eval| eval.samples), 4),
                max_new_tokens: number(arguments.max_new_tokens, eval.map(|eval| eval.max_new_tokens), 40),
                seed,
                decode_rows: config.map_or(DECODE_ROWS, |config| config.run.decode_rows),
            },
        })
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
    let dataset = address::open(name, seed, Split::Test)?;
    let generated = name.starts_with("synthetic:");
    let usual = (generated && arguments.data.is_empty()).then_some(configured.unwrap_or(GENERATED_QUERIES) as u64);
    let most = arguments.limit.or(arguments.queries).map(u64::from);
    let count = match (dataset.len(), most.or(usual)) {
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

/// The rewards that the evaluation needs; without a configuration a rubric is the name of a rule.
fn rewards(config: Option<&Config>, targets: &[Target]) -> Result<Rewards> {
    let names: BTreeSet<&str> = targets.iter().flat_map(|target| target.rubrics.iter().map(String::as_str)).collect();
    let mut rubrics: BTreeMap<&str, RubricConfig> = BTreeMap::new();
    for name in names {
        let rubric = match config {
            Some(config) if config.rubrics.contains_key(name) => config.rubrics[name].clone(),
            Some(config) if config.rewards.contains_key(name) => checking::alone(name),
            Some(config) => {
                let known: Vec<&str> = config.rubrics.keys().chain(config.rewards.keys()).map(String::as_str).collect();
                return Err(RunError::User(format!("--rubric {name}: the configuration has {}", known.join(", "))));
            }
            None if PENALTIES.contains(&name) => {
                let reason = "a penalty does not measure what is right; name a verifier";
                return Err(RunError::User(format!("--rubric {name}: {reason}")));
            }
            None => checking::alone(name),
        };
        rubrics.insert(name, rubric);
    }
    let none = BTreeMap::new();
    let configs = config.map_or(&none, |config| &config.rewards);
    let named: Vec<(&str, &RubricConfig)> = rubrics.iter().map(|(name, rubric)| (*name, rubric)).collect();
    Rewards::of_rubrics(configs, &named).map_err(|error| match (config, named.first()) {
        (None, Some((name, _))) => RunError::User(format!(
            "--rubric {name}: {error} (without a configuration an evaluation scores by rules; judges are not asked)"
        )),
        _ => error,
    })
}

fn evaluated(
    arguments: &EvalArguments,
    target: &Target,
    generator: Generator<'_>,
    printer: &Printer,
) -> Result<Evaluation> {
    let rewards = generator.rewards;
    let rubrics = target.rubrics.iter().map(|name| rewards.rubric(name)).collect::<Result<Vec<_>>>()?;
    let set = EvalSet { datasets: &target.datasets, rubrics: &rubrics, unaveraged: &target.unaveraged };
    let queries: u64 = target.datasets.iter().filter_map(Dataset::len).sum();
    printer.begin("evaluation", queries * (target.sampling.samples as u64 + 1), 0);
    let mut evaluation = evaluate(generator, &set, target.sampling, &arguments.model, &mut |ended| {
        printer.done(ended as u64, "rollouts");
    })?;
    rewards.ensure_running()?;
    evaluation.set.clone_from(&target.set);
    data::left_out("eval", evaluation.dropped_pictures).iter().for_each(|warning| printer.say(warning));
    for row in &evaluation.rejected {
        printer.say(&format!("a row is left out: {} row {}: {}", row.source, row.index + 1, row.reason));
    }
    Ok(evaluation)
}

/// Writes the evaluations into a folder; several have folders of their own in it.
fn keep(folder: &Path, evaluations: &[Evaluation], printer: &Printer) -> Result<()> {
    let folder = RunDir::create(folder, 0, printer)?;
    for evaluation in evaluations {
        let place = if evaluations.len() > 1 { format!("{}/", evaluation.set) } else { String::new() };
        let samples = format!("{place}samples.jsonl");
        folder.append(&samples, &evaluation.samples)?;
        let entries = Ledger::default().lines(0, Some("samples.jsonl"), &evaluation.entries);
        folder.append(&format!("{place}{}", ledger::FILE), &entries)?;
        folder.write_json(&format!("{place}results.json"), &evaluation.results(0))?;
    }
    Ok(())
}

fn print(arguments: &EvalArguments, evaluations: &[Evaluation], seed: u64, printer: &Printer) -> Result<()> {
    let rows: Vec<EvalRow> = evaluations.iter().flat_map(|evaluation| evaluation.rows.clone()).collect();
    let failed: usize = rows.iter().filter(|row| row.task != ALL).map(|row| row.failed).sum();
    if failed > 0 {
        let samples = || evaluations.iter().flat_map(|evaluation| &evaluation.samples);
        let sampled = samples().filter(|sample| sample["greedy"] == false).count();
        let reason = samples().find_map(|sample| reason(&sample["score"]["parts"])).unwrap_or_default();
        printer.say(&format!("{failed} of {sampled} scores failed and are not counted; the first: {reason}"));
    }
    if arguments.json {
        return print_json(&serde_json::json!({"model": arguments.model, "seed": seed, "evals": rows}), true);
    }
    print_text(&table(&rows))
}

/// Why a part of a score failed.
fn reason(parts: &serde_json::Value) -> Option<String> {
    let mut parts = parts.as_object()?.iter();
    parts.find_map(|(name, part)| Some(format!("{name}: {}", part["failed"]["message"].as_str()?)))
}

/// A folder that is not there yet.
fn vacant(folder: &Path) -> Result<&Path> {
    if folder.exists() {
        let place = folder.display();
        return Err(RunError::User(format!("--out {place} exists already; name another folder, or move it away")));
    }
    Ok(folder)
}
