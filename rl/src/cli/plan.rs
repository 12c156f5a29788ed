//! `sapo plan`: sizes and memory of a model, or what a run will do, before anything is loaded or begun.

use crate::device;
use crate::error::{Result, RunError};
use crate::footprint::{Footprint, PartFootprint};
use crate::memory::available_bytes;
use crate::model_setup;
use crate::outline::Outline;
use crate::plan::Plan;
use crate::sizes::{Method, ModelSize, Question};
use clap::{Args, ValueEnum};
use sapo_policies::Part;
use sapo_policies::config::published::PUBLISHED;
use sapo_policies::preset::config_of;
use serde_json::json;

use super::config::compose;
use super::named;
use super::printer::{print_json, print_text};
use super::weights::Dtype;

/// Policies with more parameters are not tried out to tell how long a run takes.
const TRIED_PARAMETERS: u64 = 100_000_000;

/// What to plan.
#[derive(Args)]
pub(crate) struct PlanArguments {
    /// Configuration files of a run, then overrides: prints the plan of the run.
    #[arg(conflicts_with = "model")]
    pub(crate) config: Vec<String>,
    /// A published size (2b, 4b, 8b, 32b, 30b-a3b, 235b-a22b), a preset, or the folder of a checkpoint.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// The format that weights are kept in; what trains is kept in f32 in either.
    #[arg(long, default_value = "bf16")]
    pub(crate) dtype: Dtype,
    /// What trains: all weights, adapters (LoRA) beside the linear maps of the text decoder, or nothing.
    #[arg(long, default_value = "full")]
    pub(crate) method: MethodName,
    /// The rank of the adapters.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) lora_rank: u16,
    /// Parts that do not train: vision, merger, deepstack, embeddings, text, router, experts, head.
    #[arg(long, value_delimiter = ',', value_parser = part)]
    pub(crate) freeze: Vec<Part>,
    /// Sequences that are decoded together, or trained on in one micro-batch.
    #[arg(long, default_value_t = 1)]
    pub(crate) batch: usize,
    /// Tokens of a sequence, prompt and answer.
    #[arg(long, default_value_t = 4096)]
    pub(crate) context: usize,
    /// Counts activations as `run.recompute` leaves them: a layer keeps its input and runs again on the way back.
    #[arg(long)]
    pub(crate) recompute: bool,
    /// What it is compared with in place of this machine's memory, such as that of a GPU: `80GB`, `24GiB`.
    #[arg(long, value_name = "SIZE", value_parser = bytes_of)]
    pub(crate) memory: Option<u64>,
    /// Prints one JSON object on stdout, and nothing else there; bytes are bytes.
    #[arg(long)]
    pub(crate) json: bool,
}

/// A size with its unit.
fn bytes_of(text: &str) -> std::result::Result<u64, String> {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("GB", 1_000_000_000), ("MB", 1_000_000_u64)];
    let found = units.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?.trim(), *bytes)));
    let parsed = found.and_then(|(number, unit)| Some((number.parse::<f64>().ok()?, unit)));
    match parsed.filter(|(number, _)| number.is_finite() && *number > 0.0) {
        Some((number, unit)) => Ok((number * unit as f64) as u64),
        None => Err("a size is a number with its unit, such as 80GB or 24GiB".to_owned()),
    }
}

/// What trains, by name.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MethodName {
    /// All weights but the frozen parts.
    Full,
    /// Adapters.
    Lora,
    /// Nothing.
    Inference,
}

fn part(name: &str) -> std::result::Result<Part, String> {
    let names = Part::ALL.map(Part::name);
    Part::ALL.into_iter().find(|part| part.name() == name).ok_or_else(|| format!("the parts are {}", names.join(", ")))
}

/// Runs the command.
pub(crate) fn run(arguments: &PlanArguments) -> Result<()> {
    match &arguments.model {
        Some(model) => plan_model(model, arguments),
        None if arguments.config.is_empty() => Err(RunError::User(
            "nothing is named to plan: give the configuration files of a run, or --model".to_owned(),
        )),
        None => plan_run(arguments),
    }
}

fn plan_model(model: &str, arguments: &PlanArguments) -> Result<()> {
    let config = config_of(&named::model(model)?)
        .map_err(|error| RunError::User(format!("{error}; the published sizes are {}", PUBLISHED.join(", "))))?;
    let method = match arguments.method {
        MethodName::Full => Method::Full,
        MethodName::Lora => Method::Lora { rank: usize::from(arguments.lora_rank) },
        MethodName::Inference => Method::Inference,
    };
    let size = ModelSize::of(
        &config,
        &Question {
            format: arguments.dtype.format(),
            method,
            frozen: arguments.freeze.clone(),
            batch: arguments.batch,
            context: arguments.context,
            recompute: arguments.recompute,
        },
    );
    if arguments.json {
        let mut object = serde_json::to_value(&size).map_err(|error| RunError::Internal(error.to_string()))?;
        object["model"] = json!(model);
        object["available_bytes"] = json!(arguments.memory.unwrap_or_else(available_bytes));
        return print_json(&object, true);
    }
    print_text(&model_text(model, &size, arguments.memory))
}

