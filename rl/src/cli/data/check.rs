//! `sapo data check`: every row through what training does with it.

use std::path::PathBuf;

use clap::Args;
use sapo_datasets::SourceConfig;
use sapo_policies::preset::processor_of;
use sapo_policies::processor::{Processor, PromptLimit, TooLong};
use sapo_rewards::{Registry, Rubric};

use super::{address, make_parent, refuse_existing, share};
use crate::checking::alone;
use crate::cli::address as sources;
use crate::cli::config::compose;
use crate::cli::named;
use crate::cli::printer::{Printer, print_json, print_text};
use crate::config::Config;
use crate::data_check::{Limits, Target, check, of_addresses, of_config, registry_of, rubric_of};
use crate::error::{Result, RunError};

/// Similarity of texts from which on rows are near.
const NEAR: f64 = 0.8;
/// The share of bad rows that is let pass.
const MAX_BAD_SHARE: f64 = 0.01;

/// What to check, and against what.
#[derive(Args)]
pub(crate) struct CheckArguments {
    /// Sources (FILE.parquet, FILE.jsonl, FILE.json, a folder, a glob, synthetic:TASK, each with an optional @split and
    /// [from:to]), or configuration files with overrides, as `sapo train` takes them. Of a configuration alone all sources
    /// are checked as its phases and evaluations use them; beside sources it gives their model, limits and rubrics.
    #[arg(required = true, value_name = "SOURCE|CONFIG")]
    what: Vec<String>,
    /// Asks this rubric of the configuration whether ground truths can be read, instead of those that phases name.
    #[arg(long, value_name = "NAME", conflicts_with = "reward")]
    rubric: Option<String>,
    /// Asks this reward alone: one of the configuration, or a kind that needs no options, as math.
    #[arg(long, value_name = "NAME")]
    reward: Option<String>,
    /// Sources that are evaluated on: no row may be in them as well. Of a configuration, its evaluations are these.
    #[arg(long, value_name = "SOURCE")]
    against: Vec<String>,
    /// The model whose processor makes the prompts: a checkpoint folder or a preset. Default: that of the configuration,
    /// else tiny.
    #[arg(long, value_name = "DIR|PRESET")]
    model: Option<String>,
    /// Tokens of a prompt at most, those of pictures counted. Default: policy.max_prompt_tokens of the configuration.
    #[arg(long, value_name = "TOKENS")]
    max_prompt_tokens: Option<usize>,
    /// Tokens of a response at most, its end counted.
    #[arg(long, value_name = "TOKENS")]
    max_response_tokens: Option<usize>,
    /// Similarity of two texts, from 0 to 1, from which on rows are near duplicates if numbers, ground truths and pictures
    /// agree as well.
    #[arg(long, value_name = "SHARE", default_value_t = NEAR, value_parser = share)]
    near: f64,
    /// Bad rows of a source that are let pass, as a share of its rows. Default: run.max_bad_rows_share of the configuration,
    /// else 0.01.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_bad_share: Option<f64>,
    /// Writes every bad row with all its reasons to this new file, one JSON object a line.
    #[arg(long, value_name = "FILE.jsonl")]
    rejected: Option<PathBuf>,
    /// Seed of generated tasks.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// Runs the command; false when a source has too many bad rows.
pub(crate) fn run(arguments: &CheckArguments) -> Result<bool> {
    let (config, listed) = split(&arguments.what)?;
    let config = config.as_ref();
    if let Some(file) = &arguments.rejected {
        refuse_existing("--rejected", file)?;
        make_parent(file)?;
    }
    let processor = processor(arguments, config)?;
    let targets = targets(arguments, config, &listed)?;
    let limits = Limits {
        processor: &processor,
        max_response_tokens: arguments.max_response_tokens,
        near: arguments.near,
        max_bad_share: arguments
            .max_bad_share
            .or(config.map(|config| config.run.max_bad_rows_share))
            .unwrap_or(MAX_BAD_SHARE),
    };
    let printer = Printer::new();
    let report = check(targets, &limits, arguments.rejected.as_deref(), &printer)?;
    printer.finish();
    if arguments.json {
        print_json(&report.object(), true)?;
    } else {
        print_text(&report.text())?;
    }
    Ok(report.is_good())
}

/// The configuration of the `.toml` files and overrides, if there are any, and the sources.
fn split(what: &[String]) -> Result<(Option<Config>, Vec<String>)> {
    let is_file = |text: &String| text.ends_with(".toml");
    if !what.iter().any(is_file) {
        return Ok((None, what.to_vec()));
    }
    let is_override = |text: &String| text.contains('=') && !std::path::Path::new(text).exists();
    let (config, listed) = what.iter().cloned().partition(|text| is_file(text) || is_override(text));
    let config: Vec<String> = config;
    Ok((Some(compose(&config)?), listed))
}

fn processor(arguments: &CheckArguments, config: Option<&Config>) -> Result<Processor> {
    let model = arguments.model.as_deref().or(config.map(|config| config.policy.model.as_str())).unwrap_or("tiny");
    let mut processor = processor_of(&named::model(model)?)?;
    let own = config.and_then(|config| config.policy.prompt_limit());
    let too_long = own.map_or(TooLong::Refuse, |limit| limit.too_long);
    let given = arguments.max_prompt_tokens.map(|tokens| PromptLimit { tokens, too_long });
    processor.limit_prompts(given.or(own));
    Ok(processor)
}

fn targets(arguments: &CheckArguments, config: Option<&Config>, listed: &[String]) -> Result<Vec<Target>> {
    let named = |addresses: &[String]| -> Result<Vec<(String, SourceConfig)>> {
        let one = |text: &String| {
            let source = address(text)?;
            Ok((sources::name(&source), SourceConfig { source, ..SourceConfig::default() }))
        };
        addresses.iter().map(one).collect()
    };
    let mut targets = match config {
        Some(config) if listed.is_empty() => {
            if arguments.reward.is_some() {
                let reason = "--reward asks one reward of sources that are named; --rubric goes with a configuration";
                return Err(RunError::User(reason.to_owned()));
            }
            if let Some(name) = &arguments.rubric {
                rubric_of(config, name)?;
            }
            of_config(config, arguments.rubric.as_deref())?
        }
        _ => of_addresses(&named(listed)?, false, arguments.seed, rubric(arguments, config)?)?,
    };
    if !arguments.against.is_empty() {
        let against = named(&arguments.against)?;
        targets.extend(of_addresses(&against, true, arguments.seed, rubric(arguments, config)?)?);
    }
    Ok(targets)
}

/// The rubric that is asked about rows of named sources, with its name.
fn rubric<'a>(arguments: &'a CheckArguments, config: Option<&Config>) -> Result<Option<(&'a str, Rubric)>> {
    match (&arguments.rubric, &arguments.reward, config) {
        (Some(name), _, Some(config)) => Ok(Some((name, rubric_of(config, name)?))),
        (Some(name), _, None) => {
            let reason = format!("--rubric {name}: name the configuration that has it as well, as my.toml");
            Err(RunError::User(reason))
        }
        (None, Some(name), config) => {
            let registry = config.map_or_else(|| Ok(Registry::rules()), registry_of)?;
            Ok(Some((name, Rubric::new(&alone(name), &registry)?)))
        }
        (None, None, _) => Ok(None),
    }
}
