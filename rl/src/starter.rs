//! A first configuration for somebody's own data: what is in a source, and a commented file that trains on it.

use std::fmt::Write as _;

use sapo_datasets::{Dataset, Example};
use serde_json::Value;

use crate::error::{Result, RunError};

/// Rows that are looked at.
const LOOKED_AT: u64 = 64;

/// What is in a source, from its first rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Its address.
    pub source: String,
    /// Rows; `None` for a generated task.
    pub rows: Option<u64>,
    /// Rows that were looked at.
    pub seen: usize,
    /// Those with a response to imitate.
    pub responses: usize,
    /// Those with pictures.
    pub pictures: usize,
    /// Ground truths, as text; shorter than `seen` where some have none.
    pub truths: Vec<String>,
    /// Characters of the longest response.
    pub longest_response: usize,
}

impl Facts {
    /// Looks at the first rows of a dataset.
    ///
    /// # Errors
    /// When a row cannot be used, with file, row and remedy.
    pub fn of(source: &str, dataset: &Dataset) -> Result<Self> {
        let most = dataset.len().unwrap_or(LOOKED_AT).min(LOOKED_AT);
        let rows: Vec<Example> = (0..most).map(|index| dataset.get(index)).collect::<std::result::Result<_, _>>()?;
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Ok(Self {
            source: source.to_owned(),
            rows: dataset.len(),
            seen: rows.len(),
            responses: rows.iter().filter(|row| row.response.is_some()).count(),
            pictures: rows.iter().filter(|row| !row.query.images.is_empty()).count(),
            truths: rows.iter().filter_map(|row| row.query.ground_truth.as_ref().map(text)).collect(),
            longest_response: rows
                .iter()
                .filter_map(|row| Some(row.response.as_ref()?.chars().count()))
                .max()
                .unwrap_or(0),
        })
    }

    /// The kind of reward that fits the ground truths, and the reason.
    fn reward(&self) -> Option<(&'static str, &'static str)> {
        if self.truths.is_empty() {
            return None;
        }
        let all = |fits: &dyn Fn(&str) -> bool| self.truths.iter().all(|truth| fits(truth.trim()));
        let letter = |text: &str| {
            let bare = text.trim_matches(['(', ')', '.']);
            bare.len() == 1 && bare.bytes().all(|byte| (b'A'..=b'J').contains(&byte.to_ascii_uppercase()))
        };
        let mathematical = |text: &str| text.contains(['\\', '$', '^', '=']) || text.parse::<f64>().is_ok();
        Some(if all(&letter) {
            ("multiple_choice", "every answer is a letter")
        } else if self.truths.iter().filter(|truth| mathematical(truth)).count() * 2 > self.truths.len() {
            ("math", "most answers are numbers or formulas")
        } else {
            ("text", "the answers are words")
        })
    }
}

/// Whom to train, and by which reward of one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// A preset or a checkpoint folder.
    pub model: String,
    /// A Python function, as `FILE.py:FUNCTION`.
    pub reward: Option<String>,
    /// The run's name.
    pub name: String,
}

/// A configuration that trains on what was seen.
///
/// # Errors
/// When there is nothing to learn from: no ground truth and no reward.
pub fn config(facts: &Facts, wanted: &Wanted) -> Result<String> {
    let kind = match (&wanted.reward, facts.reward()) {
        (Some(_), _) => "process",
        (None, Some((kind, _))) => kind,
        (None, None) => {
            return Err(RunError::User(format!(
                "{}: no row has a ground truth, so that no rule can say what is right; name the column (columns = {{ \
                 ground_truth = \"...\" }}), or give a reward of your own: --reward FILE.py:FUNCTION",
                facts.source
            )));
        }
    };
    let tuned = facts.responses > 0;
    let mut text = String::new();
    write_run(&mut text, facts, wanted, tuned);
    write_data(&mut text, facts, kind);
    write_reward(&mut text, facts, wanted, kind);
    write_phases(&mut text, facts, wanted, tuned);
    Ok(text)
}

fn write_run(text: &mut String, facts: &Facts, wanted: &Wanted, tuned: bool) {
    let rows = facts.rows.map_or("without end".to_owned(), |rows| format!("{rows} rows"));
    let phases = if tuned { "[\"cold_start\", \"rl\"]" } else { "[\"rl\"]" };
    let (name, model) = (quoted(&wanted.name), quoted(&wanted.model));
    _ = write!(
        text,
        "# Made by `sapo init` from {} ({rows}; of the first {}: {} with pictures, {} with a response, {} with a ground truth).\n\
         # `sapo config check FILE` checks it, `sapo plan FILE` says what it takes, `sapo train FILE` runs it.\n\
         [run]\nname = {name}\nseed = 1\nphases = {phases}\n\n[policy]\nmodel = {model}\n\n",
        facts.source,
        facts.seen,
        facts.pictures,
        facts.responses,
        facts.truths.len(),
    );
}

