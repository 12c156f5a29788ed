//! A run at work: what is open while it goes on, and the one step of each kind of part.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use sapo_datasets::Query;
use sapo_policies::Model;
use sapo_rewards::Endpoints;
use serde_json::{Value, json};

use crate::asking::Place;
use crate::checkpoint::{self, Checkpoint, EVENTS, TrainerState};
use crate::config::{Config, CurateConfig, PhaseConfig, RlConfig, SftConfig};
use crate::error::{Result, RunError};
use crate::eval::evaluate;
use crate::judging::{self, Judging};
use crate::ledger::{self, Ledger};
use crate::metrics::{Metrics, metrics_sha256, names};
use crate::optimizer::AdamW;
use crate::phase::{curate, rl, sft};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::reopen;
use crate::run_dir::RunDir;
use crate::scoring::{Rubrics, Scorer};
use crate::summary::{JudgeFacts, RunEnd, Summary};
use crate::tensorboard;
use crate::train::{Ended, Part, Start, parts};
use crate::{checking, device, failing, memory, trainable};

mod judge;

/// A run that is going on.
pub struct Run<'a> {
    /// Where it stands.
    pub state: TrainerState,
    config: &'a Config,
    dir: RunDir<'a>,
    model: Model,
    optimizer: AdamW,
    scorer: Scorer,
    /// What the part at hand has open; empty before its first step.
    open: Option<Open>,
    /// The phase whose judge is being served, with the judge: it serves the evaluation after the phase as well.
    judging: Option<(String, Judging)>,
    lines: Vec<Value>,
    logged: BTreeSet<String>,
    ledger: Ledger,
    started: Instant,
    wall_secs_before: f64,
    saved_at: u64,
    progress: &'a dyn Progress,
}

/// What a part has open.
enum Open {
    Plain,
    Rl(rl::Supply),
}

impl<'a> Run<'a> {
    /// Opens the run that the configuration names; a run that has finished gives its summary.
    ///
    /// # Errors
    /// When the model, the data, a judge or the run directory cannot be used.
    pub fn open(
        config: &'a Config,
        start: Start,
        progress: &'a dyn Progress,
    ) -> Result<std::result::Result<Self, Summary>> {
        let path = config.run_path();
        let found = start == Start::Resume && path.exists();
        if found {
            reopen::is_run(&path)?;
            reopen::same_config(config, &path)?;
            if let Some(summary) = reopen::finished(&path) {
                progress.say(&format!("{} is finished; its summary follows", path.display()));
                return Ok(Err(summary));
            }
        }
        judging::reach_all(config)?;
        checking::before_run(config, progress)?;
        let checkpoint = if found { reopen::newest(&path, progress)? } else { None };
        let device = device::open(&config.run.device)?;
        let mut model = trainable::open(config, checkpoint.as_ref().map(|found| found.path.as_path()), &device)?;
        model.processor.limit_prompts(config.policy.prompt_limit());
        let dir = match found {
            true => RunDir::open(&path, config.run.disk_wait_secs, progress),
            false => RunDir::create(&path, config.run.disk_wait_secs, progress)?,
        };
        let mut run = Run {
            state: TrainerState::default(),
            config,
            dir,
            model,
            optimizer: AdamW::default(),
            scorer: Scorer::new(&config.rule_rewards(), &Endpoints::default())?,
            open: None,
            judging: None,
            lines: Vec::new(),
            logged: BTreeSet::new(),
            ledger: Ledger::default(),
            started: Instant::now(),
            wall_secs_before: 0.0,
            saved_at: 0,
            progress,
        };
        match checkpoint {
            Some(checkpoint) => run.restore(checkpoint)?,
            None => run.begin()?,
        }
        for line in run.scorer.prepared().to_vec() {
            run.say(&line)?;
        }
        run.set_status("running")?;
        Ok(Ok(run))
    }

