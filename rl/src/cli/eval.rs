//! `sapo eval`: evaluates a model on generated tasks, or on the rows of files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Config, EvalConfig};
use crate::device;
use crate::error::{Result, RunError};
use crate::eval::{EvalSampling, Evaluation, TaskQueries, by_task, evaluate_queries, heldout};
use crate::ledger::{self, Ledger};
use crate::progress::Progress;
use crate::run_dir::RunDir;
use crate::scoring::{Rubrics, Scorer};
use clap::Args;
use sapo_datasets::{DatasetError, OpenOptions, Query, Task, open_with};
use sapo_policies::Model;
use sapo_policies::weights::Loading;
use sapo_rewards::{Endpoints, Rubric, RubricConfig};

use super::config::compose;
use super::printer::{Printer, print_json, print_text, table};
use super::weights::Dtype;

/// Rows that are decoded together at most, where no configuration says otherwise.
const DECODE_ROWS: usize = 1024;
/// The reward of an evaluation without a configuration: each row's own verifier.
const REWARD: &str = "truth";
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
    /// Writes results.json, samples.jsonl and ledger.jsonl into this new folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// The format that weights are kept in; all is computed in f32.
    #[arg(long, default_value = "f32")]
    pub(crate) dtype: Dtype,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &EvalArguments) -> Result<()> {
    let config = (!arguments.config.is_empty()).then(|| compose(&arguments.config)).transpose()?;
    let rewards = config.as_ref().map(Config::rule_rewards).unwrap_or_default();
    let scorer = Scorer::new(&rewards, &Endpoints::default())?;
    for line in scorer.prepared() {
        eprintln!("{line}");
    }
    let rubric = rubric(arguments.rubric.as_deref(), config.as_ref(), &scorer)?;
    let out = arguments.out.as_deref().map(vacant).transpose()?;
    let settings = settings(arguments, config.as_ref().map(|config| &config.eval))?;
    let sampling = EvalSampling {
        samples: settings.samples,
        max_new_tokens: settings.max_new_tokens,
        seed: settings.seed,
        decode_rows: config.as_ref().map_or(DECODE_ROWS, |config| config.run.decode_rows),
    };
    let lists = if arguments.data.is_empty() { heldout(&settings) } else { listed(arguments, settings.seed)? };
    let device = device::open(config.as_ref().map_or("cpu", |config| &config.run.device))?;
    let mut model =
        Model::open_as(&arguments.model, settings.seed, Loading::kept_in(arguments.dtype.format()), &device)?;
    model.processor.limit_prompts(config.as_ref().and_then(|config| config.policy.prompt_limit()));
    let rubrics = Rubrics::one(rubric);
    let printer = Printer::new();
    let all: usize = lists.iter().map(|list| list.queries.len() * sampling.samples).sum();
    printer.begin("evaluation", all as u64, 0);
    let evaluation = evaluate_queries(&model, &lists, sampling, &scorer, &rubrics, &arguments.model, &mut |ended| {
        printer.done(ended as u64, "rollouts");
    });
    printer.finish();
    let evaluation = evaluation?;
    if let Some(folder) = out {
        let folder = RunDir::create(folder, 0, &printer)?;
        folder.append("samples.jsonl", &evaluation.samples)?;
        let accounts = Ledger::default().lines(0, Some("samples.jsonl"), &evaluation.accounts);
        folder.append(ledger::FILE, &accounts)?;
        folder.write_json("results.json", &evaluation.results(0))?;
    }
    print(arguments, &evaluation, settings.seed, &printer)
}

fn print(arguments: &EvalArguments, evaluation: &Evaluation, seed: u64, printer: &Printer) -> Result<()> {
    let failed: usize = evaluation.rows.iter().filter(|row| row.task != crate::eval::ALL).map(|row| row.failed).sum();
    if failed > 0 {
        let sampled = evaluation.samples.iter().filter(|sample| sample["greedy"] == false).count();
        let reason = evaluation.samples.iter().find_map(|sample| reason(&sample["score"]["parts"])).unwrap_or_default();
        printer.say(&format!("{failed} of {sampled} scores failed and are not counted; the first: {reason}"));
    }
    if arguments.json {
        return print_json(
            &serde_json::json!({"model": arguments.model, "seed": seed, "evals": evaluation.rows}),
            true,
        );
    }
    print_text(&table(&evaluation.rows))
}

/// Why a part of a score failed.
fn reason(parts: &serde_json::Value) -> Option<String> {
    let mut parts = parts.as_object()?.iter();
    parts.find_map(|(name, part)| Some(format!("{name}: {}", part["failed"]["message"].as_str()?)))
}

