//! A run: its phases in order, evaluated and recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use burn::tensor::Device;
use sapo_datasets::Query;
use sapo_policies::Model;
use sapo_policies::weights::WeightFormat;
use serde_json::{Value, json};

use crate::asking::Place;
use crate::config::{Config, CurateConfig, PhaseConfig, RlConfig, SftConfig};
use crate::error::Result;
use crate::eval::{Evaluation, evaluate};
use crate::metrics::{Metrics, metrics_sha256};
use crate::optimizer::AdamW;
use crate::phase::{curate, rl, sft};
use crate::report;
use crate::run_dir::RunDir;
use crate::summary::{CurationCounts, RunEnd, Summary};

/// What a run tells while it goes on. Nothing here may slow it down or end it.
pub trait Progress {
    /// A part of the run with so many units begins.
    fn begin(&mut self, name: &str, units: u64);
    /// So many units of it are done; `note` holds a few live numbers.
    fn done(&mut self, units: u64, note: &str);
    /// Something worth a line.
    fn say(&mut self, text: &str);
}

struct Run<'a> {
    config: &'a Config,
    dir: RunDir,
    model: Model,
    optimizer: AdamW,
    cursor: sft::Cursor,
    pools: BTreeMap<String, Vec<Query>>,
    curation: CurationCounts,
    evaluations: Vec<Evaluation>,
    lines: Vec<Value>,
    logged: BTreeSet<String>,
    gap: f64,
    step: u64,
    progress: &'a mut dyn Progress,
}

/// Trains a policy as the configuration says.
///
/// # Errors
/// When the configuration, the data, the model or the disk do not allow it; what was written stays.
pub fn train(config: &Config, device: &Device, progress: &mut dyn Progress) -> Result<Summary> {
    let started = Instant::now();
    let model = Model::open(&config.policy.model, config.run.seed, device)?;
    let dir = RunDir::create(&config.run.dir, &config.run.name)?;
    dir.write("config.toml", config.to_toml()?.as_bytes())?;
    let mut run = Run {
        config,
        dir,
        model,
        optimizer: AdamW::default(),
        cursor: sft::Cursor::default(),
        pools: BTreeMap::new(),
        curation: CurationCounts::default(),
        evaluations: Vec::new(),
        lines: Vec::new(),
        logged: BTreeSet::new(),
        gap: 0.0,
        step: 0,
        progress,
    };
    run.state("running")?;
    run.evaluate("init")?;
    for name in &config.run.phases {
        let evaluated = match &config.phases[name] {
            PhaseConfig::Sft(phase) => run.sft(name, phase)?,
            PhaseConfig::Curate(phase) => run.curate(name, phase)?,
            PhaseConfig::Rl(phase) => run.rl(name, phase)?,
        };
        if let Some(after) = evaluated {
            run.evaluate(after)?;
        }
    }
    run.checkpoint()?;
    let summary = run.summary(started.elapsed().as_secs_f64());
    run.dir.write_json("summary.json", &summary)?;
    run.state("finished")?;
    report::write(run.dir.path())?;
    Ok(summary)
}

