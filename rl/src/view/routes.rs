//! What `sapo view` answers: pages, their data, pictures, and news of runs that grow.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{Html, IntoResponse, Redirect, Response, Sse};
use axum::routing::get;
use futures_util::stream;
use url::form_urlencoded;

use super::browse::{self, Asked};
use super::overlay;
use super::run::Run;
use crate::browse::{CHOOSER, SCRIPT, STYLE as CARDS};
use crate::error::RunError;
use crate::report::STYLE;
use crate::serve::Door;

/// How often a run's files are looked at.
const LOOK: Duration = Duration::from_secs(1);

const OVERVIEW: &str = include_str!("overview.html");
const BROWSE: &str = include_str!("browse.html");
const LIVE: &str = include_str!("live.html");

type Runs = State<Arc<Vec<Run>>>;

/// All routes.
pub(super) fn router(runs: Arc<Vec<Run>>) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/names.json", get(|State(runs): Runs| blocking(move || Json(overlay::names(&runs)).into_response())))
        .route("/curve.json", get(curve))
        .route("/metrics", get(metrics))
        .route(
            "/runs/{run}",
            get(|Path(run): Path<usize>| async move { Redirect::permanent(&format!("/runs/{run}/")) }),
        )
        .route("/runs/{run}/", get(report))
        .route("/runs/{run}/browse", get(browser))
        .route("/runs/{run}/files.json", get(files))
        .route("/runs/{run}/groups.json", get(groups))
        .route("/runs/{run}/images/{hash}", get(picture))
        .route("/runs/{run}/events", get(events))
        .layer(from_fn(from_here))
        .with_state(runs)
}

/// A page in the user's browser must not read runs under another name for this address.
async fn from_here(request: Request, next: Next) -> Response {
    match Door::of_this_machine("localhost").foreign(request.headers()) {
        None => next.run(request).await,
        Some(_) => (StatusCode::FORBIDDEN, "ask for 127.0.0.1 or localhost").into_response(),
    }
}

/// Reading files is no work for the threads that answer.
async fn blocking(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| (StatusCode::INTERNAL_SERVER_ERROR, "it could not be read").into_response())
}

fn absent() -> Response {
    (StatusCode::NOT_FOUND, "there is no such run, file or picture").into_response()
}

fn filled(page: &str) -> String {
    let style = format!("{STYLE}{}", CARDS);
    let page = page.replacen("{{ style }}", &style, 1).replacen("{{ chooser }}", CHOOSER, 1);
    page.replacen("{{ script }}", SCRIPT, 1)
}

async fn overview(State(runs): Runs) -> Response {
    if let [_] = runs.as_slice() {
        return Redirect::temporary("/runs/0/").into_response();
    }
    Html(filled(OVERVIEW)).into_response()
}

async fn curve(State(runs): Runs, uri: Uri) -> Response {
    let asked = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let metric =
        asked.filter(|(key, _)| key == "metric").map(|(_, value)| value.into_owned()).next().unwrap_or_default();
    blocking(move || Json(overlay::of(&runs, &metric)).into_response()).await
}

/// The gauges that runs keep for Prometheus, one after the other.
async fn metrics(State(runs): Runs) -> Response {
    blocking(move || {
        // Lines of one metric stand together, whichever run they are of.
        let mut all: BTreeMap<String, (String, String)> = BTreeMap::new();
        for run in runs.iter() {
            let text = std::fs::read_to_string(run.folder.join("metrics.prom")).unwrap_or_default();
            let name = run.name.replace(['"', '\\', '\n'], "_");
            for line in text.lines() {
                if let Some(rest) = line.strip_prefix("# TYPE ") {
                    let metric = rest.split(' ').next().unwrap_or_default();
                    all.entry(metric.to_owned()).or_default().0 = format!("{line}\n");
                } else if let Some((metric, rest)) = line.split_once('{') {
                    all.entry(metric.to_owned()).or_default().1.push_str(&format!("{metric}{{run=\"{name}\",{rest}\n"));
                }
            }
        }
        let text: String = all.into_values().map(|(kind, lines)| kind + &lines).collect();
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
    })
    .await
}

async fn report(State(runs): Runs, Path(run): Path<usize>) -> Response {
    blocking(move || match runs.get(run).map(|run| run.page(LIVE)) {
        Some(Ok(page)) => Html(page).into_response(),
        Some(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, RunError::to_string(&error)).into_response(),
        None => absent(),
    })
    .await
}

async fn browser(State(runs): Runs, Path(run): Path<usize>) -> Response {
    if runs.get(run).is_some() { Html(filled(BROWSE)).into_response() } else { absent() }
}

async fn files(State(runs): Runs, Path(run): Path<usize>) -> Response {
    blocking(move || browse::listed(&runs, run).map_or_else(absent, |listed| Json(listed).into_response())).await
}

async fn groups(State(runs): Runs, Path(run): Path<usize>, uri: Uri) -> Response {
    let mut asked = Asked::default();
    for (key, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
        let value = value.into_owned();
        match key.as_ref() {
            "file" => asked.file = value,
            "filter" => asked.filter = value,
            "sort" => asked.sort = value,
            "task" => asked.task = value,
            "words" => asked.words = value,
            "colour" => asked.colour = value,
            "page" => asked.page = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    blocking(move || match browse::groups(&runs, run, &asked) {
        Some(groups) => Json(groups).into_response(),
        None => absent(),
    })
    .await
}

async fn picture(State(runs): Runs, Path((run, hash)): Path<(usize, String)>) -> Response {
    blocking(move || match runs.get(run).and_then(|run| run.picture(&hash)) {
        Some(picture) => {
            let kept =
                [(header::CACHE_CONTROL, "max-age=86400, immutable"), (header::CONTENT_TYPE, picture.media_type())];
            (kept, picture.bytes().to_vec()).into_response()
        }
        None => absent(),
    })
    .await
}

/// An event whenever a run's files have changed.
async fn events(State(runs): Runs, Path(run): Path<usize>) -> Response {
    if runs.get(run).is_none() {
        return absent();
    }
    let first = runs[run].state();
    let news = stream::unfold((runs, first), move |(runs, mut known)| async move {
        loop {
            tokio::time::sleep(LOOK).await;
            let state = runs.get(run)?.state();
            if state != known {
                known = state;
                return Some((Ok::<_, Infallible>(Event::default().data("changed")), (runs, known)));
            }
        }
    });
    Sse::new(news).keep_alive(KeepAlive::default()).into_response()
}