/// What the arguments say, then the configuration, then the defaults.
fn settings(arguments: &EvalArguments, config: Option<&EvalConfig>) -> Result<EvalConfig> {
    let listed = !arguments.data.is_empty();
    let mut tasks = arguments.tasks.clone();
    let mut apart = Vec::new();
    for name in arguments.apart.iter().filter(|_| !listed) {
        apart.push(Task::parse(name)?);
    }
    if tasks.is_empty() {
        // What was chosen as apart leaves the tasks that are chosen by default.
        let usual = config.map_or(&Task::REASONING[..], |config| &config.tasks);
        tasks.extend(usual.iter().filter(|task| !apart.contains(task)));
        if apart.is_empty() {
            apart.extend(config.into_iter().flat_map(|config| &config.apart));
        }
    }
    let all: Vec<Task> = tasks.iter().chain(&apart).copied().collect();
    if let Some(twice) = all.iter().enumerate().find(|(at, task)| all[..*at].contains(task)) {
        return Err(RunError::User(format!("`{}` stands twice in --tasks and --apart; leave one out", twice.1)));
    }
    let number = |given: Option<u32>, configured: Option<usize>, usual: usize| {
        given.map(|given| given as usize).or(configured).unwrap_or(usual)
    };
    Ok(EvalConfig {
        tasks,
        apart,
        queries_per_task: number(arguments.queries, config.map(|config| config.queries_per_task), 200),
        samples: number(arguments.samples, config.map(|config| config.samples), 4),
        max_new_tokens: number(arguments.max_new_tokens, config.map(|config| config.max_new_tokens), 40),
        rubric: String::new(),
        seed: arguments.seed.or(config.map(|config| config.seed)).unwrap_or(7),
    })
}

/// The rubric to score with: one of the configuration, or a rule reward alone.
fn rubric(name: Option<&str>, config: Option<&Config>, scorer: &Scorer) -> Result<Arc<Rubric>> {
    let rubric = match config {
        Some(config) => {
            let name = name.unwrap_or(&config.eval.rubric);
            config.rubrics.get(name).cloned().ok_or_else(|| {
                let known: Vec<&str> = config.rubrics.keys().map(String::as_str).collect();
                RunError::User(format!("--rubric {name}: the configuration has {}", known.join(", ")))
            })?
        }
        None if name.is_some_and(|name| PENALTIES.contains(&name)) => {
            let name = name.unwrap_or_default();
            return Err(RunError::User(format!("--rubric {name}: a penalty is no measure of right; name a verifier")));
        }
        None => RubricConfig {
            correct: name.unwrap_or(REWARD).to_owned(),
            language_penalty: 0.0,
            repetition_penalty: 0.0,
            ..RubricConfig::default()
        },
    };
    scorer.rubric(&rubric).map_err(|error| {
        let name = name.unwrap_or("of the configuration");
        RunError::User(format!("--rubric {name}: {error} (an evaluation scores by rules; judges are not asked)"))
    })
}

/// Reads the rows of every `--data` and sorts them by task.
fn listed(arguments: &EvalArguments, seed: u64) -> Result<Vec<TaskQueries>> {
    let mut queries: Vec<Query> = Vec::new();
    for name in &arguments.data {
        let options = OpenOptions { seed, require_ground_truth: true, ..OpenOptions::default() };
        let source = open_with(name, &options)?;
        let endless = source.len().is_none().then_some(arguments.queries).flatten();
        let limit = arguments.limit.or(endless).map(u64::from);
        let count = match (source.len().map(|length| length as u64), limit) {
            (Some(length), limit) => limit.unwrap_or(length).min(length),
            (None, Some(limit)) => limit,
            (None, None) => {
                let reason = "has no end; give --queries N or a slice such as [0:200]";
                return Err(DatasetError::Request(format!("--data {name}: {reason}")).into());
            }
        };
        let source = source.slice(None, Some(count))?;
        // A picture that cannot be read would otherwise end the evaluation half way.
        let broken = source.check_pictures();
        if let Some(first) = broken.first() {
            return Err(RunError::User(match broken.len() {
                1 => first.to_string(),
                more => format!("{first} (and {} more)", more - 1),
            }));
        }
        for query in source.iter() {
            let query = query?;
            scored_as_asked(arguments, name, &query)?;
            queries.push(query);
        }
    }
    let mut lists = by_task(queries, &arguments.apart)?;
    let most = arguments.queries.map_or(usize::MAX, |queries| queries as usize);
    lists.iter_mut().for_each(|list| list.queries.truncate(most));
    Ok(lists)
}

/// A row may ask for a rubric; another one is used only when it is asked for by name.
fn scored_as_asked(arguments: &EvalArguments, source: &str, query: &Query) -> Result<()> {
    match &query.rubric {
        Some(rubric) if arguments.rubric.is_none() => Err(RunError::User(format!(
            "{source} query `{}` asks for the rubric `{rubric}`; say --rubric {rubric} with the --config that has it, \
             or another one",
            query.id
        ))),
        _ => Ok(()),
    }
}

/// A folder that is not there yet.
fn vacant(folder: &Path) -> Result<&Path> {
    if folder.exists() {
        let place = folder.display();
        return Err(RunError::User(format!("--out {place} exists already; name another folder, or move it away")));
    }
    Ok(folder)
}
