//! `sapo init`: a first configuration for somebody's own data.

use std::path::PathBuf;

use clap::Args;
use sapo_datasets::Split;

use super::address;
use super::printer::print_text;
use crate::config::Config;
use crate::error::{Result, RunError};
use crate::starter::{Facts, Wanted, config};

/// What to train on, and whom.
#[derive(Args)]
pub(crate) struct InitArguments {
    /// FILE.parquet, FILE.jsonl, a folder or a pattern such as 'data/train-*.parquet'.
    #[arg(long, value_name = "SOURCE")]
    data: String,
    /// A checkpoint folder in the Hugging Face layout, or the preset `tiny`.
    #[arg(long, default_value = "tiny")]
    model: String,
    /// A reward of your own, as FILE.py:FUNCTION (the signatures of verl, TRL and EasyR1 work). Without it a rule that fits
    /// the answers is chosen.
    #[arg(long, value_name = "FILE.py:FUNCTION")]
    reward: Option<String>,
    /// The file to write.
    #[arg(long, default_value = "sapo.toml", value_name = "FILE.toml")]
    out: PathBuf,
    /// The run's name [default: the data's].
    #[arg(long)]
    name: Option<String>,
}

/// Runs the command.
pub(crate) fn run(arguments: &InitArguments) -> Result<()> {
    let out = &arguments.out;
    if out.exists() {
        let out = out.display();
        return Err(RunError::User(format!("--out {out} exists already; choose another name, or move it away")));
    }
    let dataset = address::open(&arguments.data, 1, Split::Train)?;
    let facts = Facts::of(&arguments.data, &dataset)?;
    let wanted = Wanted {
        model: arguments.model.clone(),
        reward: arguments.reward.clone(),
        name: arguments.name.clone().unwrap_or_else(|| address::name(&arguments.data)),
    };
    let text = config(&facts, &wanted)?;
    std::fs::write(out, &text).map_err(|source| RunError::io(out, source))?;
    // What is written must at least be a configuration; where it is not, the file is left for its writer to mend.
    Config::compose(std::slice::from_ref(out), &[])?;
    eprintln!("next: sapo reward check {0}; sapo plan {0}; sapo train {0}", out.display());
    print_text(&format!("{}\n", out.display()))
}
