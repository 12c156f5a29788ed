//! `sapo eval`: evaluates a model or an endpoint on the sets of a configuration, on generated tasks, or on the rows of files.

mod answering;
mod floor;
mod kept;
mod made_with;
mod scoring;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use sapo_datasets::{Dataset, Task};
use sapo_policies::preset::processor_of;
use sapo_rewards::RubricConfig;
use sapo_rollouts::EngineConfig;

use self::answering::Answering;
use self::floor::Floor;
use self::kept::{Folder, Place};
use self::target::{SamplingPreset, Target};
use super::compare;
use super::config::compose_rewards;
use super::printer::{Printer, add_kernels, detectable, print_json, print_text, table};
use super::weights::Dtype;
use crate::comparison::{self, Comparison, Recorded};
use crate::config::Config;
use crate::data;
use crate::error::{Result, RunError};
use crate::eval::heat_map::HeatMap;
use crate::eval::record::Record;
use crate::eval::{ALL, EvalRow, EvalSet, Evaluation, evaluate};
use crate::progress::Progress;
use crate::sample::{Generator, Waited};
use crate::score::Rewards;

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
    /// A rubric of the configuration, whose judges are measured and asked, or without one the name of a rule reward as `sapo reward list` shows
    /// [default: the configuration's, else truth].
    #[arg(long, value_name = "NAME")]
    pub(crate) rubric: Option<String>,
    /// Configuration files, then overrides, as `sapo train` takes them.
    #[arg(long, num_args = 1.., value_name = "FILE.toml")]
    pub(crate) config: Vec<String>,
    /// Samples of each query, beside one greedy answer; from 16 on pass@16 is told [default: 4].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) samples: Option<u32>,
    /// The temperature of the samples, above 0 and at most 100 [default: 1].
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) temperature: Option<f64>,
    /// Draws samples from the likeliest tokens that together hold this mass, above 0 and at most 1 [default: 1, all].
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) top_p: Option<f64>,
    /// Draws samples from so many of the likeliest tokens [default: 0, all].
    #[arg(long)]
    pub(crate) top_k: Option<usize>,
    /// Taken off the logits of tokens that the answer has [default: 0].
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) presence_penalty: Option<f64>,
    /// The sampling that Qwen3-VL was evaluated with, by its report: what is not given beside it. Do not train with these.
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<SamplingPreset>,
    /// System message of every query; it replaces the row's own [default: that of the source, else the row's own].
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) system: Option<String>,
    /// Template of the last user message over the row's columns and `content`, the question as it was found:
    /// '{{ content }} Put the answer in \boxed{}.', or the path of a file that holds one [default: that of the source].
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) template: Option<String>,
    /// Seed of queries and samples [default: 7].
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Token limit of an answer; the share of answers that it cuts is told [default: that of the configuration, else 40 for
    /// a preset, and 2048 for any other model].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) max_new_tokens: Option<u32>,
    /// Evaluates this set of the configuration alone [default: all of them].
    #[arg(long, value_name = "NAME", requires = "config")]
    pub(crate) set: Option<String>,
    /// Writes results.json, samples.jsonl (each line with question, truth, hashes of pictures, prompt and answer), the
    /// ledger, queries and pictures into this new folder, which `sapo report` and `sapo compare` take.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Goes on with the evaluation that --out holds, of the same model, data, sampling and rubric: what it has answered is not
    /// asked again. Begins it when there is nothing to go on with, and tells its end again when it is whole.
    #[arg(long, requires = "out")]
    pub(crate) resume: bool,
    /// Compares with an earlier evaluation of the same queries, paired by query: a folder that --out wrote, a run, or
    /// RUN/eval/NAME-000100.
    #[arg(long, value_name = "DIR")]
    pub(crate) baseline: Option<PathBuf>,
    /// Asks this server of OpenAI's chat completions instead, as http://127.0.0.1:8000. --model then names the folder or
    /// preset whose processor makes the prompts; its weights are not read.
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// The name that the endpoint knows the model by [default: the only one that it lists].
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub(crate) served_model: Option<String>,
    /// The environment variable that holds the endpoint's key.
    #[arg(long, value_name = "VARIABLE", requires = "endpoint")]
    pub(crate) api_key_env: Option<String>,
    /// The format that weights are kept in; all is computed in f32.
    #[arg(long, default_value = "f32")]
    pub(crate) dtype: Dtype,
    /// Where the model computes: `cpu`, `cuda:0` in a build with the feature `cuda`, or `wgpu:0` in one with `wgpu`
    /// (docs/gpu.md) [default: `run.device` of the configuration, else cpu].
    #[arg(long)]
    pub(crate) device: Option<String>,
    /// Ends with 1 where a number is below this: STATISTIC=SHARE of all tasks, or SET/TASK/STATISTIC=SHARE, with pass_at_1,
    /// greedy or pass_at_16; may be repeated: --fail-under pass_at_1=0.6
    #[arg(long, value_name = "NUMBER=SHARE")]
    pub(crate) fail_under: Vec<Floor>,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is asked for, before rewards are started and a model is opened.
struct Prepared {
    config: Option<Config>,
    targets: Vec<Target>,
    rubrics: BTreeMap<String, RubricConfig>,
    baseline: Option<Vec<Recorded>>,
    endpoint: Option<EngineConfig>,
}

/// What came of it.
#[derive(Default)]
struct Made {
    rows: Vec<EvalRow>,
    compared: Vec<Comparison>,
    /// Why scores failed, where some did.
    failed: Option<String>,
    heat_maps: Vec<HeatMap>,
    /// Where the time went; null where nothing was asked.
    secs: serde_json::Value,
}

/// Runs the command; false when a number is below its floor.
pub(crate) fn run(arguments: &EvalArguments) -> Result<bool> {
    let printer = Printer::new();
    let place = arguments.out.as_deref().map(|folder| Place::look(folder, arguments.resume)).transpose()?;
    let prepared = Prepared::of(arguments)?;
    prepared.targets.iter().flat_map(|target| &target.remarks).for_each(|remark| printer.say(remark));
    let mut made_with = place.as_ref().map(|_| made_with::asked(&prepared, &printer)).unwrap_or_default();
    place.as_ref().map_or(Ok(()), |place| place.check(&made_with))?;
    let (rewards, judges) = scoring::rewards(prepared.config.as_ref(), &prepared.rubrics, &printer)?;
    let seed = answering::seed(&prepared.targets);
    let answering = Answering::open(arguments, &prepared, seed, &printer)?;
    let mut folder = None;
    if let Some(place) = place {
        made_with.extend(made_with::answered_by(arguments, &prepared, &rewards, &answering));
        folder = Some(place.enter(&made_with, &printer)?);
    }
    let made = match folder {
        Some(folder) if folder.is_whole => Made::again(arguments, &prepared, &folder, &printer)?,
        mut folder => {
            let began = Instant::now();
            let record = folder.as_mut().map(|folder| &mut folder.record);
            let evaluations = all(arguments, &prepared, &answering, &rewards, record, &printer);
            let evaluations = evaluations.map_err(|error| resumable(error, arguments))?;
            printer.finish();
            let secs = timed(&evaluations, began.elapsed(), &printer);
            Made { secs, ..Made::new(arguments, prepared.baseline.as_deref(), &evaluations, folder)? }
        }
    };
    let facts = serde_json::json!({"model": arguments.model, "endpoint": arguments.endpoint, "seed": seed,
        "secs": made.secs, "judges": judges.records(&rewards)});
    print(arguments, &made, facts, &printer)?;
    let mut below = Vec::new();
    for floor in &arguments.fail_under {
        below.extend(floor.missed_by(&made.rows)?);
    }
    below.iter().for_each(|reason| printer.say(reason));
    Ok(below.is_empty())
}

impl Prepared {
    fn of(arguments: &EvalArguments) -> Result<Self> {
        let config = (!arguments.config.is_empty()).then(|| composed(arguments)).transpose()?;
        let sets = config.as_ref().map(|config| chosen(arguments, config)).transpose()?.unwrap_or_default();
        let baseline = arguments.baseline.as_deref().map(comparison::open).transpose()?;
        let targets = match config.as_ref().filter(|_| arguments.data.is_empty() && arguments.tasks.is_empty()) {
            Some(config) => {
                sets.iter().map(|name| Target::of_set(arguments, config, name)).collect::<Result<Vec<_>>>()?
            }
            None => {
                let eval = config.as_ref().and_then(|config| config.eval.get(*sets.first()?));
                vec![Target::of_arguments(arguments, config.as_ref(), eval)?]
            }
        };
        let rubrics = scoring::rubrics(config.as_ref(), &targets)?;
        refuse_other_queries(baseline.as_deref(), &targets)?;
        processor_of(&arguments.model)?;
        let endpoint = answering::endpoint(arguments, &targets)?;
        Ok(Self { config, targets, rubrics, baseline, endpoint })
    }
}

/// Evaluates all targets.
fn all(
    arguments: &EvalArguments,
    prepared: &Prepared,
    answering: &Answering,
    rewards: &Rewards,
    mut record: Option<&mut Record<'_>>,
    printer: &Printer,
) -> Result<Vec<Evaluation>> {
    let Answering { model, engine } = answering;
    let generator = Generator { policy: &model.policy, processor: &model.processor, engine, rewards };
    let mut evaluations = Vec::new();
    for target in &prepared.targets {
        evaluations.push(evaluated(arguments, target, generator, record.as_deref_mut(), printer)?);
        engine.take_notes().iter().chain(&rewards.take_notes()).for_each(|note| printer.say(note));
    }
    Ok(evaluations)
}

/// What was stopped from outside can be gone on with where there is a record.
fn resumable(error: RunError, arguments: &EvalArguments) -> RunError {
    match (error, &arguments.out) {
        (RunError::Stopped(reason), Some(folder)) => RunError::Stopped(kept::go_on(folder, &reason)),
        (error, _) => error,
    }
}

impl Made {
    /// What evaluations came to; they are kept in the folder, if there is one.
    fn new(
        arguments: &EvalArguments,
        baseline: Option<&[Recorded]>,
        evaluations: &[Evaluation],
        folder: Option<Folder<'_>>,
    ) -> Result<Self> {
        let made: Vec<Recorded> =
            evaluations.iter().map(|evaluation| Recorded::of(evaluation, &named(arguments))).collect();
        let compared = baseline.map(|baseline| comparison::compare_all(baseline, &made, false)).transpose();
        // What was evaluated is kept whatever it cannot be compared with.
        let kept = compared.as_ref().ok().and_then(Option::as_deref).unwrap_or_default();
        folder.map_or(Ok(()), |folder| folder.keep(evaluations, kept))?;
        let samples = || evaluations.iter().flat_map(|evaluation| &evaluation.samples);
        let sampled = samples().filter(|sample| sample["greedy"] == false).count();
        let rows: Vec<EvalRow> = evaluations.iter().flat_map(|evaluation| evaluation.rows.clone()).collect();
        let failed: usize = rows.iter().filter(|row| row.task != ALL).map(|row| row.failed).sum();
        let first = || samples().find_map(|sample| reason(&sample["score"]["parts"])).unwrap_or_default();
        let failed = (failed > 0)
            .then(|| format!("{failed} of {sampled} scores failed and are not counted; the first: {}", first()));
        let heat_maps = evaluations.iter().flat_map(Evaluation::heat_maps).collect();
        let compared = compared?.unwrap_or_default();
        Ok(Self { rows, compared, failed, heat_maps, ..Self::default() })
    }

    /// What the evaluation of a folder has come to before.
    fn again(arguments: &EvalArguments, prepared: &Prepared, folder: &Folder<'_>, printer: &Printer) -> Result<Self> {
        let place = named(arguments);
        printer.say(&format!("{place} is whole; its results follow"));
        let (rows, heat_maps) = (folder.rows(), folder.heat_maps());
        let compared = match &prepared.baseline {
            Some(baseline) => comparison::compare_all(baseline, &comparison::open(Path::new(&place))?, false)?,
            None => Vec::new(),
        };
        Ok(Self { rows, compared, heat_maps, ..Self::default() })
    }
}

/// Seconds of all, of waiting for answers and for rewards, and the share of the rest, which is said too.
fn timed(evaluations: &[Evaluation], all: Duration, printer: &Printer) -> serde_json::Value {
    let mut waited = Waited::default();
    evaluations.iter().for_each(|evaluation| waited += evaluation.waited);
    let [all, answers, rewards] = [all, waited.engine, waited.rewards].map(|time| time.as_secs_f64());
    let rest = (all - answers - rewards).max(0.0) / all;
    printer.say(&format!(
        "{all:.1} s: {answers:.1} s of answers, {rewards:.1} s of rewards beyond that, and {:.1} % for the rest",
        100.0 * rest
    ));
    serde_json::json!({"all": all, "answers": answers, "rewards": rewards, "rest_share": rest})
}

/// How the evaluation that is made is called in a comparison.
fn named(arguments: &EvalArguments) -> String {
    match (&arguments.out, &arguments.endpoint) {
        (Some(folder), _) => folder.display().to_string(),
        (None, Some(url)) => url.clone(),
        (None, None) => arguments.model.clone(),
    }
}

/// The configuration, with the system message and the template of the arguments in every source of its evaluations.
fn composed(arguments: &EvalArguments) -> Result<Config> {
    let mut config = compose_rewards(&arguments.config)?;
    let used: BTreeSet<String> = config.eval.values().flat_map(|eval| eval.data.clone()).collect();
    for (name, source) in &mut config.data {
        if used.contains(name) {
            source.prompt = arguments.template.clone().or(source.prompt.take());
            source.system = arguments.system.clone().or(source.system.take());
        }
    }
    Ok(config)
}

/// Refuses a baseline of other queries before anything is asked; what else differs is seen when there are answers.
fn refuse_other_queries(baseline: Option<&[Recorded]>, targets: &[Target]) -> Result<()> {
    let ([baseline], [target]) = (baseline.unwrap_or_default(), targets) else { return Ok(()) };
    let (theirs, ours) = (baseline.ids(), target.ids());
    let ours: BTreeSet<&str> = ours.iter().map(String::as_str).collect();
    let shared = ours.intersection(&theirs).count();
    let missing: Vec<&str> = theirs.difference(&ours).copied().take(1).collect();
    let more: Vec<&str> = ours.difference(&theirs).copied().take(1).collect();
    if missing.is_empty() && more.is_empty() {
        return Ok(());
    }
    let first = |ids: &[&str]| ids.first().map_or(String::new(), |id| format!(" (the first: `{id}`)"));
    Err(RunError::User(format!(
        "--baseline {}: its queries are not those that are asked here; shared: {shared}, only there: {}{}, only here: {}{}. \
         Evaluate on the same data with the same --seed and --queries, or compare afterwards with `sapo compare --shared`",
        baseline.place,
        theirs.len() - shared,
        first(&missing),
        ours.len() - shared,
        first(&more)
    )))
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

fn evaluated(
    arguments: &EvalArguments,
    target: &Target,
    generator: Generator<'_>,
    mut record: Option<&mut Record<'_>>,
    printer: &Printer,
) -> Result<Evaluation> {
    let rewards = generator.rewards;
    let rubrics = target.rubrics.iter().map(|name| rewards.rubric(name)).collect::<Result<Vec<_>>>()?;
    let set = EvalSet { datasets: &target.datasets, rubrics: &rubrics, unaveraged: &target.unaveraged };
    let queries: u64 = target.datasets.iter().filter_map(Dataset::len).sum();
    let known = record.as_mut().map_or(0, |record| {
        record.enter(&target.set);
        record.answers()
    });
    printer.begin("evaluation", queries * (target.sampling.samples as u64 + 1), known as u64);
    let after = arguments.endpoint.as_ref().unwrap_or(&arguments.model);
    let mut evaluation = evaluate(generator, &set, target.sampling, after, record, &mut |ended| {
        printer.done(ended as u64, "rollouts");
    })?;
    rewards.ensure_running()?;
    evaluation.belong_to(&target.set);
    data::left_out("eval", evaluation.dropped_pictures).iter().for_each(|warning| printer.say(warning));
    for row in &evaluation.rejected {
        printer.say(&format!("a row is left out: {} row {}: {}", row.source, row.index + 1, row.reason));
    }
    if let Some(warning) = evaluation.warning_of_cuts(&target.limit) {
        printer.say(&format!("warning: {warning}"));
    }
    Ok(evaluation)
}

fn print(arguments: &EvalArguments, made: &Made, mut facts: serde_json::Value, printer: &Printer) -> Result<()> {
    made.failed.iter().for_each(|failed| printer.say(failed));
    if arguments.json {
        facts["evals"] = serde_json::json!(made.rows);
        facts["comparisons"] = serde_json::json!(made.compared);
        if !made.heat_maps.is_empty() {
            facts["heat_maps"] = serde_json::json!(made.heat_maps);
        }
        add_kernels(&mut facts);
        return print_json(&facts, true);
    }
    print_text(&format!("{}{}", table(&made.rows), detectable(&made.rows)))?;
    if made.compared.is_empty() { Ok(()) } else { print_text(&format!("\n{}", compare::text(&made.compared))) }
}

/// Why a part of a score failed.
fn reason(parts: &serde_json::Value) -> Option<String> {
    let mut parts = parts.as_object()?.iter();
    parts.find_map(|(name, part)| Some(format!("{name}: {}", part["failed"]["message"].as_str()?)))
}

#[cfg(test)]
mod tests;
