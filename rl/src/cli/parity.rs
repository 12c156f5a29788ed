//! `sapo parity`: compares a checkpoint with golden cases of the reference implementation.

use std::path::PathBuf;

use crate::device;
use crate::error::{Result, RunError};
use clap::Args;
use sapo_policies::Policy;
use sapo_policies::golden::{Case, case_files};
use sapo_policies::parity::{Difference, Parity, Tolerance, check};
use serde_json::json;

use super::printer::{print_json, print_text};

/// Which checkpoint, and what to compare it with.
#[derive(Args)]
pub(crate) struct ParityArguments {
    /// A folder in the Hugging Face layout.
    #[arg(value_name = "MODEL_DIR")]
    pub(crate) model: PathBuf,
    /// A folder of golden cases, one NAME.safetensors each; NAME.json beside it may give tolerances.
    #[arg(value_name = "CASES_DIR")]
    pub(crate) cases: PathBuf,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command; false when a tensor is out of tolerance.
pub(crate) fn run(arguments: &ParityArguments) -> Result<bool> {
    let files = case_files(&arguments.cases)?;
    if files.is_empty() {
        let place = arguments.cases.display();
        return Err(RunError::User(format!("{place} holds no golden case, that is no file NAME.safetensors")));
    }
    let policy = Policy::load(&arguments.model, &device::open("cpu")?)?;
    let mut all = Vec::with_capacity(files.len());
    for file in &files {
        let parity = check(&policy, &Case::open(file)?)?;
        if !arguments.json {
            print_text(&lines(&parity))?;
        }
        all.push(parity);
    }
    let differences = || all.iter().flat_map(|parity| parity.differences.iter().map(move |one| (&parity.case, one)));
    let (tensors, out) = (differences().count(), differences().filter(|(_, one)| one.is_out()).count());
    let worst = differences().max_by(|(_, a), (_, b)| a.share().total_cmp(&b.share()));
    if arguments.json {
        let worst =
            worst.map(|(case, one)| json!({"case": case, "tensor": one.tensor, "abs": one.abs, "rel": one.rel}));
        print_json(&json!({"cases": all.len(), "tensors": tensors, "out": out, "worst": worst}), true)?;
    } else if let Some((case, one)) = worst {
        print_text(&format!(
            "{} cases, {tensors} tensors, {out} out of tolerance; the worst: {case} {}, {:.2} of its tolerance\n",
            all.len(),
            one.tensor,
            one.share()
        ))?;
    }
    let left: Vec<String> =
        all.iter().flat_map(|parity| parity.left.iter().map(|name| format!("{} {name}", parity.case))).collect();
    if !left.is_empty() {
        return Err(RunError::User(format!("nothing of this model was compared with: {}", left.join(", "))));
    }
    Ok(out == 0)
}

/// A line for each tensor.
fn lines(parity: &Parity) -> String {
    parity.differences.iter().map(|one| line(&parity.case, one)).collect()
}

fn line(case: &str, one: &Difference) -> String {
    let tolerance = match one.tolerance {
        Tolerance::Exact => "exact".to_owned(),
        Tolerance::Absolute(most) => format!("abs {most:.0e}"),
        Tolerance::Relative(most) => format!("rel {most:.0e}"),
    };
    let verdict = if one.is_out() { "OUT" } else { "ok" };
    format!("{case:<8} {:<74} abs {:<9.2e} rel {:<9.2e} {tolerance:<9} {verdict}\n", one.tensor, one.abs, one.rel)
}
