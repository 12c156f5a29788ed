//! The `sapo` command: arguments in, results on stdout, talk on stderr, an exit code that means something.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to people here and only here")]

mod config;
mod data;
mod eval;
mod printer;
mod reward;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sapo::error::{Result, RunError};

/// Reinforcement-learning post-training for Qwen3-VL policies.
#[derive(Parser)]
#[command(name = "sapo", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trains a policy as TOML files and `key=value` overrides say, left to right.
    ///
    /// Example: sapo train configs/quickstart.toml run.seed=2 run.name=second
    Train(train::TrainArguments),
    /// Evaluates a model on held-out queries of generated tasks.
    ///
    /// Example: sapo eval --model runs/quickstart/checkpoints/step-001210 --queries 200
    Eval(eval::EvalArguments),
    /// Writes report.html and report.json of a run, finished or not, and prints the page's path.
    ///
    /// Example: sapo report runs/quickstart
    Report {
        /// The run's folder.
        run: PathBuf,
    },
    /// Shows and measures rewards.
    #[command(subcommand)]
    Reward(reward::RewardCommand),
    /// Makes data and what is made from data.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Shows what a configuration comes to.
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(match error {
                RunError::Internal(_) => 3,
                _ => 2,
            })
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Train(arguments) => train::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Report { run } => {
            println!("{}", sapo::report::write(&run)?.display());
            Ok(())
        }
        Command::Reward(command) => reward::run(command),
        Command::Data(command) => data::run(command),
        Command::Config(command) => config::run(command),
    }
}