    fn begin(&mut self) -> Result<()> {
        // What a run that never saved left behind, when it is begun again by a resume.
        Checkpoint::none().roll_back(self.dir.path(), &[], &[])?;
        self.dir.write("config.toml", self.config.to_toml()?.as_bytes())?;
        self.dir.append_bytes(EVENTS, &tensorboard::header(now_secs()))?;
        trainable::keep_base(&self.dir, &self.model)?;
        let plan = Plan::of(self.config, &self.model)?;
        for line in plan.lines() {
            self.say(&line)?;
        }
        self.dir.write_json("plan.json", &plan)
    }

    fn restore(&mut self, checkpoint: Checkpoint) -> Result<()> {
        let curated: Vec<String> = parts(self.config)
            .iter()
            .take(checkpoint.state.part)
            .filter_map(|part| match part {
                Part::Phase(name, PhaseConfig::Curate(_)) => Some(format!("{name}.jsonl")),
                _ => None,
            })
            .collect();
        checkpoint.roll_back(self.dir.path(), &checkpoint.state.evaluated, &curated)?;
        self.optimizer = checkpoint.optimizer(&self.model.policy)?;
        self.lines = reopen::read_lines(&self.dir.path().join("metrics.jsonl"))?;
        let queries = reopen::read_lines(&self.dir.path().join("queries.jsonl"))?;
        self.logged = queries.iter().filter_map(|line| line["id"].as_str().map(str::to_owned)).collect();
        self.ledger = Ledger::open(self.dir.path())?;
        self.wall_secs_before = checkpoint.state.wall_secs;
        self.saved_at = checkpoint.state.step;
        let place = checkpoint.path.display().to_string();
        self.state = checkpoint.state;
        self.say(&format!("going on from {place} (step {})", self.state.step))
    }

    /// The run's folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// One optimizer step of supervised learning; true after the phase's last.
    ///
    /// # Errors
    /// When a demonstration cannot be encoded or the step cannot be recorded.
    pub fn sft_step(&mut self, name: &str, phase: &SftConfig) -> Result<bool> {
        let step = self.state.step_in_part;
        if self.open.is_none() {
            self.progress.begin(name, phase.steps, step);
            self.open = Some(Open::Plain);
        }
        if step < phase.steps {
            let started = Instant::now();
            let run = &self.config.run;
            let (model, optimizer, cursor) = (&mut self.model, &mut self.optimizer, &mut self.state.cursor);
            let metrics = sft::step(model, optimizer, phase, cursor, run.seed, name, step, run.token_budget)?;
            let note = format!("loss {:.3}", metrics.get(names::SFT_LOSS).unwrap_or(f64::NAN));
            self.record(name, &metrics, started, &note)?;
        }
        Ok(self.state.step_in_part >= phase.steps)
    }

    /// Curates a phase's queries, all in one go.
    ///
    /// # Errors
    /// When a query cannot be encoded or the record cannot be written.
    pub fn curate(&mut self, name: &str, phase: &CurateConfig) -> Result<bool> {
        let all = phase.tasks.len() * phase.queries_per_task * phase.samples;
        self.progress.begin(name, all as u64, 0);
        let rubrics = Rubrics::one(self.scorer.rubric(&self.config.rubrics[&phase.rubric])?);
        let place = Place {
            seed: self.config.run.seed,
            name,
            samples: phase.samples,
            decode_rows: self.config.run.decode_rows,
        };
        let progress = self.progress;
        let (dir, ledger, step) = (&self.dir, &mut self.ledger, self.state.step);
        let accounts =
            &mut |accounts: &[ledger::Account]| dir.append(ledger::FILE, &ledger.lines(step, None, accounts));
        let records = curate::run(&self.model, phase, &self.scorer, &rubrics, place, accounts, &mut |rollouts| {
            progress.done(rollouts as u64, "rollouts");
        })?;
        let lines: Vec<Value> = records.iter().filter_map(|record| serde_json::to_value(record).ok()).collect();
        self.dir.append(&record_of(name), &lines)?;
        self.state.curation.add(&records);
        let kept = records.iter().filter(|record| record.is_kept()).count();
        self.say(&format!("{name}: {kept} of {} queries kept", records.len()))?;
        Ok(true)
    }

