//! A recorded rollout, sampled again from the checkpoint and the seed that it came from: token for token the same on a CPU, or where
//! they part.

use std::path::{Path, PathBuf};

use sapo_policies::Model;
use sapo_rollouts::{Engine, Event, Request, Rollout, Sampling, seed_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{Config, EvalSampling, PhaseConfig};
use crate::device;
use crate::encode::encode;
use crate::error::{Result, RunError};
use crate::model_setup;
use crate::rescoring::{Queries, step_of};
use crate::run_dir::read_lines;
use crate::sample::local_engine;

/// Which rollouts are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The run's folder.
    pub run: PathBuf,
    /// The query.
    pub query_id: String,
    /// One sample alone.
    pub sample: Option<u64>,
    /// The step of the file; without it, the newest of which a checkpoint is there.
    pub step: Option<u64>,
}

/// What was sampled again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replayed {
    /// The file that holds the rollouts.
    pub file: String,
    /// The checkpoint that they were sampled from.
    pub checkpoint: String,
    /// The prompt as it was rendered, one placeholder for each picture.
    pub prompt: String,
    /// Rows and columns of patches of each picture, as the policy saw it.
    pub pictures: Vec<[usize; 2]>,
    /// The rollouts, in the order of the file.
    pub samples: Vec<Compared>,
}

/// A rollout beside the one that was sampled again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// Its number.
    pub sample: u64,
    /// Whether it was decoded greedily.
    pub greedy: bool,
    /// Its recorded text.
    pub text: String,
    /// Tokens that were sampled again.
    pub tokens: usize,
    /// Where they part; `None` where all tokens are the same (of an evaluation, which records none, the text).
    pub parts: Option<Parting>,
    /// The largest difference of log-probs of the same tokens, in nats; `None` where none are recorded.
    pub log_prob_apart: Option<f64>,
}

/// Where a rollout and its replay part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parting {
    /// The token, or in a text alone the character, from 0.
    pub at: usize,
    /// What was recorded there, and what came now; empty at an end.
    pub recorded: String,
    /// See `recorded`.
    pub now: String,
}

impl Replayed {
    /// Whether all are as they were.
    pub fn is_same(&self) -> bool {
        self.samples.iter().all(|sample| sample.parts.is_none())
    }
}

/// Samples recorded rollouts again.
///
/// # Errors
/// When the run has no such rollouts, or not the checkpoint that they came from; or when they cannot be sampled.
pub fn replay(config: &Config, wanted: &Wanted) -> Result<Replayed> {
    let (file, lines) = found(wanted)?;
    let origin = Origin::of(&file, config, wanted)?;
    let checkpoint = origin.checkpoint(&wanted.run, &lines)?;
    let query = Queries::open(&wanted.run, true)?.query(&wanted.query_id)?;
    let mut model = model_setup::open(config, Some(&checkpoint), &device::open(&config.run.device)?)?;
    model.limit_prompts(config.policy.prompt_limit());
    let input = encode(&model.processor, &query)?;
    let prompt = crate::encode::rendered(&model.processor, &input);
    let pictures = input.pictures().iter().map(|picture| [picture.grid[1], picture.grid[2]]).collect();
    let mut samples = Vec::new();
    for greedy in [false, true] {
        let of_kind: Vec<&Value> = lines.iter().filter(|line| (line["greedy"] == true) == greedy).collect();
        if of_kind.is_empty() {
            continue;
        }
        let seeds = of_kind.iter().map(|line| origin.seed(line, greedy)).collect::<Result<Vec<u64>>>()?;
        let request = Request {
            query_id: query.id.clone(),
            prompt: input.clone(),
            seeds,
            sampling: origin.sampling(greedy),
            follow: None,
        };
        let rollouts = sampled(&model, config, request)?;
        samples.extend(of_kind.iter().zip(&rollouts).map(|(line, now)| compared(line, now, &model)));
    }
    let named = |path: &Path| path.display().to_string();
    Ok(Replayed { file: named(&file), checkpoint: named(&checkpoint), prompt, pictures, samples })
}

