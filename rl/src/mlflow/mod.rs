//! MLflow: a run's configuration and the metrics of its steps, sent to a tracking server while the run goes on. Nothing here
//! slows a step down or ends a run.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use sapo_rewards::{Refusal, Rest};
use serde_json::{Value, json};

use crate::config::MlflowConfig;
use crate::error::{Result, RunError};
use crate::run_dir::RunDir;

/// The file, in a run's folder, that says which run of the server it is.
const FILE: &str = "mlflow.json";
/// Parameters of a request at most, as the server has it.
const PARAMS: usize = 100;
/// Metrics of a request at most, as the server has it.
const METRICS: usize = 1000;
/// Length of a parameter's value at most, in characters.
const VALUE: usize = 500;
/// How often what is left is tried when the run has ended.
const LAST_TRIES: usize = 3;

/// A server that was reached, and the experiment there.
pub struct Experiment {
    server: Rest,
    id: String,
}

/// A run that is told to a server.
pub struct Mlflow {
    lines: Option<Sender<Value>>,
    thread: Option<JoinHandle<(Rest, Undelivered)>>,
    run_id: String,
    trouble: Arc<Mutex<Option<String>>>,
}

/// Steps that the server does not have, and why.
#[derive(Debug, Default)]
struct Undelivered {
    steps: usize,
    reason: String,
}

