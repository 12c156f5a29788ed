//! All queries of a source, into a file of rollouts.

use std::path::{Path, PathBuf};

use sapo_datasets::{Dataset, Split};
use sapo_policies::Model;
use sapo_rollouts::{LocalEngine, Sampling};
use serde_json::json;

use super::{Ended, RolloutArguments};
use crate::cli::address;
use crate::cli::interrupt::interruptible;
use crate::cli::printer::{Printer, add_kernels, print_json, print_text};
use crate::error::{Result, RunError};
use crate::rollout_file::record::{Settings, digest};
use crate::rollout_file::{Answered, Answering};

/// Queries that are to be answered.
pub(super) struct Queries {
    address: String,
    out: PathBuf,
    dataset: Dataset,
    rows: u64,
}

/// The queries of the arguments, if there are any, so that a wrong source is told before a model is opened.
pub(super) fn open(arguments: &RolloutArguments) -> Result<Option<Queries>> {
    let (Some(address), Some(out)) = (&arguments.queries, &arguments.out) else { return Ok(None) };
    if out.exists() && !arguments.resume {
        let out = out.display();
        let reason = format!("--out {out} exists already; add --resume to go on with it, or choose another name");
        return Err(RunError::User(reason));
    }
    let dataset = address::open(address, arguments.seed, Split::Train)?;
    let Some(rows) = dataset.len() else {
        return Err(RunError::User(format!("{address} has no end; say how many queries, as {address}[0:200]")));
    };
    Ok(Some(Queries { address: address.clone(), out: out.clone(), dataset, rows }))
}

impl Queries {
    /// Answers them.
    pub(super) fn answer(
        &self,
        arguments: &RolloutArguments,
        model: &Model,
        engine: &LocalEngine,
        sampling: Sampling,
    ) -> Result<Ended> {
        let settings = Settings {
            model: arguments.model.clone(),
            weights_sha256: model.policy.weights_sha256(),
            queries: self.address.clone(),
            queries_sha256: digest(Path::new(&self.address))?,
            rows: self.rows,
            samples: arguments.samples as usize,
            seed: arguments.seed,
            sampling,
            max_prompt_tokens: arguments.max_prompt_tokens.min(model.context().saturating_sub(1)),
            dtype: arguments.dtype.name().to_owned(),
        };
        let stop = interruptible(None)?;
        let printer = Printer::new();
        let batch = arguments.batch as usize;
        let answering = Answering { model, engine, dataset: &self.dataset, settings: &settings, batch };
        let answered = answering.run(&self.out, arguments.resume, &stop, &printer);
        printer.finish();
        let answered = answered?;
        self.say(arguments, &answered)?;
        Ok(match answered {
            Answered { interrupted: true, .. } => Ended::Interrupted,
            Answered { answered: 0, failed: 1.., .. } => Ended::WithoutAnswers,
            _ => Ended::Well,
        })
    }

    fn say(&self, arguments: &RolloutArguments, answered: &Answered) -> Result<()> {
        let out = self.out.display();
        let Answered { queries, answered: good, failed, rollouts, cut, tokens, secs, .. } = *answered;
        let a_second = tokens as f64 / secs.max(1e-9);
        if answered.interrupted {
            eprintln!("interrupted; what is written is kept. Go on with the same command and --resume");
        }
        if arguments.json {
            let mut object = json!({"v": 1, "model": arguments.model, "source": self.address, "out": self.out});
            if let (Some(object), Ok(serde_json::Value::Object(counts))) =
                (object.as_object_mut(), serde_json::to_value(answered))
            {
                object.extend(counts);
                object.insert("tokens_per_sec".to_owned(), json!(a_second));
            }
            add_kernels(&mut object);
            return print_json(&object, true);
        }
        let before =
            if answered.resumed > 0 { format!(", {} of them before", answered.resumed) } else { String::new() };
        print_text(&format!(
            "{out}: {good} of {queries} queries answered, {failed} not{before}; {rollouts} rollouts of {tokens} tokens, {cut} \
             cut, in {secs:.1} s ({a_second:.1} tokens a second)\n"
        ))
    }
}