    /// One step of reinforcement learning; true after the phase's last.
    ///
    /// # Errors
    /// When the phase's judge is not good enough, too many rewards fail, or the step cannot be recorded.
    pub fn rl_step(&mut self, name: &str, phase: &RlConfig) -> Result<bool> {
        let step = self.state.step_in_part;
        self.open_judging(name, phase)?;
        if self.open.is_none() {
            let supply = self.open_rl(name, phase)?;
            self.open = Some(Open::Rl(supply));
            self.progress.begin(name, phase.steps, step);
        }
        if let (true, Some(Open::Rl(supply)), Some((_, judging))) = (step < phase.steps, &mut self.open, &self.judging)
        {
            let started = Instant::now();
            let run = &self.config.run;
            let place =
                Place { seed: run.seed, name, samples: phase.rollouts_per_prompt, decode_rows: run.decode_rows };
            let all = phase.tasks.len() * phase.prompts_per_task * phase.rollouts_per_prompt;
            let progress = self.progress;
            let ended = &mut |ended: usize| progress.rollouts(ended, all);
            let (model, optimizer) = (&mut self.model, &mut self.optimizer);
            let (window, budget) = (&self.state.failures, run.token_budget);
            let outcome = rl::step(model, optimizer, phase, judging, supply, window, place, step, budget, ended);
            let taken = supply.taken();
            self.say_notes()?;
            // A step that a reward has stopped has changed nothing yet: the run goes on before it.
            if matches!(outcome, Err(RunError::Stopped(_))) && self.saved_at < self.state.step {
                self.checkpoint()?;
            }
            let outcome = outcome?;
            let file = format!("rollouts/{name}-{:06}.jsonl", self.state.step);
            if let Some(reason) = &outcome.refused {
                // The run goes on from before this step; what failed is there to be looked at until then.
                if self.saved_at < self.state.step {
                    self.checkpoint()?;
                }
                self.keep(&file, &outcome)?;
                return Err(RunError::Stopped(format!(
                    "{name}: {reason}. See {}; mend it, then go on with --resume={}",
                    self.dir.path().join(&file).display(),
                    self.dir.path().display()
                )));
            }
            self.state.supply = taken;
            self.state.failures.push(outcome.failures.failed, outcome.failures.all, failing::window_length(phase));
            let gap = outcome.metrics.get(names::LOGPROB_GAP).unwrap_or(0.0);
            self.state.logprob_gap_max = self.state.logprob_gap_max.max(gap);
            self.keep(&file, &outcome)?;
            self.record(name, &outcome.metrics, started, &rl_note(&outcome.metrics))?;
        }
        Ok(self.state.step_in_part >= phase.steps)
    }

    /// Writes the rollouts of a step, with its queries and scores.
    fn keep(&mut self, file: &str, outcome: &rl::Outcome) -> Result<()> {
        self.dir.append(file, &outcome.rollouts)?;
        self.log_queries(&outcome.queries)?;
        self.dir.append(ledger::FILE, &self.ledger.lines(self.state.step, Some(file), &outcome.accounts))
    }

    fn open_rl(&mut self, name: &str, phase: &RlConfig) -> Result<rl::Supply> {
        let seed = self.config.run.seed;
        let kept = match phase.pool.as_deref().map(|pool| (pool, &self.config.phases[pool])) {
            Some((pool, PhaseConfig::Curate(curation))) => {
                let path = self.dir.path().join(record_of(pool));
                let records = reopen::read_lines(&path)?
                    .into_iter()
                    .map(serde_json::from_value)
                    .collect::<std::result::Result<Vec<_>, _>>();
                let records = records.map_err(|error| RunError::User(format!("{}: {error}", path.display())))?;
                curate::kept(curation, &records, seed)
            }
            _ => Vec::new(),
        };
        if self.state.step_in_part == 0 {
            // Reinforcement learning starts with moments of its own: those of another loss mislead it.
            self.optimizer = AdamW::default();
            self.state.supply.clear();
            self.state.failures.clear();
            self.measure_judge(name)?;
        }
        // Every part draws from a stretch of its own, so that no phase meets the queries of another.
        let first = curate::POOL_START * (1 + self.state.part as u64);
        Ok(rl::Supply::new(kept, seed, first, self.state.supply.clone()))
    }