impl Experiment {
    /// Finds the experiment, or makes it.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub fn open(config: &MlflowConfig) -> Result<Self> {
        let failed = |reason: String| {
            RunError::User(format!(
                "log.mlflow: {reason}; start the server (`mlflow server`), mend log.mlflow.uri, or leave log.mlflow out"
            ))
        };
        let server = Rest::new(&config.uri, config.token_env.as_deref()).map_err(failed)?;
        let found =
            server.get("api/2.0/mlflow/experiments/get-by-name", &[("experiment_name", config.experiment.as_str())]);
        let answer = match found {
            Err(Refusal::NotThere(_)) => {
                server.post("api/2.0/mlflow/experiments/create", &json!({"name": config.experiment}))
            }
            Ok(answer) => Ok(answer["experiment"].clone()),
            Err(other) => Err(other),
        };
        let answer = answer.map_err(|refusal| failed(refusal.to_string()))?;
        let id = answer["experiment_id"].as_str().ok_or_else(|| failed("it gave no experiment_id".to_owned()))?;
        Ok(Self { id: id.to_owned(), server })
    }

    /// Begins a run there, or goes on with the one that the run's folder names.
    ///
    /// # Errors
    /// When the server refuses, or the folder cannot be written.
    pub fn run(self, dir: &RunDir<'_>, name: &str, params: &[(String, String)]) -> Result<Mlflow> {
        let Self { server, id } = self;
        let failed = |refusal: Refusal| RunError::User(format!("log.mlflow: {refusal}"));
        let known: Option<Value> =
            std::fs::read(dir.path().join(FILE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let known = known.as_ref().filter(|known| known["uri"] == server.base());
        if let Some(run_id) = known.and_then(|known| known["run_id"].as_str()) {
            match server.post("api/2.0/mlflow/runs/update", &json!({"run_id": run_id, "status": "RUNNING"})) {
                Ok(_) => return Ok(Mlflow::start(server, run_id.to_owned())),
                // One that was deleted there begins anew.
                Err(Refusal::NotThere(_)) => {}
                Err(refusal) => return Err(failed(refusal)),
            }
        }
        let wanted = json!({"experiment_id": id, "run_name": name, "start_time": now_millis()});
        let answer = server.post("api/2.0/mlflow/runs/create", &wanted).map_err(failed)?;
        let run_id = answer["run"]["info"]["run_id"].as_str().unwrap_or_default().to_owned();
        for part in params.chunks(PARAMS) {
            let params: Vec<Value> = part.iter().map(|(key, value)| param(key, value)).collect();
            server
                .post("api/2.0/mlflow/runs/log-batch", &json!({"run_id": run_id, "params": params}))
                .map_err(failed)?;
        }
        dir.write_json(FILE, &json!({"v": 1, "uri": server.base(), "experiment_id": id, "run_id": run_id}))?;
        Ok(Mlflow::start(server, run_id))
    }
}

impl Mlflow {
    fn start(server: Rest, run_id: String) -> Self {
        let (lines, taken) = channel();
        let trouble: Arc<Mutex<Option<String>>> = Arc::default();
        let (told, id) = (Arc::clone(&trouble), run_id.clone());
        let thread = std::thread::spawn(move || {
            let left = deliver(&server, &id, &taken, &told);
            (server, left)
        });
        Self { lines: Some(lines), thread: Some(thread), run_id, trouble }
    }

    /// Hands a line of `metrics.jsonl` over; gives what went wrong with earlier ones, once.
    pub fn step(&self, line: &Value) -> Option<String> {
        if let Some(lines) = &self.lines {
            let mut line = line.clone();
            line[TIME] = now_millis().into();
            // Nobody takes it when the thread has died, and then its end says so.
            drop(lines.send(line));
        }
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Ends the run there; `status` is that of `run.json`. Gives what the server does not have.
    pub fn finish(mut self, status: &str) -> Option<String> {
        drop(self.lines.take());
        let Ok((server, left)) = self.thread.take()?.join() else {
            return Some("log.mlflow: the thread that sends died; metrics.jsonl has all steps".to_owned());
        };
        let status = match status {
            "finished" => "FINISHED",
            "interrupted" => "KILLED",
            _ => "FAILED",
        };
        let end = json!({"run_id": self.run_id, "status": status, "end_time": now_millis()});
        let ended = server.post("api/2.0/mlflow/runs/update", &end).err().map(|refusal| refusal.to_string());
        if left.steps == 0 {
            return ended.map(|reason| format!("log.mlflow: the end of the run was not taken: {reason}"));
        }
        Some(format!(
            "warning: log.mlflow: {} steps were not delivered: {}; metrics.jsonl has them",
            left.steps, left.reason
        ))
    }
}

/// The key under which a line carries its time on the way to the thread.
const TIME: &str = "\0time";

/// Sends lines as they come, together where several wait; what the server did not take for a while is tried again with the
/// next.
fn deliver(server: &Rest, run_id: &str, lines: &Receiver<Value>, trouble: &Mutex<Option<String>>) -> Undelivered {
    let (mut waiting, mut left): (Vec<Value>, Undelivered) = Default::default();
    let mut told = false;
    let mut send = |waiting: &mut Vec<Value>| {
        while !waiting.is_empty() {
            // A line has fewer metrics than a request may have.
            let mut count = 0;
            let fits = waiting.iter().take_while(|line| {
                count += line.as_object().map_or(0, serde_json::Map::len);
                count <= METRICS
            });
            let part = fits.count().max(1);
            let metrics: Vec<Value> = waiting[..part].iter().flat_map(metrics).collect();
            match server.post("api/2.0/mlflow/runs/log-batch", &json!({"run_id": run_id, "metrics": metrics})) {
                Ok(_) => drop(waiting.drain(..part)),
                Err(refusal) => {
                    left.reason = refusal.to_string();
                    if !std::mem::replace(&mut told, true) {
                        let said =
                            format!("warning: log.mlflow: {refusal}; the run goes on, and each step tries again");
                        *trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
                    }
                    if matches!(refusal, Refusal::Gone(_)) {
                        return;
                    }
                    // What is refused once is refused again.
                    left.steps += part;
                    drop(waiting.drain(..part));
                }
            }
        }
    };
    while let Ok(line) = lines.recv() {
        waiting.push(line);
        waiting.extend(lines.try_iter());
        send(&mut waiting);
    }
    (0..LAST_TRIES).for_each(|_| send(&mut waiting));
    left.steps += waiting.len();
    left
}

/// The metrics of a line. A number that is not finite is not there: the server's JSON has no word for it.
fn metrics(line: &Value) -> Vec<Value> {
    let (step, time) = (&line["step"], &line[TIME]);
    let numbers = line.as_object().into_iter().flatten();
    let numbers = numbers.filter(|(name, value)| value.is_number() && *name != "step" && *name != TIME);
    numbers.map(|(name, value)| json!({"key": key(name), "value": value, "timestamp": time, "step": step})).collect()
}

fn param(name: &str, value: &str) -> Value {
    let short: String = value.chars().take(VALUE).collect();
    json!({"key": key(name), "value": short})
}

/// The signs that the server allows in a name.
fn key(name: &str) -> String {
    let allowed = |sign: char| sign.is_ascii_alphanumeric() || "_-. /".contains(sign);
    name.chars().map(|sign| if allowed(sign) { sign } else { '_' }).take(250).collect()
}

fn now_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests;
