//! `sapo reward check`: rewards on gold answers and traps.

use std::collections::BTreeMap;

use clap::Args;
use sapo_datasets::Split;
use sapo_policies::preset::processor_of;
use sapo_policies::processor::Processor;
use sapo_rewards::RubricConfig;
use sapo_rewards::check::Tokenizer;

use super::single::single;
use crate::checking::{self, Rows, ToCheck};
use crate::cli::address;
use crate::cli::config::compose_rewards;
use crate::cli::printer::{Printer, print_json, print_text};
use crate::config::Config;
use crate::data_check::KnownRubrics;
use crate::error::{Result, RunError};
use crate::progress::Progress;

/// What to check, and on what.
#[derive(Args)]
pub(crate) struct CheckArguments {
    /// Configuration files, then overrides, as `sapo train` takes them; its rubrics are checked on the tasks that they score.
    /// `[rewards.NAME]` and `[rubrics.NAME]` are enough.
    #[arg(required_unless_present = "reward")]
    config: Vec<String>,
    /// Checks this rubric of the configuration alone.
    #[arg(long, value_name = "NAME", conflicts_with = "reward")]
    rubric: Option<String>,
    /// Checks one reward alone: a reward of the configuration, a kind of `sapo reward list`, or a Python function as
    /// FILE.py:FUNCTION.
    #[arg(long, value_name = "NAME", requires = "data")]
    reward: Option<String>,
    /// An option of that reward, as a configuration has it; may be repeated: `--option range=[-1,1]`,
    /// `--option "kwargs={ max_len = 100 }"`, `--option role=form`.
    #[arg(long, value_name = "KEY=VALUE", requires = "reward")]
    option: Vec<String>,
    /// Rows to check on: FILE.jsonl, FILE.parquet, a folder, or synthetic:TASK; a column `response` holds gold responses,
    /// else they are made from the ground truth.
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Rows of each task at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rows: u32,
    /// A preset or a checkpoint whose tokenizer counts the answers, for rewards that look at their length or token ids
    /// [default: the configuration's policy; without one, answers have no tokens].
    #[arg(long, value_name = "MODEL")]
    tokenizer: Option<String>,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Runs the command; false when something was found, or nothing could be.
pub(crate) fn run(arguments: &CheckArguments) -> Result<bool> {
    let config = (!arguments.config.is_empty()).then(|| compose_rewards(&arguments.config)).transpose()?;
    let seed = config.as_ref().map_or(1, |config| config.run.seed);
    let printer = Printer::new();
    let known = config.as_ref().map(|config| KnownRubrics::of(config.rubrics.keys())).unwrap_or_default();
    let given = arguments
        .data
        .as_deref()
        .map(|data| listed(data, arguments.rows as usize, seed, &known, &printer))
        .transpose()?;
    let mut rewards = config.as_ref().map(|config| config.rewards.clone()).unwrap_or_default();
    let mut rubrics: Vec<(String, RubricConfig, Rows)> = Vec::new();
    match (&arguments.reward, &config) {
        (Some(name), _) => {
            single(name, &arguments.option, &mut rewards)?;
            rubrics.push((name.clone(), checking::alone(name), given.unwrap_or_default()));
        }
        (None, Some(config)) => rubrics = of_config(arguments, config, given.as_ref(), &printer)?,
        (None, None) => {}
    }
    if rubrics.iter().all(|(_, _, rows)| rows.is_empty()) {
        let reason = "nothing to check: no phase or evaluation uses a rubric on rows; say on what by --data SOURCE";
        return Err(RunError::User(reason.to_owned()));
    }
    let rubrics: Vec<ToCheck<'_>> = rubrics.iter().map(|(name, rubric, rows)| (name.as_str(), rubric, rows)).collect();
    let processor = processor(arguments, config.as_ref())?;
    let ids = |text: &str| ids_of(processor.as_ref(), text);
    let tokenizer = processor.is_some().then_some(&ids as Tokenizer<'_>);
    let checked = checking::check_all(&rewards, &rubrics, tokenizer, &printer);
    printer.finish();
    let checked = checked?;
    if arguments.json {
        print_json(&checking::object(&checked), true)?;
    } else {
        print_text(&checking::text(&checked))?;
    }
    Ok(checking::is_good(&checked))
}

/// What counts tokens: the model that is named, else the policy of a configuration that has phases.
fn processor(arguments: &CheckArguments, config: Option<&Config>) -> Result<Option<Processor>> {
    let own = config.filter(|config| !config.run.phases.is_empty()).map(|config| config.policy.model.as_str());
    Ok(arguments.tokenizer.as_deref().or(own).map(processor_of).transpose()?)
}

/// The token ids of a text; none where it cannot be read as tokens.
fn ids_of(processor: Option<&Processor>, text: &str) -> Vec<u32> {
    processor.and_then(|processor| processor.tokenizer().encode(text).ok()).unwrap_or_default()
}

fn of_config(
    arguments: &CheckArguments,
    config: &Config,
    given: Option<&Rows>,
    progress: &dyn Progress,
) -> Result<Vec<(String, RubricConfig, Rows)>> {
    if let Some(name) = arguments.rubric.as_ref().filter(|name| !config.rubrics.contains_key(*name)) {
        let known: Vec<&str> = config.rubrics.keys().map(String::as_str).collect();
        return Err(RunError::User(format!("--rubric {name}: the configuration has {}", known.join(", "))));
    }
    let mut used = match given {
        Some(_) => BTreeMap::new(),
        None => checking::scored_rows(config, arguments.rows as usize, progress)?,
    };
    let mut rubrics = Vec::new();
    // A configuration of rewards alone: each by itself.
    let alone: BTreeMap<String, RubricConfig> = match config.rubrics.is_empty() {
        true => config.rewards.keys().map(|name| (name.clone(), checking::alone(name))).collect(),
        false => BTreeMap::new(),
    };
    for (name, rubric) in config.rubrics.iter().chain(&alone) {
        if arguments.rubric.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let rows = match (given, used.remove(name.as_str())) {
            (Some(rows), _) => rows.clone(),
            (None, Some(rows)) => rows,
            (None, None) if arguments.rubric.is_some() => {
                return Err(RunError::User(format!("--rubric {name}: no phase uses it; say on what by --data")));
            }
            (None, None) => continue,
        };
        rubrics.push((name.clone(), rubric.clone(), rows));
    }
    Ok(rubrics)
}

fn listed(source: &str, rows: usize, seed: u64, known: &KnownRubrics, progress: &dyn Progress) -> Result<Rows> {
    Ok(checking::rows_of(&address::open(source, seed, Split::Train)?, rows, known, progress))
}