/// The file, and its lines of the query.
fn found(wanted: &Wanted) -> Result<(PathBuf, Vec<Value>)> {
    let mut files = Vec::new();
    for (folder, samples) in [("rollouts", ""), ("eval", "samples.jsonl")] {
        let entries = std::fs::read_dir(wanted.run.join(folder)).into_iter().flatten().flatten();
        files.extend(entries.map(|entry| if samples.is_empty() { entry.path() } else { entry.path().join(samples) }));
    }
    files.retain(|path| wanted.step.is_none_or(|step| step_of(path) == Some(step)));
    files.sort_by_key(|path| std::cmp::Reverse((step_of(path), path.clone())));
    for file in files.into_iter().filter(|path| path.is_file()) {
        let mut lines = read_lines(&file)?;
        lines.retain(|line| line["query_id"] == wanted.query_id.as_str());
        lines.retain(|line| wanted.sample.is_none_or(|sample| line["sample"] == sample));
        if !lines.is_empty() {
            return Ok((file, lines));
        }
    }
    let sample = wanted.sample.map_or(String::new(), |sample| format!(", sample {sample}"));
    let step = wanted.step.map_or(String::new(), |step| format!(" at step {step}"));
    Err(RunError::User(format!(
        "no rollout of query `{}`{sample} is in {}{step}; `sapo view` shows the ids of all that are on disk",
        wanted.query_id,
        wanted.run.display()
    )))
}

/// How rollouts of a file were sampled.
enum Origin {
    /// In a phase.
    Phase(Sampling),
    /// In an evaluation, at a step.
    Evaluation { step: u64, query_id: String, sampling: EvalSampling },
}

impl Origin {
    fn of(file: &Path, config: &Config, wanted: &Wanted) -> Result<Self> {
        if file.ends_with("samples.jsonl") {
            let path = file.with_file_name("results.json");
            let bytes = std::fs::read(&path).map_err(|source| RunError::io(&path, source))?;
            let results: Value = serde_json::from_slice(&bytes)
                .map_err(|error| RunError::User(format!("{}: not JSON ({error})", path.display())))?;
            let sampling = EvalSampling::deserialize(&results)
                .map_err(|error| RunError::User(format!("{}: {error}", path.display())))?;
            let step = results["step"].as_u64().unwrap_or(0);
            return Ok(Self::Evaluation { step, query_id: wanted.query_id.clone(), sampling });
        }
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let phase = stem.rsplit_once('-').map_or("", |(phase, _)| phase);
        let sampling = config.phases.get(phase).and_then(PhaseConfig::sampling);
        let sampling = sampling.ok_or_else(|| {
            RunError::User(format!("{}: the run has no phase `{phase}` that samples", file.display()))
        })?;
        Ok(Self::Phase(sampling.clone()))
    }

    /// The checkpoint whose weights sampled them.
    fn checkpoint(&self, run: &Path, lines: &[Value]) -> Result<PathBuf> {
        let folder = run.join("checkpoints");
        let state = |path: &Path| -> Option<Value> {
            serde_json::from_slice(&std::fs::read(path.join("trainer/state.json")).ok()?).ok()
        };
        let mut there: Vec<PathBuf> =
            std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        there.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("step-")));
        there.sort();
        let (key, wanted) = match self {
            Self::Phase(_) => ("policy_version", lines[0]["policy_version"].as_u64()),
            Self::Evaluation { step, .. } => ("step", Some(*step)),
        };
        let fits = |path: &&PathBuf| state(path).is_some_and(|state| wanted.is_some() && state[key].as_u64() == wanted);
        there.iter().find(fits).cloned().ok_or_else(|| {
            let names: Vec<String> =
                there.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
            RunError::User(format!(
                "no checkpoint of {} has the weights that sampled this ({key} {}); there are {}. `run.keep = {{ every = N }}` \
                 and `run.checkpoint_every` keep more",
                run.display(),
                wanted.map_or("unknown".to_owned(), |wanted| wanted.to_string()),
                names.join(", ")
            ))
        })
    }

    fn sampling(&self, greedy: bool) -> Sampling {
        match self {
            Self::Phase(sampling) => sampling.clone(),
            Self::Evaluation { sampling, .. } if greedy => Sampling::greedy(sampling.max_new_tokens),
            Self::Evaluation { sampling, .. } => sampling.drawn(),
        }
    }

    fn seed(&self, line: &Value, greedy: bool) -> Result<u64> {
        let no = |what: &str| RunError::User(format!("the record of `{}` has no `{what}`", line["query_id"]));
        match self {
            Self::Phase(_) if line["turns"].as_array().is_some_and(|turns| turns.len() > 1) => {
                Err(RunError::User("rollouts of several turns, with tools, are not replayed".to_owned()))
            }
            Self::Phase(_) => line["seed"].as_u64().ok_or_else(|| no("seed")),
            Self::Evaluation { query_id, sampling, .. } => {
                let sample = line["sample"].as_u64().ok_or_else(|| no("sample"))?;
                Ok(seed_of(sampling.seed, if greedy { "greedy" } else { "eval" }, query_id, sample as usize))
            }
        }
    }
}

