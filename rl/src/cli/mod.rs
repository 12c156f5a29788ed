//! The `sapo` command: arguments in, results on stdout, talk on stderr, an exit code that means something. It lies in the
//! library so that a program with rewards of its own is the same command; nothing else here may use it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to people here and only here")]

mod address;
mod bench;
mod compare;
mod config;
mod convert;
mod curate;
mod data;
mod eval;
mod failed;
mod init;
mod interrupt;
mod merge;
mod named;
mod pace;
mod parity;
mod plan;
mod printer;
mod replay;
mod report;
mod reward;
mod rollout;
mod sandbox;
mod serve;
mod signals;
mod train;
mod view;
mod weights;

use std::process::ExitCode;

use crate::error::{Result, RunError};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use sapo_rewards::{Kinds, custom};

use self::printer::print_text;

/// Reinforcement-learning post-training for Qwen3-VL policies.
#[derive(Parser)]
#[command(name = "sapo", version, arg_required_else_help = true)]
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
    /// Curates: filters queries and responses, asks each query several times, and keeps what is worth training on.
    ///
    /// Does the phases with kind = "curate" of a configuration, and nothing else of it, in a run directory. What is kept is
    /// written as curation/NAME.parquet, a source like any other; curation/NAME.jsonl is the record, a line for each query
    /// with every outcome, interval, decision and reason. Stopped or killed anywhere, it goes on with --resume behind the
    /// last recorded query. docs/curation.md has every option.
    ///
    /// Examples:
    ///
    /// sapo curate configs/quickstart.toml run.name=curated policy.model=runs/quickstart
    ///
    /// sapo curate mine.toml 'phases.curate.by={ record = "runs/curated/curation/curate.jsonl" }' run.name=again --json
    Curate(curate::CurateArguments),
    /// Looks at your data and writes a commented configuration that trains on them.
    ///
    /// Example: sapo init --data geo3k/train.parquet --model ./Qwen3-VL-2B-Instruct --reward mine.py:compute_score
    Init(init::InitArguments),
    /// Evaluates a model on the held-out sets of a configuration, on generated tasks, or on the rows of files.
    ///
    /// What is not given comes from `[eval.NAME]` of --config, if there is one: with the configuration of a run, the numbers
    /// for its checkpoint are those that the run logged.
    ///
    /// Examples:
    ///
    /// sapo eval --model runs/quickstart --config runs/quickstart/config.toml
    ///
    /// sapo eval --model tiny --tasks arith,clock --queries 50 --samples 16 --out evaluated
    ///
    /// sapo eval --model tiny --data geometry.parquet --data synthetic:clock@test[0:200] --rubric number
    ///
    /// sapo eval --model ./Qwen3-VL-2B-Instruct --data test.parquet --template '{{ content }} Put the answer in \boxed{}.'
    /// --temperature 0.7 --out now --baseline before
    ///
    /// sapo eval --model ./Qwen3-VL-2B-Instruct --endpoint http://127.0.0.1:8000 --data test.parquet --out served
    ///
    /// An evaluation with --out that was stopped (exit code 3) or killed goes on with the same command and --resume:
    ///
    /// sapo eval --model ./Qwen3-VL-2B-Instruct --endpoint http://127.0.0.1:8000 --data test.parquet --out served --resume
    Eval(eval::EvalArguments),
    /// Compares two evaluations of the same queries: differences paired by query with 95 % intervals, per task and in all.
    ///
    /// Evaluations of other queries are refused, with what differs and how many are shared. What else differs (sampling,
    /// prompts, rubrics) is said.
    ///
    /// Examples:
    ///
    /// sapo compare runs/quickstart/eval/heldout-000000 runs/quickstart
    ///
    /// sapo compare before after --json
    Compare(compare::CompareArguments),
    /// Writes report.html and report.json of a run, finished or not, or of an evaluation, and prints the page's path.
    ///
    /// Examples:
    ///
    /// sapo report runs/quickstart
    ///
    /// sapo report runs/seed-1 runs/seed-2 runs/seed-3
    ///
    /// sapo report runs/new --against runs/old
    Report(report::ReportArguments),
    /// Shows runs in a browser, as they grow: their reports, every rollout that is on disk, curves of several runs in one
    /// picture with seeds pooled, and /metrics for Prometheus. Only this machine can ask, and nothing is written.
    ///
    /// Examples:
    ///
    /// sapo view runs/mine
    ///
    /// sapo view runs/seed-1 runs/seed-2 runs/seed-3 --port 8200
    View(view::ViewArguments),
    /// Samples recorded rollouts again from the checkpoint and the seeds that they came from, and tells whether they are the
    /// same, token for token, or where they part; ends with 1 where they do.
    ///
    /// Example: sapo replay runs/mine arith-train-1-42 --sample 3
    Replay(replay::ReplayArguments),
    /// Serves a model over HTTP, as OpenAI's chat completions and completions (docs/serve.md).
    ///
    /// Prints one line when it takes requests: {"url": "http://127.0.0.1:8000", "model": "step-001370", "pid": 4711}. Ctrl-C or
    /// SIGTERM lets the requests in flight end for some seconds.
    ///
    /// Examples:
    ///
    /// sapo serve --model runs/quickstart --port 8000
    ///
    /// SAPO_API_KEY=secret sapo serve --model ./Qwen3-VL-2B-Instruct --host 0.0.0.0 --allow-local-images ./pictures
    Serve(serve::ServeArguments),
    /// Makes a low-rank adapter, one of a run or one that PEFT wrote, a part of its model's weights.
    ///
    /// Example: sapo merge runs/lora/checkpoints/step-000100 merged --format bf16
    Merge(merge::MergeArguments),
    /// Compares a checkpoint with golden cases of the reference implementation, tensor by tensor.
    ///
    /// Ends with 0 when every tensor is within its tolerance, with 1 when one is not, and with 2 when there is no case
    /// or a tensor of a case that nothing was compared with.
    ///
    /// Example: sapo parity tests/fixtures/qwen3_vl/tiny-moe tests/fixtures/qwen3_vl/cases-moe
    Parity(parity::ParityArguments),
    /// Answers a prompt, with or without pictures, or all queries of a file.
    ///
    /// One answer is printed as it comes; several are printed one after the other. The answers to --queries are written to
    /// --out, one JSON object a line behind a first line that says what it was made with; a query that cannot be answered
    /// has a line with the reason. After an interruption the same command with --resume goes on.
    ///
    /// Examples:
    ///
    /// sapo rollout --model ./Qwen3-VL-2B-Instruct --dtype bf16 --image photo.jpg --prompt "What is shown?"
    ///
    /// sapo rollout --model runs/quickstart --prompt "What is 2 + 3?" --samples 8 --json
    ///
    /// sapo rollout --model ./Qwen3-VL-2B-Instruct --queries test.parquet --samples 16 --out rollouts.jsonl
    Rollout(rollout::RolloutArguments),
    /// Tells what a model or a run needs before anything is loaded: counts by part, memory, steps.
    ///
    /// Examples:
    ///
    /// sapo plan --model 8b --dtype bf16 --method lora --batch 16 --context 8192
    ///
    /// sapo plan --model ./Qwen3-VL-2B-Instruct --freeze vision,merger --json
    ///
    /// sapo plan configs/quickstart.toml run.seed=2
    Plan(plan::PlanArguments),
    /// Writes a checkpoint again: another number format, other shards, every tensor checked, all other files unchanged.
    ///
    /// It is streamed, so that memory does not grow with the model. The folder opens in transformers and vLLM.
    ///
    /// Example: sapo convert runs/quickstart export --dtype bf16 --max-shard-size 2GB
    Convert(convert::ConvertArguments),
    /// Makes checkpoints with random weights, and measures how they load and how fast the engine answers.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Shows, checks and measures rewards, and scores stored rollouts again.
    #[command(subcommand)]
    Reward(reward::RewardCommand),
    /// Makes, shows, checks and converts data.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Shows what a configuration comes to.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Prints what a shell needs to complete commands and flags.
    ///
    /// Examples:
    ///
    /// sapo completions bash > ~/.local/share/bash-completion/completions/sapo
    ///
    /// sapo completions zsh > ~/.zfunc/_sapo
    ///
    /// sapo completions fish > ~/.config/fish/completions/sapo.fish
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The `sapo` command with `kinds` of rewards beside those of the house; a config names them by `kind = "custom"` and
/// `type`. To be called once, as all that a program's `main` does: runs start further processes of the same program.
pub fn main(kinds: Kinds) -> ExitCode {
    // Started as the launcher of a sandbox, this is all that it does.
    if let Some(code) = sapo_rewards::sandbox::serve() {
        return code;
    }
    failed::keep_quiet_of_caught_panics();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return failed::misused(error),
    };
    let done = custom::install(kinds).map_err(RunError::from);
    let done = done.and_then(|()| failed::unless_the_device_fails(|| run(arguments.command)));
    done.unwrap_or_else(|error| failed::failed(&error))
}

