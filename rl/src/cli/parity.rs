//! `sapo parity`: compares a checkpoint with golden cases of the reference implementation.

use std::path::{Path, PathBuf};

use crate::device;
use crate::error::{Result, RunError};
use clap::Args;
use sapo_policies::golden::{Case, case_files};
use sapo_policies::golden::{Difference, Parity, Tolerance, check, check_processor, check_prompt};
use sapo_policies::preset::checkpoint_folder;
use sapo_policies::processor::Processor;
use sapo_policies::{Config, Policy};
use serde_json::json;

use super::named;
use super::printer::{Printer, add_kernels, print_json, print_text};

/// Which checkpoint, and what to compare it with.
#[derive(Args)]
pub(crate) struct ParityArguments {
    /// A folder in the Hugging Face layout, or a checkpoint of a run.
    #[arg(value_name = "MODEL_DIR")]
    pub(crate) model: PathBuf,
    /// A folder of golden cases: NAME.safetensors each for a model (NAME.json beside it may give tolerances), and for a
    /// processor chat texts and token ids, sizes, pixels, frames and timestamps.
    #[arg(value_name = "CASES_DIR")]
    pub(crate) cases: PathBuf,
    /// Where the model computes: `cpu`, `cuda:0` in a build with the feature `cuda`, or `wgpu:0` in one with `wgpu`
    /// (docs/gpu.md).
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Prints one JSON object on stdout, and nothing else there.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs the command; false when a tensor is out of tolerance.
pub(crate) fn run(arguments: &ParityArguments) -> Result<bool> {
    let files = case_files(&arguments.cases)?;
    let place = arguments.cases.display();
    if files.is_empty() {
        return Err(RunError::User(format!("{place} holds no golden case, that is no NAME.safetensors or NAME.json")));
    }
    let model = checkpoint_folder(&named::model(&arguments.model.display().to_string())?)?;
    let printer = Printer::new();
    let mut all = Vec::new();
    let mut add = |parity: Parity| {
        printer.finish();
        let shown = if arguments.json { Ok(()) } else { print_text(&lines(&parity)) };
        all.push(parity);
        shown
    };
    if !files.processor.is_empty() {
        let processor = processor(&model)?;
        for file in &files.processor {
            check_processor(&processor, file)?.into_iter().try_for_each(&mut add)?;
        }
    }
    if !files.model.is_empty() {
        let policy = Policy::load(&model, &device::open(&arguments.device)?)?;
        // A folder with weights alone has no texts to compare.
        let with_texts = model.join("tokenizer.json").is_file();
        let processor = with_texts.then(|| Processor::from_dir(&model, &policy.config)).transpose()?;
        for file in &files.model {
            let case = Case::open(file)?;
            let mut parity = check(&policy, &case)?;
            if let Some(processor) = &processor {
                parity.differences.splice(0..0, check_prompt(processor, &policy.config, &case)?);
            }
            add(parity)?;
        }
    }
    let differences = || all.iter().flat_map(|parity| parity.differences.iter().map(move |one| (&parity.case, one)));
    let (tensors, out) = (differences().count(), differences().filter(|(_, one)| one.is_out()).count());
    if tensors == 0 {
        return Err(RunError::User(format!("{place} holds no golden case: there is nothing to compare in its files")));
    }
    let worst = differences().max_by(|(_, a), (_, b)| a.share().total_cmp(&b.share()));
    if arguments.json {
        let worst =
            worst.map(|(case, one)| json!({"case": case, "tensor": one.tensor, "abs": one.abs, "rel": one.rel}));
        let mut object = json!({"cases": all.len(), "tensors": tensors, "out": out, "worst": worst});
        add_kernels(&mut object);
        print_json(&object, true)?;
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

/// The processor of a checkpoint, whose weights are not read.
fn processor(folder: &Path) -> Result<Processor> {
    let file = folder.join("config.json");
    let text = std::fs::read_to_string(&file).map_err(|source| RunError::io(&file, source))?;
    Ok(Processor::from_dir(folder, &Config::from_json(&text, &file.display().to_string())?)?)
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
    let note = if one.note.is_empty() { String::new() } else { format!("  {}", one.note) };
    format!("{case:<8} {:<74} abs {:<9.2e} rel {:<9.2e} {tolerance:<9} {verdict}{note}\n", one.tensor, one.abs, one.rel)
}