/// The rollouts of a request, in the order of its seeds.
fn sampled(model: &Model, config: &Config, request: Request) -> Result<Vec<Rollout>> {
    let engine = local_engine(model, config.run.decode_rows, config.run.cache_mib);
    let (mut rollouts, mut failed) = (Vec::new(), None);
    engine
        .sample(&model.policy, &[request], &mut |event| {
            match event {
                Event::Ended { rollout, .. } => rollouts.push(rollout),
                Event::Failed { reason, .. } => failed = Some(reason),
                Event::Token { .. } => {}
            }
            std::ops::ControlFlow::Continue(())
        })
        .map_err(|error| RunError::User(error.to_string()))?;
    if let Some(reason) = failed {
        return Err(RunError::User(reason));
    }
    rollouts.sort_by_key(|rollout| rollout.sample);
    Ok(rollouts)
}

fn compared(line: &Value, now: &Rollout, model: &Model) -> Compared {
    let turns = line["turns"].as_array().into_iter().flatten();
    let said: String = turns.filter_map(|turn| turn["text"].as_str()).collect();
    let text = line["text"].as_str().map_or(said, str::to_owned);
    let ids: Vec<u32> = now.ids().collect();
    let recorded: Option<Vec<u32>> = serde_json::from_value(line["tokens"].clone()).ok();
    let log_probs: Option<Vec<f64>> = serde_json::from_value(line["log_probs"].clone()).ok();
    let parts = match &recorded {
        Some(recorded) => {
            let name = |ids: &[u32], at: usize| {
                ids.get(at).and_then(|id| model.processor.tokenizer().token(*id)).unwrap_or_default()
            };
            first_difference(recorded, &ids).map(|at| Parting { at, recorded: name(recorded, at), now: name(&ids, at) })
        }
        None => {
            let (then, now): (Vec<char>, Vec<char>) =
                (text.chars().collect(), model.processor.decode(&ids, true).chars().collect());
            let rest = |text: &[char], at: usize| text.iter().skip(at).take(12).collect::<String>();
            first_difference(&then, &now).map(|at| Parting { at, recorded: rest(&then, at), now: rest(&now, at) })
        }
    };
    let same = parts.as_ref().map_or(ids.len(), |parts| parts.at);
    let log_prob_apart = log_probs.map(|recorded| {
        let pairs = recorded.iter().zip(now.log_probs()).take(same);
        pairs.map(|(then, now)| (then - f64::from(now)).abs()).fold(0.0, f64::max)
    });
    Compared {
        sample: line["sample"].as_u64().unwrap_or(0),
        greedy: line["greedy"] == true,
        text,
        tokens: ids.len(),
        parts,
        log_prob_apart,
    }
}

/// The first place at which two lists differ, the end of the shorter one among them.
fn first_difference<T: PartialEq>(one: &[T], other: &[T]) -> Option<usize> {
    let differs = one.iter().zip(other).position(|(a, b)| a != b);
    differs.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found_at_an_end_as_well() {
        assert_eq!(first_difference(&[1, 2, 3], &[1, 2, 3]), None);
        assert_eq!(first_difference(&[1, 2, 3], &[1, 5, 3]), Some(1));
        assert_eq!(first_difference(&[1, 2], &[1, 2, 3]), Some(2));
        assert_eq!(step_of(Path::new("eval/held-out-000012/samples.jsonl")), Some(12));
        assert_eq!(step_of(Path::new("rollouts/rl-000007.jsonl")), Some(7));
    }
}
