//! `sapo eval`: evaluates a model.

use burn::tensor::Device;
use clap::Args;
use sapo::config::EvalConfig;
use sapo::error::{Result, RunError};
use sapo::eval::evaluate;
use sapo::train::Progress;
use sapo_datasets::Task;
use sapo_policies::Model;
use sapo_rewards::RubricConfig;

use crate::printer::{Printer, table};

/// Which model, on what, and how.
#[derive(Args)]
pub(crate) struct EvalArguments {
    /// A preset, a checkpoint of a run, or a folder in the Hugging Face layout.
    #[arg(long)]
    pub(crate) model: String,
    /// Tasks, separated by commas.
    #[arg(long, default_value = "arith,count,clock,digits,locate,logic")]
    pub(crate) tasks: String,
    /// Queries of each task.
    #[arg(long, default_value_t = 200)]
    pub(crate) queries: usize,
    /// Samples of each query at temperature 1.
    #[arg(long, default_value_t = 4)]
    pub(crate) samples: usize,
    /// Seed of queries and samples; the same as in the run's `[eval]` gives the run's numbers.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// Token limit of an answer.
    #[arg(long, default_value_t = 40)]
    pub(crate) max_new_tokens: usize,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &EvalArguments) -> Result<()> {
    let tasks = arguments.tasks.split(',').map(|task| Task::parse(task.trim()));
    let config = EvalConfig {
        tasks: tasks.collect::<std::result::Result<_, _>>()?,
        queries_per_task: arguments.queries,
        samples: arguments.samples,
        max_new_tokens: arguments.max_new_tokens,
        rubric: String::new(),
        seed: arguments.seed,
    };
    if config.queries_per_task == 0 || config.samples == 0 || config.max_new_tokens == 0 {
        return Err(RunError::User("--queries, --samples and --max-new-tokens must not be 0".to_owned()));
    }
    let opened = Model::open(&arguments.model, config.seed, &Device::flex())?;
    let mut printer = Printer::new();
    let total = (config.tasks.len() * config.queries_per_task) as u64;
    printer.begin("evaluation", total);
    let evaluation = evaluate(&opened, &config, &RubricConfig::default(), &arguments.model, 1024, &mut |done, _| {
        printer.done(done as u64, "");
    })?;
    printer.finish();
    if arguments.json {
        println!("{}", serde_json::json!({"model": arguments.model, "seed": config.seed, "evals": evaluation.rows}));
    } else {
        print!("{}", table(&evaluation.rows));
    }
    Ok(())
}