    /// Evaluates the policy on held-out queries.
    ///
    /// # Errors
    /// When a query cannot be encoded or the record cannot be written.
    pub fn evaluate(&mut self, after: &str) -> Result<bool> {
        let config = &self.config.eval;
        self.progress.begin(&format!("evaluation ({after})"), config.rollouts() as u64, 0);
        let rubrics = Rubrics::one(self.scorer.rubric(&self.config.rubrics[&config.rubric])?);
        let progress = self.progress;
        let mut evaluation = evaluate(
            &self.model,
            config,
            &self.scorer,
            &rubrics,
            after,
            self.config.run.decode_rows,
            &mut |rollouts| progress.done(rollouts as u64, "rollouts"),
        )?;
        let folder = format!("heldout-{:06}", self.state.step);
        let samples = format!("eval/{folder}/samples.jsonl");
        self.dir.append(&samples, &std::mem::take(&mut evaluation.samples))?;
        let accounts = std::mem::take(&mut evaluation.accounts);
        self.dir.append(ledger::FILE, &self.ledger.lines(self.state.step, Some(&samples), &accounts))?;
        self.dir.write_json(&format!("eval/{folder}/results.json"), &evaluation.results(self.state.step))?;
        if let Some(all) = evaluation.rows.last() {
            self.say(&format!(
                "held-out pass@1 after {after}: {:.3} [{:.3}, {:.3}], greedy {:.3}, with working {:.2}",
                all.pass_at_1, all.ci95[0], all.ci95[1], all.greedy, all.with_working
            ))?;
        }
        self.log_queries(&std::mem::take(&mut evaluation.queries))?;
        self.state.evaluations.push(evaluation);
        self.state.evaluated.push(folder);
        self.remeasure_judge(after)?;
        Ok(true)
    }

    /// Writes each query, and each picture, once.
    fn log_queries(&mut self, queries: &[Query]) -> Result<()> {
        let mut lines = Vec::new();
        for query in queries {
            if !self.logged.insert(query.id.clone()) {
                continue;
            }
            for picture in &query.images {
                let name = format!("images/{}.{}", picture.sha256(), picture.extension());
                if !self.dir.path().join(&name).exists() {
                    self.dir.write(&name, picture.bytes())?;
                }
            }
            let hashes: Vec<String> = query.images.iter().map(|picture| picture.sha256().to_owned()).collect();
            lines.push(sapo_datasets::source::query_line(query, &hashes));
        }
        self.dir.append("queries.jsonl", &lines)
    }

    fn record(&mut self, phase: &str, metrics: &Metrics, started: Instant, note: &str) -> Result<()> {
        let line = metrics.line(self.state.step, phase, started.elapsed().as_secs_f64());
        self.dir.append("metrics.jsonl", std::slice::from_ref(&line))?;
        self.dir.append_bytes(EVENTS, &tensorboard::events(&line, now_secs()))?;
        self.lines.push(line);
        self.state.step += 1;
        self.state.step_in_part += 1;
        self.progress.done(self.state.step_in_part, note);
        Ok(())
    }