impl<'a> Run<'a> {
    fn sft(&mut self, name: &str, phase: &'a SftConfig) -> Result<Option<&'a str>> {
        self.progress.begin(name, phase.steps);
        for step in 0..phase.steps {
            let started = Instant::now();
            let (seed, budget) = (self.config.run.seed, self.config.run.token_budget);
            let metrics =
                sft::step(&mut self.model, &mut self.optimizer, phase, &mut self.cursor, seed, name, step, budget)?;
            let note = format!("loss {:.3}", metrics.get(crate::metrics::names::SFT_LOSS).unwrap_or(f64::NAN));
            self.record(name, &metrics, started)?;
            self.progress.done(step + 1, &note);
        }
        Ok(phase.eval_after.as_deref())
    }

    fn curate(&mut self, name: &str, phase: &'a CurateConfig) -> Result<Option<&'a str>> {
        self.progress.begin(name, (phase.tasks.len() * phase.queries_per_task) as u64);
        let rubric = &self.config.rubrics[&phase.rubric];
        let (seed, rows) = (self.config.run.seed, self.config.run.decode_rows);
        let progress = &mut *self.progress;
        let (kept, records) =
            curate::run(&self.model, phase, rubric, seed, name, rows, &mut |done, _| progress.done(done as u64, ""))?;
        let lines: Vec<Value> = records.iter().filter_map(|record| serde_json::to_value(record).ok()).collect();
        self.dir.append(&format!("curation/{name}.jsonl"), &lines)?;
        self.curation.add(&records);
        self.progress.say(&format!("{name}: {} of {} queries kept", kept.len(), records.len()));
        self.pools.insert(name.to_owned(), kept);
        Ok(None)
    }

    fn rl(&mut self, name: &str, phase: &'a RlConfig) -> Result<Option<&'a str>> {
        let seed = self.config.run.seed;
        let kept = phase.pool.as_ref().and_then(|pool| self.pools.get(pool)).map_or(&[][..], Vec::as_slice);
        let mut supply = rl::Supply::new(kept, seed);
        // Reinforcement learning starts with moments of its own: those of the cold start belong to another loss.
        self.optimizer = AdamW::default();
        self.progress.begin(name, phase.steps);
        for step in 0..phase.steps {
            let started = Instant::now();
            let rubric = &self.config.rubrics[&phase.rubric];
            let place =
                Place { seed, name, samples: phase.rollouts_per_prompt, decode_rows: self.config.run.decode_rows };
            let budget = self.config.run.token_budget;
            let outcome = rl::step(
                &mut self.model,
                &mut self.optimizer,
                phase,
                rubric,
                &mut supply,
                place,
                step,
                budget,
                &mut |_| {},
            )?;
            use crate::metrics::names;
            let get = |metric| outcome.metrics.get(metric).unwrap_or(f64::NAN);
            let note = format!(
                "reward {:.3}, working {:.2}, tokens {:.1}, gap {:.0e}",
                get(names::REWARD_MEAN),
                get(names::WITH_WORKING),
                get(names::LENGTH_MEAN),
                get(names::LOGPROB_GAP)
            );
            self.gap = self.gap.max(outcome.metrics.get(names::LOGPROB_GAP).unwrap_or(0.0));
            self.dir.append(&format!("rollouts/{name}-{:06}.jsonl", self.step), &outcome.rollouts)?;
            self.log_queries(&outcome.queries)?;
            self.record(name, &outcome.metrics, started)?;
            self.progress.done(step + 1, &note);
        }
        Ok(phase.eval_after.as_deref())
    }

    fn evaluate(&mut self, after: &str) -> Result<()> {
        let config = &self.config.eval;
        self.progress.begin(&format!("evaluation ({after})"), (config.tasks.len() * config.queries_per_task) as u64);
        let rubric = &self.config.rubrics[&config.rubric];
        let progress = &mut *self.progress;
        let rows = self.config.run.decode_rows;
        let evaluation =
            evaluate(&self.model, config, rubric, after, rows, &mut |done, _| progress.done(done as u64, ""))?;
        let folder = format!("eval/heldout-{:06}", self.step);
        self.dir.append(&format!("{folder}/samples.jsonl"), &evaluation.samples)?;
        self.dir.write_json(
            &format!("{folder}/results.json"),
            &json!({"v": 1, "after": after, "step": self.step, "seed": config.seed, "tasks": evaluation.rows}),
        )?;
        if let Some(all) = evaluation.rows.last() {
            self.progress.say(&format!(
                "held-out pass@1 after {after}: {:.3} [{:.3}, {:.3}], greedy {:.3}",
                all.pass_at_1, all.ci95[0], all.ci95[1], all.greedy
            ));
        }
        self.log_queries(&evaluation.queries)?;
        self.evaluations.push(evaluation);
        Ok(())
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

    fn record(&mut self, phase: &str, metrics: &Metrics, started: Instant) -> Result<()> {
        let line = metrics.line(self.step, phase, started.elapsed().as_secs_f64());
        self.dir.append("metrics.jsonl", std::slice::from_ref(&line))?;
        self.lines.push(line);
        self.step += 1;
        Ok(())
    }

    fn checkpoint(&self) -> Result<()> {
        let folder = self.dir.file(&format!("checkpoints/step-{:06}/policy", self.step))?;
        Ok(self.model.save(&folder, WeightFormat::F32)?)
    }

    fn state(&self, status: &str) -> Result<()> {
        let state = json!({
            "v": 1,
            "name": self.config.run.name,
            "status": status,
            "at": jiff::Timestamp::now().to_string(),
            "version": env!("CARGO_PKG_VERSION"),
            "seed": self.config.run.seed,
            "parameters": self.model.policy.parameter_count(),
            "threads": std::thread::available_parallelism().map_or(1, usize::from),
        });
        self.dir.write_json("run.json", &state)
    }

    fn summary(&self, wall_secs: f64) -> Summary {
        let end = RunEnd {
            run_dir: self.dir.path().display().to_string(),
            wall_secs,
            peak_rss_bytes: peak_rss_bytes(),
            weights_sha256: self.model.policy.weights_sha256(),
            metrics_sha256: metrics_sha256(&self.lines),
        };
        Summary::of(end, &self.evaluations, self.curation.clone(), None, self.gap)
    }
}

/// Largest resident memory of this process so far, in bytes; 0 where the system does not tell.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}
