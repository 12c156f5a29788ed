//! `sapo config`: shows what a configuration comes to.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::printer::{print_json, print_text};
use crate::config::{Config, schema};
use crate::error::Result;

/// What to do with a configuration.
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Prints the resolved configuration with every key, also those without a value, their defaults and docs in comments.
    ///
    /// What is printed is a configuration that means the same.
    ///
    /// Example: sapo config show configs/quickstart.toml run.seed=2 | less
    Show {
        /// Configuration files, then overrides.
        #[arg(required = true)]
        config: Vec<String>,
        /// Prints the values alone, as a run saves them.
        #[arg(long)]
        values: bool,
        /// Prints one JSON object: the configuration, and every key with its value, default and doc.
        #[arg(long)]
        json: bool,
    },
    /// Checks a configuration without running it: every key, its type and its range. A fault is told with file and line.
    ///
    /// Example: sapo config check my.toml phases.rl.steps=200
    Check {
        /// Configuration files, then overrides.
        #[arg(required = true)]
        config: Vec<String>,
        /// Prints one JSON object on stdout, and nothing else there.
        #[arg(long)]
        json: bool,
    },
    /// Prints the JSON Schema of a configuration, from which editors complete keys: in VS Code with Even Better TOML, put
    /// `#:schema ./sapo.schema.json` on a file's first line.
    Schema,
    /// Prints the reference page of all keys, with types, defaults and docs (docs/config.md).
    Reference,
}

/// Runs the command.
pub(crate) fn run(command: ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Show { config, json: true, .. } => {
            let config = compose(&config)?;
            print_json(&json!({"config": config, "keys": config.keys()?}), true)
        }
        ConfigCommand::Show { config, values: true, .. } => print_text(&compose(&config)?.to_toml()?),
        ConfigCommand::Show { config, .. } => print_text(&compose(&config)?.annotated()?),
        ConfigCommand::Check { config, json } => {
            let config = compose(&config)?;
            match json {
                true => print_json(&json!({"ok": true, "run": config.run_path(), "phases": config.run.phases}), true),
                false => print_text("ok\n"),
            }
        }
        ConfigCommand::Schema => print_json(&schema::json_schema(), false),
        ConfigCommand::Reference => print_text(&schema::reference()),
    }
}

/// Arguments with an equals sign are overrides, the others files.
pub(crate) fn compose(arguments: &[String]) -> Result<Config> {
    let (files, overrides) = files_and_overrides(arguments);
    Ok(Config::compose(&files, &overrides)?)
}

/// The same for commands that train nothing: rewards and rubrics are enough.
pub(crate) fn compose_rewards(arguments: &[String]) -> Result<Config> {
    let (files, overrides) = files_and_overrides(arguments);
    Ok(Config::compose_rewards(&files, &overrides)?)
}

fn files_and_overrides(arguments: &[String]) -> (Vec<PathBuf>, Vec<String>) {
    let (overrides, files): (Vec<String>, Vec<String>) = arguments.iter().cloned().partition(|text| text.contains('='));
    (files.into_iter().map(PathBuf::from).collect(), overrides)
}
