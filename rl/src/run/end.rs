//! How a run ends: its status, its export, its summary.

use serde_json::{Value, json};

use super::Run;
use crate::audit;
use crate::error::{Result, RunError};
use crate::kernels;
use crate::metrics::metrics_sha256;
use crate::summary::{JudgeFacts, RunEnd, Summary};

impl Run<'_> {
    /// Says in `run.json` and in the log how it ended; `status` is `finished` or `interrupted`, and an error `failed`.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn close(&mut self, outcome: std::result::Result<&str, &RunError>) -> Result<()> {
        match outcome {
            Ok(status) => {
                self.set_status(status)?;
                self.recorder.finish(status)
            }
            // The reason matters more than a status that cannot be written either, and is not kept waiting for it.
            Err(error) => {
                self.recorder.do_not_wait();
                drop(self.set_status("failed").and_then(|()| self.recorder.log(&format!("error: {error}"))));
                drop(self.recorder.finish("failed"));
                Ok(())
            }
        }
    }

    pub(super) fn set_status(&self, status: &str) -> Result<()> {
        let before: Value = std::fs::read(self.path().join("run.json"))
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
        self.recorder.dir().write_json("run.json", &state)
    }

    /// What the plan at the run's beginning said that it would hold.
    fn planned_bytes(&self) -> Option<u64> {
        let plan: Value = serde_json::from_slice(&std::fs::read(self.path().join("plan.json")).ok()?).ok()?;
        plan["about_bytes"].as_u64()
    }

    fn export(&mut self) -> Result<()> {
        let Some(format) = self.config.policy.export else { return Ok(()) };
        let folder = self.recorder.dir().file("export")?;
        // What is exported needs no adapter beside it.
        self.model.policy.merge_adapter();
        let saved = self.recorder.dir().patiently(|| Ok(self.model.save(&folder, format)?));
        self.model.policy.unmerge_adapter();
        saved
    }

    /// The run in one object, also kept as `summary.json`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn summary(&mut self) -> Result<Summary> {
        self.note_judges();
        self.export()?;
        let end = RunEnd {
            run_dir: self.path().display().to_string(),
            wall_secs: self.wall_secs(),
            peak_rss_bytes: self.peak_rss_bytes(),
            planned_bytes: self.planned_bytes(),
            kernels: kernels::spent(),
            weights_sha256: self.model.policy.weights_sha256(),
            metrics_sha256: metrics_sha256(self.recorder.lines()),
        };
        let judge = self.state.judges.values().next().map(JudgeFacts::of);
        let curation = self.state.curation.clone();
        let gap = self.state.logprob_gap_max;
        let summary = Summary {
            audits: audit::facts(self.recorder.lines()),
            ..Summary::of(end, &self.state.evaluations, &self.config.eval, curation, judge, gap)
        };
        self.write_judges()?;
        // A run that says it has finished is finished after a crash as well.
        self.recorder.dir().patiently(|| self.recorder.dir().sync())?;
        self.recorder.dir().write_json("summary.json", &summary)?;
        Ok(summary)
    }
}