fn write_data(text: &mut String, facts: &Facts, kind: &str) {
    let ask = match kind {
        "math" => Some("{{ content }} Put the final answer in \\\\boxed{}."),
        "multiple_choice" => Some("{{ content }} Answer with the letter of the right choice in \\\\boxed{}."),
        _ => None,
    };
    let prompt = match ask.filter(|_| facts.responses == 0) {
        Some(ask) => format!("prompt = \"{ask}\"\n"),
        None => "# prompt = \"{{ content }} Think first.\"   # a template over the row's columns\n".to_owned(),
    };
    let (train, heldout) = match facts.rows {
        // One row in ten, at least one and at most 500, is held out.
        Some(rows) => {
            let cut = rows - (rows / 10).clamp(1, 500).min(rows.saturating_sub(1));
            (format!("{}[0:{cut}]", facts.source), format!("{}[{cut}:]", facts.source))
        }
        None => (facts.source.clone(), facts.source.clone()),
    };
    _ = write!(
        text,
        "# What is trained on, and what is held out: the last rows. Shuffle a file that is sorted before you cut it.\n\
         [data.train]\nsource = {}\n{prompt}\n[data.heldout]\nsource = {}\n{prompt}\n",
        quoted(&train),
        quoted(&heldout),
    );
}

fn write_reward(text: &mut String, facts: &Facts, wanted: &Wanted, kind: &str) {
    let own = wanted.reward.as_ref().map(|function| {
        format!(
            "# `sandbox = \"auto\"` puts a function that you do not trust behind walls.\n[rewards.own]\nkind = \"process\"\n\
             python = {}\nsandbox = \"none\"\n\n",
            quoted(function)
        )
    });
    let name = if own.is_some() { "own" } else { kind };
    let why = facts.reward().filter(|_| own.is_none()).map_or(String::new(), |(_, why)| format!("# {why}.\n"));
    _ = write!(
        text,
        "{}{why}# `sapo reward check FILE` tries it on gold answers and traps; `sapo reward list` has other kinds.\n\
         [rubrics.right]\ncorrect = \"{name}\"\nlanguage_penalty = 0\n\n",
        own.unwrap_or_default()
    );
}

fn write_phases(text: &mut String, facts: &Facts, wanted: &Wanted, tuned: bool) {
    // About three characters a token, and room to think.
    let tokens = if facts.longest_response > 0 { (facts.longest_response / 2).clamp(32, 4096) } else { 512 };
    let small = wanted.model == "tiny";
    let (batch, group, lr, sft_lr) = if small { (24, 8, "1.5e-4", "1e-3") } else { (16, 8, "1e-6", "1e-5") };
    let heldout = if facts.rows.is_none() { "queries_per_source = 200\n" } else { "" };
    _ = write!(
        text,
        "# Before training and after every phase; `every = 50` adds evaluations within a phase.\n[eval.heldout]\n\
         data = [\"heldout\"]\n{heldout}samples = 4\nmax_new_tokens = {tokens}\nrubric = \"right\"\n\n"
    );
    if tuned {
        _ = write!(
            text,
            "# Supervised learning from the responses in the data.\n[phases.cold_start]\nkind = \"sft\"\n\
             data = [{{ use = \"train\" }}]\nsteps = 200\nbatch_size = 16\n\
             optimizer = {{ lr = {sft_lr}, warmup_steps = 10, final_lr_ratio = 0.1 }}\n\n"
        );
    }
    _ = write!(
        text,
        "# Reinforcement learning: {batch} queries a step, {group} answers each, two updates.\n[phases.rl]\nkind = \"rl\"\n\
         data = [{{ use = \"train\" }}]\nsteps = 100\nprompts_per_step = {batch}\nrollouts_per_prompt = {group}\n\
         sampling = {{ max_new_tokens = {tokens} }}\nrubric = \"right\"\nalgorithm = {{ kind = \"sapo\" }}\n\
         optimizer = {{ lr = {lr}, warmup_steps = 5, final_lr_ratio = 0.3 }}\n"
    );
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