    /// Says something, and keeps it in the run's log.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn say(&self, text: &str) -> Result<()> {
        self.progress.say(text);
        self.dir.append_bytes("log.txt", format!("{} {text}\n", jiff::Timestamp::now()).as_bytes())
    }

    /// Goes on to the next part.
    pub fn next_part(&mut self) {
        self.state.part += 1;
        self.state.step_in_part = 0;
        self.open = None;
    }

    /// Whether so many steps have passed since the last checkpoint that another is due.
    pub fn checkpoint_is_due(&self) -> bool {
        self.state.step >= self.saved_at + self.config.run.checkpoint_every
    }

    /// Saves all that the run needs to go on from here.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.state.wall_secs = self.wall_secs();
        self.state.peak_rss_bytes = self.peak_rss_bytes();
        self.state.optimizer_steps = self.optimizer.steps;
        checkpoint::write(&self.dir, &self.model, &self.optimizer, &self.state, self.config.run.keep_checkpoints)?;
        self.saved_at = self.state.step;
        Ok(())
    }

    fn wall_secs(&self) -> f64 {
        self.wall_secs_before + self.started.elapsed().as_secs_f64()
    }

    fn peak_rss_bytes(&self) -> u64 {
        let served = self.judging.as_ref().map_or(0, |(_, judging)| judging.peak_rss_bytes());
        self.state.peak_rss_bytes.max(memory::peak_rss_bytes(std::process::id()) + served)
    }

    /// Says in `run.json` and in the log how it ended.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn close(&mut self, outcome: &Result<Ended>) -> Result<()> {
        self.close_judging();
        match outcome {
            Ok(Ended::Finished(_)) => self.set_status("finished"),
            Ok(Ended::Interrupted { .. }) => self.set_status("interrupted"),
            // The reason matters more than a status that cannot be written either, and is not kept waiting for it.
            Err(error) => {
                self.dir = RunDir::open(self.dir.path(), 0, self.progress);
                let line = format!("{} error: {error}\n", jiff::Timestamp::now());
                drop(self.set_status("failed").and_then(|()| self.dir.append_bytes("log.txt", line.as_bytes())));
                Ok(())
            }
        }
    }

    fn set_status(&self, status: &str) -> Result<()> {
        let before: Value = std::fs::read(self.dir.path().join("run.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let now = jiff::Timestamp::now().to_string();
        let started = before["started"].as_str().unwrap_or(&now).to_owned();
        let mut state = json!({
            "v": 1,
            "name": self.config.run.name,
            "status": status,
            "started": started,
            "at": now,
            "version": env!("CARGO_PKG_VERSION"),
            "device": self.config.run.device,
            "seed": self.config.run.seed,
            "parameters": self.model.policy.parameter_count(),
            "threads": std::thread::available_parallelism().map_or(1, usize::from),
            "command_line": std::env::args().collect::<Vec<_>>(),
            "config_sha256": crate::metrics::sha256(self.config.to_toml()?.as_bytes()),
        });
        if status == "finished" {
            state["finished"] = Value::from(now);
        }
        self.dir.write_json("run.json", &state)
    }

    /// The run in one object, also kept as `summary.json`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn summary(&mut self) -> Result<Summary> {
        self.close_judging();
        if let Some(format) = self.config.policy.export {
            let folder = self.dir.file("export")?;
            // What is exported needs no adapter beside it.
            self.model.policy.merge_adapter();
            let saved = self.dir.patiently(|| Ok(self.model.save(&folder, format)?));
            self.model.policy.unmerge_adapter();
            saved?;
        }
        let end = RunEnd {
            run_dir: self.dir.path().display().to_string(),
            wall_secs: self.wall_secs(),
            peak_rss_bytes: self.peak_rss_bytes(),
            weights_sha256: self.model.policy.weights_sha256(),
            metrics_sha256: metrics_sha256(&self.lines),
        };
        let judge = self.state.judge.as_ref().map(|record| JudgeFacts {
            calls: record.calls,
            failed: record.failed,
            tokens: record.prompt_tokens + record.reply_tokens,
            cache_hits: record.cache_hits,
            canaries: record.canaries,
            canary_failures: record.canary_failures,
            agreement_with_rule: record.agreement,
            precision: record.precision_after,
        });
        let curation = self.state.curation.clone();
        let summary = Summary::of(end, &self.state.evaluations, curation, judge, self.state.logprob_gap_max);
        if let Some(record) = &self.state.judge {
            self.dir.write_json("judge.json", record)?;
        }
        self.dir.write_json("summary.json", &summary)?;
        Ok(summary)
    }
}

/// Seconds since 1970, for records that carry a time; no number of a run depends on it.
fn now_secs() -> f64 {
    jiff::Timestamp::now().as_duration().as_secs_f64()
}

fn rl_note(metrics: &Metrics) -> String {
    let get = |metric| metrics.get(metric).unwrap_or(f64::NAN);
    format!(
        "reward {:.3}, working {:.2}, tokens {:.1}, gap {:.0e}",
        get(names::REWARD_MEAN),
        get(names::WITH_WORKING),
        get(names::LENGTH_MEAN),
        get(names::LOGPROB_GAP)
    )
}

fn record_of(curation: &str) -> String {
    format!("curation/{curation}.jsonl")
}
