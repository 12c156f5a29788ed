//! `sapo config`: shows what a configuration comes to.

use std::path::PathBuf;

use crate::config::Config;
use crate::error::Result;
use clap::Subcommand;

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
}

/// Runs the command.
pub(crate) fn run(command: ConfigCommand) -> Result<()> {
    match command {
        ConfigCommand::Show { config } => print!("{}", compose(&config)?.to_toml()?),
        ConfigCommand::Check { config } => {
            compose(&config)?;
            println!("ok");
        }
    }
    Ok(())
}

/// Arguments with an equals sign are overrides, the others files.
pub(crate) fn compose(arguments: &[String]) -> Result<Config> {
    let (overrides, files): (Vec<String>, Vec<String>) = arguments.iter().cloned().partition(|text| text.contains('='));
    let files: Vec<PathBuf> = files.into_iter().map(PathBuf::from).collect();
    Ok(Config::compose(&files, &overrides)?)
}