fn model_text(model: &str, of: &ModelSize, asked: Option<u64>) -> String {
    let mut text = format!("{model}: {} parameters", grouped(of.parameters));
    if of.active_parameters != of.parameters {
        text.push_str(&format!(", {} active for a token", grouped(of.active_parameters)));
    }
    text.push_str(&format!("\n\n{:<12} {:>8} {:>18} {:>18}\n", "part", "tensors", "parameters", "train"));
    for part in &of.parts {
        let row = (part.part.name(), part.tensors, grouped(part.parameters), grouped(part.trainable));
        text.push_str(&format!("{:<12} {:>8} {:>18} {:>18}\n", row.0, row.1, row.2, row.3));
    }
    if of.tied_head {
        text.push_str("head         is the embedding table\n");
    }
    if of.adapter_parameters > 0 {
        let adapters = grouped(of.adapter_parameters);
        text.push_str(&format!("{:<12} {:>8} {adapters:>18} {adapters:>18}\n", "adapters", ""));
    }
    let format = match of.dtype.bytes() {
        2 => "bf16",
        _ => "f32",
    };
    let sequences = if of.batch == 1 { "1 sequence".to_owned() } else { format!("{} sequences", of.batch) };
    text.push_str(&format!("\nmemory with weights in {format}, {} of {} tokens\n", sequences, of.context));
    for (name, bytes) in of.memory.rows().into_iter().filter(|(_, bytes)| *bytes > 0) {
        text.push_str(&format!("{name:<20} {:>12}\n", size(bytes)));
    }
    text.push_str(&format!("{:<20} {:>12}{}\n", "total", size(of.memory.total), fits(of.memory.total, asked)));
    text
}

fn plan_run(arguments: &PlanArguments) -> Result<()> {
    let config = named::models(compose(&arguments.config)?)?;
    let outline = Outline::of(&config)?;
    if outline.parameters > TRIED_PARAMETERS || !outline.missing.is_empty() {
        return if arguments.json {
            print_json(&outline, true)
        } else {
            print_text(&outline_text(&outline, arguments.memory))
        };
    }
    let model = model_setup::open(&config, None, &device::open(&config.run.device)?)?;
    let plan = Plan::of(&config, &model)?;
    if arguments.json {
        return print_json(&plan, true);
    }
    let mut lines = plan.lines();
    if let Some(first) = lines.first_mut() {
        first.push_str(&fits(plan.about_bytes, arguments.memory));
    }
    print_text(&(lines.join("\n") + "\n"))
}

/// The outline for people.
fn outline_text(of: &Outline, asked: Option<u64>) -> String {
    let there = if of.model_is_there { "" } else { " (not there; its sizes are the published ones of that name)" };
    let mut text = format!(
        "{}{there}: {} parameters, {} trained\n\n",
        of.model,
        grouped(of.parameters),
        grouped(of.trained_parameters)
    );
    for phase in &of.phases {
        let (steps, prompts, rollouts) =
            (phase.steps, grouped(phase.prompts_per_step as u64), phase.rollouts_per_prompt);
        let work = match (phase.prompts_per_step, rollouts) {
            (0, _) => format!("all queries x {rollouts} rollouts of at most {} tokens", phase.max_new_tokens),
            (_, 0) => format!("{steps} steps x {prompts} demonstrations"),
            _ => format!(
                "{steps} steps x {prompts} queries x {rollouts} rollouts of at most {} tokens",
                phase.max_new_tokens
            ),
        };
        let frozen: Vec<&str> = phase.frozen.iter().map(|part| part.name()).collect();
        let frozen = if frozen.is_empty() { String::new() } else { format!("; frozen: {}", frozen.join(", ")) };
        text.push_str(&format!("  {:<14} {:<8} {work}{frozen}\n", phase.name, phase.kind));
        let audit = phase.audit.as_ref().map(|audit| format!("  {:<23} {}\n", "", audit.line()));
        text.push_str(&audit.unwrap_or_default());
    }
    text.push_str(&format!(
        "\nmemory, with prompts of {} tokens and given answers of {}\n",
        of.lengths.prompt, of.lengths.answer
    ));
    text.push_str(&footprint_text(&of.footprint));
    text.push_str(&format!("  at most {}{}\n", size(of.footprint.total), fits(of.footprint.total, asked)));
    if !of.missing.is_empty() {
        text.push_str("\nsources that are not there yet\n");
        of.missing
            .iter()
            .for_each(|missing| text.push_str(&format!("  data.{}: {}\n", missing.source, missing.reason)));
    }
    text.push_str(&format!(
        "\nTime is told where a step can be tried: all sources are there, and the model has at most {} parameters.\n",
        grouped(TRIED_PARAMETERS)
    ));
    text
}

/// What each part of a run holds, a column for each kind.
fn footprint_text(of: &Footprint) -> String {
    let mut text = format!("  {:<18}", "");
    for (name, _) in of.parts.first().map(PartFootprint::rows).into_iter().flatten() {
        text.push_str(&format!(" {name:>16}"));
    }
    text.push_str(&format!(" {:>12}\n", "at most"));
    for part in &of.parts {
        text.push_str(&format!("  {:<18}", part.name));
        for (_, bytes) in part.rows() {
            text.push_str(&format!(" {:>16}", if bytes == 0 { "-".to_owned() } else { size(bytes) }));
        }
        text.push_str(&format!(" {:>12}\n", size(part.total)));
    }
    text
}

/// How this compares with the memory that is asked for, or with that of this machine, where the system tells it.
fn fits(bytes: u64, asked: Option<u64>) -> String {
    let (room, place) = asked.map_or((available_bytes(), "available here"), |room| (room, "asked for"));
    match room {
        0 => String::new(),
        room if bytes <= room => format!(" of {} {place}", size(room)),
        room => format!(", more than the {} {place}", size(room)),
    }
}

/// Bytes in the largest unit of which there is one.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2} {}", units[unit])
}

/// A count with commas.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
