//! `sapo reward check`: rewards on gold answers and traps.

use std::collections::BTreeMap;

use clap::Args;
use sapo_datasets::Split;
use sapo_rewards::{ProcessConfig, RewardConfig, RubricConfig};

use crate::checking::{self, Rows};
use crate::cli::address;
use crate::cli::config::compose;
use crate::cli::printer::{print_json, print_text};
use crate::config::Config;
use crate::error::{Result, RunError};

/// What to check, and on what.
#[derive(Args)]
pub(crate) struct CheckArguments {
    /// Configuration files, then overrides, as `sapo train` takes them; its rubrics are checked on the tasks that they score.
    #[arg(required_unless_present = "reward")]
    config: Vec<String>,
    /// Checks this rubric of the configuration alone.
    #[arg(long, value_name = "NAME", conflicts_with = "reward")]
    rubric: Option<String>,
    /// Checks one reward alone: a reward of the configuration, a kind that needs no options, or a Python function as
    /// FILE.py:FUNCTION.
    #[arg(long, value_name = "NAME", requires = "data")]
    reward: Option<String>,
    /// Rows to check on: FILE.jsonl, FILE.parquet, a folder, or synthetic:TASK; a column `response` holds gold responses,
    /// else they are made from the ground truth.
    #[arg(long, value_name = "SOURCE")]
    data: Option<String>,
    /// Rows of each task at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rows: u32,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Runs the command; false when something was found.
pub(crate) fn run(arguments: &CheckArguments) -> Result<bool> {
    let config = (!arguments.config.is_empty()).then(|| compose(&arguments.config)).transpose()?;
    let seed = config.as_ref().map_or(1, |config| config.run.seed);
    let given = arguments.data.as_deref().map(|data| listed(data, arguments.rows as usize, seed)).transpose()?;
    let mut rewards = config.as_ref().map(|config| config.rewards.clone()).unwrap_or_default();
    let mut rubrics: Vec<(String, RubricConfig, Rows)> = Vec::new();
    match (&arguments.reward, &config) {
        (Some(name), _) => {
            let rows = given.unwrap_or_default();
            let name = single(name, &mut rewards);
            rubrics.push((name.clone(), checking::alone(&name), rows));
        }
        (None, Some(config)) => rubrics = of_config(arguments, config, given.as_ref())?,
        (None, None) => {}
    }
    let rubrics: Vec<(&str, &RubricConfig, &Rows)> =
        rubrics.iter().map(|(name, rubric, rows)| (name.as_str(), rubric, rows)).collect();
    let checked = checking::check_all(&rewards, &rubrics)?;
    if arguments.json {
        print_json(&checking::object(&checked), true)?;
    } else {
        print_text(&checking::text(&checked))?;
    }
    Ok(checking::is_good(&checked))
}

/// The name of the one reward; a Python function becomes a reward of that name.
fn single(name: &str, rewards: &mut BTreeMap<String, RewardConfig>) -> String {
    if name.contains(".py:") && !rewards.contains_key(name) {
        let process = ProcessConfig { python: Some(name.to_owned()), ..ProcessConfig::default() };
        rewards.insert(name.to_owned(), RewardConfig::Process(Box::new(process)));
    }
    name.to_owned()
}

fn of_config(
    arguments: &CheckArguments,
    config: &Config,
    given: Option<&Rows>,
) -> Result<Vec<(String, RubricConfig, Rows)>> {
    if let Some(name) = arguments.rubric.as_ref().filter(|name| !config.rubrics.contains_key(*name)) {
        let known: Vec<&str> = config.rubrics.keys().map(String::as_str).collect();
        return Err(RunError::User(format!("--rubric {name}: the configuration has {}", known.join(", "))));
    }
    let mut used = match given {
        Some(_) => BTreeMap::new(),
        None => checking::scored_rows(config, arguments.rows as usize)?,
    };
    let mut rubrics = Vec::new();
    for (name, rubric) in &config.rubrics {
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

fn listed(source: &str, rows: usize, seed: u64) -> Result<Rows> {
    Ok(checking::rows_of(&address::open(source, seed, Split::Train)?, rows))
}