/// Runs a command; 1 when what it measured is not good enough, 130 when it was interrupted after saving.
fn run(command: Command) -> Result<ExitCode> {
    let unless = |good: bool, code: u8| if good { ExitCode::SUCCESS } else { ExitCode::from(code) };
    match command {
        Command::Curate(arguments) => return Ok(unless(curate::run(&arguments)?, 130)),
        Command::Train(arguments) => return Ok(unless(train::run(&arguments)?, 130)),
        Command::Parity(arguments) => return Ok(unless(parity::run(&arguments)?, 1)),
        Command::Merge(arguments) => merge::run(&arguments)?,
        Command::Init(arguments) => init::run(&arguments)?,
        Command::Eval(mut arguments) => {
            arguments.model = named::model(&arguments.model)?;
            return Ok(unless(eval::run(&arguments)?, 1));
        }
        Command::Compare(arguments) => compare::run(&arguments)?,
        Command::Report(arguments) => report::run(&arguments)?,
        Command::View(arguments) => view::run(&arguments)?,
        Command::Replay(arguments) => return Ok(unless(replay::run(&arguments)?, 1)),
        Command::Serve(mut arguments) => {
            arguments.model = named::model(&arguments.model)?;
            serve::run(arguments)?;
        }
        Command::Rollout(mut arguments) => {
            arguments.model = named::model(&arguments.model)?;
            return Ok(match rollout::run(&arguments)? {
                rollout::Ended::Well => ExitCode::SUCCESS,
                rollout::Ended::WithoutAnswers => ExitCode::from(1),
                rollout::Ended::Interrupted => ExitCode::from(130),
            });
        }
        Command::Plan(arguments) => plan::run(&arguments)?,
        Command::Convert(mut arguments) => {
            arguments.model = named::model(&arguments.model)?;
            convert::run(&arguments)?;
        }
        Command::Bench(command) => bench::run(command)?,
        Command::Reward(command) => return Ok(unless(reward::run(command)?, 1)),
        Command::Data(command) => return Ok(unless(data::run(command)?, 1)),
        Command::Config(command) => config::run(command)?,
        Command::Completions { shell } => completions(shell)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn completions(shell: Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "sapo", &mut text);
    print_text(&String::from_utf8_lossy(&text))
}
