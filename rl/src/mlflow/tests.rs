//! A run told to a tracking server on this machine that takes nothing it does not know.

use std::net::TcpListener;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::progress::Silent;

/// What was asked, in order: the path's end, and the body.
type Asked = Arc<Mutex<Vec<(&'static str, Value)>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewExperiment {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRun {
    experiment_id: String,
    #[serde(rename = "run_name")]
    _run_name: String,
    #[serde(rename = "start_time")]
    _start_time: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    run_id: String,
    #[serde(default)]
    metrics: Vec<Metric>,
    #[serde(default)]
    params: Vec<Param>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metric {
    key: String,
    value: f64,
    #[serde(rename = "timestamp")]
    _timestamp: i64,
    #[serde(rename = "step")]
    _step: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Param {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    run_id: String,
    status: String,
    #[serde(default)]
    end_time: Option<i64>,
}

/// A body in a form that is known in every field.
fn strict<T: DeserializeOwned>(body: &str) -> std::result::Result<(T, Value), (StatusCode, String)> {
    let wrong = |error: serde_json::Error| (StatusCode::BAD_REQUEST, error.to_string());
    Ok((serde_json::from_str(body).map_err(wrong)?, serde_json::from_str(body).map_err(wrong)?))
}

type Answer = std::result::Result<String, (StatusCode, String)>;

fn named(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|sign| sign.is_ascii_alphanumeric() || "_-. /".contains(sign))
}

async fn create_experiment(State(asked): State<Asked>, body: String) -> Answer {
    let (new, said) = strict::<NewExperiment>(&body)?;
    assert_eq!(new.name, "tried");
    asked.lock().unwrap().push(("experiments/create", said));
    Ok(json!({"experiment_id": "7"}).to_string())
}

async fn create_run(State(asked): State<Asked>, body: String) -> Answer {
    let (new, said) = strict::<NewRun>(&body)?;
    assert_eq!(new.experiment_id, "7");
    asked.lock().unwrap().push(("runs/create", said));
    Ok(json!({"run": {"info": {"run_id": "r1"}}}).to_string())
}

async fn log_batch(State(asked): State<Asked>, body: String) -> Answer {
    let (batch, said) = strict::<Batch>(&body)?;
    let good = batch.run_id == "r1"
        && batch.metrics.iter().all(|metric| named(&metric.key) && metric.value.is_finite())
        && batch.params.iter().all(|param| named(&param.key) && param.value.len() <= 500);
    if !good || batch.metrics.iter().any(|metric| metric.key == "refused") {
        return Err((StatusCode::BAD_REQUEST, "no such metric".to_owned()));
    }
    asked.lock().unwrap().push(("runs/log-batch", said));
    Ok("{}".to_owned())
}

async fn update_run(State(asked): State<Asked>, body: String) -> Answer {
    let (update, said) = strict::<Update>(&body)?;
    assert!(["RUNNING", "FINISHED", "FAILED", "KILLED"].contains(&update.status.as_str()) && update.run_id == "r1");
    assert_eq!(update.end_time.is_some(), update.status != "RUNNING");
    asked.lock().unwrap().push(("runs/update", said));
    Ok("{}".to_owned())
}

async fn by_name(RawQuery(wanted): RawQuery, State(asked): State<Asked>) -> Answer {
    assert_eq!(wanted.as_deref(), Some("experiment_name=tried"));
    if asked.lock().unwrap().iter().any(|(what, _)| *what == "experiments/create") {
        return Ok(json!({"experiment": {"experiment_id": "7"}}).to_string());
    }
    Err((StatusCode::NOT_FOUND, json!({"error_code": "RESOURCE_DOES_NOT_EXIST"}).to_string()))
}

/// A server on a free port, as long as the process lives.
fn server() -> (MlflowConfig, Asked) {
    let asked = Asked::default();
    let routes = Router::new()
        .route("/api/2.0/mlflow/experiments/get-by-name", get(by_name))
        .route("/api/2.0/mlflow/experiments/create", post(create_experiment))
        .route("/api/2.0/mlflow/runs/create", post(create_run))
        .route("/api/2.0/mlflow/runs/log-batch", post(log_batch))
        .route("/api/2.0/mlflow/runs/update", post(update_run))
        .with_state(Arc::clone(&asked));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, routes).await.unwrap();
        });
    });
    (MlflowConfig { uri, experiment: "tried".to_owned(), token_env: None }, asked)
}

fn run(config: &MlflowConfig, folder: &std::path::Path) -> Mlflow {
    let dir = RunDir::open(folder, 0, &Silent);
    let params = [("phases.rl.data".to_owned(), "x".repeat(900)), ("run.seed".to_owned(), "1".to_owned())];
    Experiment::open(config).unwrap().run(&dir, "a run", &params).unwrap()
}

#[test]
fn a_run_is_told_step_by_step_and_goes_on_in_the_same_run() {
    let (config, asked) = server();
    let folder = tempfile::tempdir().unwrap();
    let mlflow = run(&config, folder.path());
    for step in 0..3 {
        let line =
            json!({"step": step, "phase": "rl", "secs": 0.5, "train/reward/a:b/mean": 0.25, "optim/grad_norm": null});
        assert_eq!(mlflow.step(&line), None);
    }
    assert_eq!(mlflow.finish("interrupted"), None);
    let again = run(&config, folder.path());
    again.step(&json!({"step": 3, "secs": 0.5}));
    assert_eq!(again.finish("finished"), None);
    let asked = asked.lock().unwrap();
    let of = |wanted: &str| asked.iter().filter(|(what, _)| *what == wanted).map(|(_, said)| said).collect::<Vec<_>>();
    assert_eq!((of("experiments/create").len(), of("runs/create").len()), (1, 1));
    let metrics: Vec<&Value> =
        of("runs/log-batch").iter().filter_map(|said| said["metrics"].as_array()).flatten().collect();
    let steps = |key: &str| {
        let own = metrics.iter().filter(|metric| metric["key"] == key);
        own.map(|metric| (metric["step"].as_i64().unwrap(), metric["value"].as_f64().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(steps("secs"), [0, 1, 2, 3].map(|step| (step, 0.5)));
    assert_eq!(steps("train/reward/a_b/mean"), [0, 1, 2].map(|step| (step, 0.25)));
    assert!(steps("optim/grad_norm").is_empty() && steps("phase").is_empty() && steps("step").is_empty());
    let states: Vec<&str> = of("runs/update").iter().filter_map(|said| said["status"].as_str()).collect();
    assert_eq!(states, ["KILLED", "RUNNING", "FINISHED"]);
}

#[test]
fn what_is_not_taken_is_said_and_ends_nothing() {
    let (config, _) = server();
    let folder = tempfile::tempdir().unwrap();
    let mlflow = run(&config, folder.path());
    mlflow.step(&json!({"step": 0, "refused": 1.0}));
    let said = mlflow.finish("finished").expect("a step is lost");
    assert!(said.contains("1 steps were not delivered") && said.contains("no such metric"), "{said}");
    // Nobody listens where a port was just let go.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nowhere = MlflowConfig { uri: format!("http://{port}"), ..config };
    let refused = Experiment::open(&nowhere).err().unwrap().to_string();
    assert!(refused.contains("cannot be reached") && refused.contains("log.mlflow.uri"), "{refused}");
}
