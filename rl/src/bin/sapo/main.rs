//! The `sapo` command: arguments in, results on stdout, talk on stderr, an exit code that means something.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to people here and only here")]

mod printer;

use std::path::PathBuf;
use std::process::ExitCode;

use burn::tensor::Device;
use clap::{Parser, Subcommand};
use sapo::config::{Config, EvalConfig};
use sapo::error::{Result, RunError};
use sapo::eval::{EvalRow, Gain, evaluate};
use sapo::train::train;
use sapo_datasets::Task;
use sapo_datasets::synthetic::{self, Style};
use sapo_policies::Model;
use sapo_policies::processor::train_tokenizer;
use sapo_rewards::RubricConfig;
use sapo_rewards::bench::GoldKind;

use crate::printer::Printer;

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
    Train {
        /// Configuration files, then overrides such as `phases.reasoning.steps=20`.
        #[arg(required = true)]
        config: Vec<String>,
        /// Prints one JSON object on stdout at the end, and nothing else there.
        #[arg(long)]
        json: bool,
    },
    /// Evaluates a model on held-out queries of generated tasks.
    ///
    /// Example: sapo eval --model runs/quickstart/checkpoints/step-001210 --queries 200
    Eval {
        /// A preset, a checkpoint of a run, or a folder in the Hugging Face layout.
        #[arg(long)]
        model: String,
        /// Tasks, separated by commas.
        #[arg(long, default_value = "arith,count,clock,digits,locate,logic")]
        tasks: String,
        /// Queries of each task.
        #[arg(long, default_value_t = 200)]
        queries: usize,
        /// Samples of each query at temperature 1.
        #[arg(long, default_value_t = 4)]
        samples: usize,
        /// Seed of queries and samples; the same as in the run's `[eval]` gives the run's numbers.
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// Token limit of an answer.
        #[arg(long, default_value_t = 40)]
        max_new_tokens: usize,
        /// Prints one JSON object on stdout, and nothing else there.
        #[arg(long)]
        json: bool,
    },
    /// Writes report.html and report.json of a run, finished or not, and prints the page's path.
    ///
    /// Example: sapo report runs/quickstart
    Report {
        /// The run's folder.
        run: PathBuf,
    },
    /// Shows and measures rewards.
    #[command(subcommand)]
    Reward(RewardCommand),
    /// Makes data and what is made from data.
    #[command(subcommand)]
    Data(DataCommand),
    /// Shows what a configuration comes to.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum RewardCommand {
    /// Lists every kind of reward with its options and an example, as JSON.
    List,
    /// Runs a verifier over a gold set and prints how often it is right, as JSON.
    Bench {
        /// The kind of rows: math_equivalence, multiple_choice, grounding, repetition or language_mixing.
        kind: String,
        /// The rows, one JSON object a line.
        file: PathBuf,
        /// One line instead of an indented object.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum DataCommand {
    /// Trains the byte-level BPE tokenizer of the small presets on the generated tasks' text.
    Tokenizer {
        /// The `tokenizer.json` to write.
        #[arg(long)]
        out: PathBuf,
        /// Size of the vocabulary, special tokens included.
        #[arg(long, default_value_t = 768)]
        vocabulary: usize,
        /// Demonstrations of each task to read.
        #[arg(long, default_value_t = 4000)]
        examples: u64,
    },
    /// Prints demonstrations of a task.
    Show {
        /// The task.
        task: String,
        /// How many.
        #[arg(long, default_value_t = 5)]
        count: u64,
        /// Seed of the queries.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Writes the pictures into this folder.
        #[arg(long)]
        pictures: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
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
        Command::Train { config, json } => run_training(&config, json),
        Command::Eval { model, tasks, queries, samples, seed, max_new_tokens, json } => {
            let tasks = tasks.split(',').map(|task| Task::parse(task.trim())).collect::<std::result::Result<_, _>>()?;
            let config =
                EvalConfig { tasks, queries_per_task: queries, samples, max_new_tokens, rubric: String::new(), seed };
            run_evaluation(&model, &config, json)
        }
        Command::Report { run } => {
            println!("{}", sapo::report::write(&run)?.display());
            Ok(())
        }
        Command::Reward(RewardCommand::List) => print_json(&sapo_rewards::catalogue::catalogue(), false),
        Command::Reward(RewardCommand::Bench { kind, file, json }) => bench_reward(&kind, &file, json),
        Command::Data(DataCommand::Tokenizer { out, vocabulary, examples }) => {
            make_tokenizer(&out, vocabulary, examples)
        }
        Command::Data(DataCommand::Show { task, count, seed, pictures }) => {
            show(&task, count, seed, pictures.as_deref())
        }
        Command::Config(ConfigCommand::Show { config }) => {
            print!("{}", compose(&config)?.to_toml()?);
            Ok(())
        }
        Command::Config(ConfigCommand::Check { config }) => {
            compose(&config)?;
            println!("ok");
            Ok(())
        }
    }
}

fn print_json(value: &impl serde::Serialize, on_one_line: bool) -> Result<()> {
    let text = if on_one_line { serde_json::to_string(value) } else { serde_json::to_string_pretty(value) };
    println!("{}", text.map_err(|error| RunError::Internal(error.to_string()))?);
    Ok(())
}

