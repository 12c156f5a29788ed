//! `sapo config`: shows what a configuration comes to.

use std::path::PathBuf;

use clap::Subcommand;

use super::printer::{print_json, print_text};
use crate::config::{Config, schema};
use crate::error::Result;

/// What to do with a configuration.
#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Prints the resolved configuration.
    Show {
        /// Configuration files, then overrides.
        #[arg(required = true)]
        config: Vec<String>,
    },
    /// Checks a configuration without running it.
    Check {
        /// Configuration files, then overrides.
        #[arg(required = true)]
        config: Vec<String>,
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
        ConfigCommand::Show { config } => print!("{}", compose(&config)?.to_toml()?),
        ConfigCommand::Check { config } => {
            compose(&config)?;
            println!("ok");
        }
        ConfigCommand::Schema => print_json(&schema::json_schema(), false)?,
        ConfigCommand::Reference => print_text(&schema::reference())?,
    }
    Ok(())
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