fn bench_reward(kind: &str, file: &std::path::Path, json: bool) -> Result<()> {
    let kind = GoldKind::ALL.into_iter().find(|known| known.name() == kind).ok_or_else(|| {
        RunError::User(format!("there is no kind `{kind}`; known are {}", GoldKind::ALL.map(GoldKind::name).join(", ")))
    })?;
    let text = std::fs::read_to_string(file).map_err(|source| RunError::io(file, source))?;
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let row = serde_json::from_str(line)
            .map_err(|error| RunError::User(format!("{} line {}: {error}", file.display(), index + 1)))?;
        rows.push(row);
    }
    print_json(&sapo_rewards::bench::bench(kind, &rows)?, json)
}

/// Arguments with an equals sign are overrides, the others files.
fn compose(arguments: &[String]) -> Result<Config> {
    let (overrides, files): (Vec<String>, Vec<String>) = arguments.iter().cloned().partition(|text| text.contains('='));
    let files: Vec<PathBuf> = files.into_iter().map(PathBuf::from).collect();
    Ok(Config::compose(&files, &overrides)?)
}

fn run_training(arguments: &[String], json: bool) -> Result<()> {
    let config = compose(arguments)?;
    let mut printer = Printer::new();
    let summary = train(&config, &Device::flex(), &mut printer)?;
    printer.finish();
    if json {
        println!("{}", serde_json::to_string(&summary).map_err(|error| RunError::Internal(error.to_string()))?);
    } else {
        print!("{}{}", table(&summary.evals), gains(&summary.gains));
        let end = &summary.end;
        println!("run: {} ({:.0} s, {} MiB at most)", end.run_dir, end.wall_secs, end.peak_rss_bytes >> 20);
        println!("report: {}/report.html", end.run_dir);
    }
    Ok(())
}

fn run_evaluation(model: &str, config: &EvalConfig, json: bool) -> Result<()> {
    if config.queries_per_task == 0 || config.samples == 0 || config.max_new_tokens == 0 {
        return Err(RunError::User("--queries, --samples and --max-new-tokens must not be 0".to_owned()));
    }
    let opened = Model::open(model, config.seed, &Device::flex())?;
    let mut printer = Printer::new();
    let total = (config.tasks.len() * config.queries_per_task) as u64;
    sapo::train::Progress::begin(&mut printer, "evaluation", total);
    let evaluation = evaluate(&opened, config, &RubricConfig::default(), model, 1024, &mut |done, _| {
        sapo::train::Progress::done(&mut printer, done as u64, "");
    })?;
    printer.finish();
    if json {
        println!("{}", serde_json::json!({"model": model, "seed": config.seed, "evals": evaluation.rows}));
    } else {
        print!("{}", table(&evaluation.rows));
    }
    Ok(())
}

fn table(rows: &[EvalRow]) -> String {
    let mut text = format!(
        "{:<12} {:<9} {:>7} {:>7}  {:<16} {:>7} {:>8}\n",
        "after", "task", "queries", "pass@1", "95 % interval", "greedy", "working"
    );
    for row in rows {
        text.push_str(&format!(
            "{:<12} {:<9} {:>7} {:>7.3}  [{:.3}, {:.3}]   {:>7.3} {:>8.2}\n",
            row.after, row.task, row.queries, row.pass_at_1, row.ci95[0], row.ci95[1], row.greedy, row.with_working
        ));
    }
    text
}

fn gains(gains: &[Gain]) -> String {
    let mut text = String::new();
    for gain in gains.iter().filter(|gain| gain.task == "all") {
        let points = |value: f64| value * 100.0;
        text.push_str(&format!(
            "{} -> {}: {:+.1} points [{:.1}, {:.1}] at temperature 1, {:+.1} greedy\n",
            gain.from,
            gain.to,
            points(gain.gain),
            points(gain.ci95[0]),
            points(gain.ci95[1]),
            points(gain.greedy_gain)
        ));
    }
    text
}

fn make_tokenizer(out: &std::path::Path, vocabulary: usize, examples: u64) -> Result<()> {
    let texts = Task::ALL.into_iter().flat_map(move |task| {
        (0..examples).flat_map(move |index| {
            let style = if index % 4 == 0 { Style::Hasty } else { Style::Careful };
            let shown = synthetic::demonstration(task, 0, index, style);
            [shown.query.question(), shown.response]
        })
    });
    let texts: Vec<String> = texts.collect();
    let bytes = train_tokenizer(texts.into_iter(), vocabulary)?;
    std::fs::write(out, bytes).map_err(|source| RunError::io(out, source))?;
    println!("{}", out.display());
    Ok(())
}

fn show(task: &str, count: u64, seed: u64, pictures: Option<&std::path::Path>) -> Result<()> {
    let task = Task::parse(task)?;
    for index in 0..count {
        let shown = synthetic::demonstration(task, seed, index, Style::Careful);
        println!("{}\n  {}\n  {}", shown.query.id, shown.query.question().replace('\n', "\n  "), shown.response);
        for picture in shown.query.images.iter().filter(|_| pictures.is_some()) {
            let folder = pictures.unwrap_or(std::path::Path::new("."));
            std::fs::create_dir_all(folder).map_err(|source| RunError::io(folder, source))?;
            let path = folder.join(format!("{}-{index}.{}", task.name(), picture.extension()));
            std::fs::write(&path, picture.bytes()).map_err(|source| RunError::io(&path, source))?;
        }
    }
    Ok(())
}
