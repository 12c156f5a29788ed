//! A server that samples with the local engine, and complains of everything that it does not know.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sapo::sample::local_engine;
use sapo_policies::processor::decode;
use sapo_policies::{Model, Policy, PolicyInput};
use sapo_rollouts::{Request, Rollout, Sampling, sample_all};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// What a kind of server does with a body.
pub(crate) trait Kind: Send + Sync + 'static {
    /// The page of a request, or what is wrong with it.
    fn page(&self, state: &Backed, path: &str, body: &Value) -> Result<Value, String>;
}

/// The model behind a server.
pub(crate) struct Backed {
    model: Mutex<Model>,
    loaded: Mutex<Vec<String>>,
    complaints: Mutex<Vec<String>>,
    /// Generations that are still answered; then the server is only busy.
    left: AtomicUsize,
}

/// What is asked of the model.
pub(crate) struct Asked {
    /// Ids with one placeholder for each picture.
    pub(crate) ids: Vec<u32>,
    /// Data URLs.
    pub(crate) pictures: Vec<String>,
    pub(crate) seed: u64,
    pub(crate) sampling: Sampling,
}

impl Backed {
    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect("a lock")
    }

    /// The whole policy from a folder.
    pub(crate) fn load(&self, folder: &Path, name: &str) -> Result<(), String> {
        let mut model = self.model();
        let device = model.policy.device().clone();
        let banned = model.policy.banned.clone();
        model.policy = Policy::load(folder, &device).map_err(|error| error.to_string())?;
        model.policy.banned = banned;
        self.loaded.lock().expect("a lock").push(name.to_owned());
        Ok(())
    }

    /// An adapter from a folder, on the model as it was at first.
    pub(crate) fn load_adapter(&self, folder: &Path, name: &str) -> Result<(), String> {
        let mut model = self.model();
        let device = model.policy.device().clone();
        *model = Model::open("tiny", 1, &device).map_err(|error| error.to_string())?;
        model.policy.load_adapter(folder).map_err(|error| error.to_string())?;
        self.loaded.lock().expect("a lock").push(name.to_owned());
        Ok(())
    }

    pub(crate) fn last_loaded(&self) -> String {
        self.loaded.lock().expect("a lock").last().cloned().unwrap_or("default".to_owned())
    }

    /// The prompt with its pictures, as the policy reads it.
    fn input(&self, model: &Model, asked: &Asked) -> Result<PolicyInput, String> {
        let config = &model.policy.config;
        let mut pictures = Vec::new();
        for url in &asked.pictures {
            let png = url.strip_prefix("data:image/png;base64,").ok_or("no PNG")?;
            let png = STANDARD.decode(png).map_err(|error| error.to_string())?;
            let picture = decode(&png, "a picture").map_err(|error| error.to_string())?;
            pictures.push(model.processor.images().process(&picture).map_err(|error| error.to_string())?);
        }
        let mut tokens = pictures.iter().map(|picture| picture.tokens(config.vision.spatial_merge_size));
        let mut ids = Vec::new();
        for id in &asked.ids {
            let count = if *id == config.image_token_id { tokens.next().ok_or("too few pictures")? } else { 1 };
            ids.extend(std::iter::repeat_n(*id, count));
        }
        PolicyInput::with_pictures(ids, pictures, config).map_err(|error| error.to_string())
    }

    /// Whether another generation is answered.
    fn has_room(&self) -> bool {
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    /// Samples one answer; the prompt's ids come with it.
    pub(crate) fn sample(&self, asked: Asked) -> Result<(Rollout, Vec<u32>), String> {
        let model = self.model();
        let prompt = self.input(&model, &asked)?;
        let ids = prompt.ids().to_vec();
        let request = Request {
            query_id: "q".to_owned(),
            prompt,
            seeds: vec![asked.seed],
            sampling: asked.sampling,
            follow: None,
        };
        let engine = local_engine(&model, 1, 64);
        let groups = sample_all(&engine, &model.policy, &[request]).map_err(|error| error.to_string())?;
        let group = groups.into_iter().next().ok_or("no answer")??;
        Ok((group.into_iter().next().ok_or("no rollout")?, ids))
    }
}

/// A server on loopback.
pub(crate) struct Server {
    state: Arc<Backed>,
    address: SocketAddr,
    _runtime: Runtime,
}

impl Server {
    pub(crate) fn start(kind: impl Kind) -> Self {
        let model = Model::open("tiny", 1, &sapo::device::open("cpu").expect("a device")).expect("a preset");
        let state = Arc::new(Backed {
            model: Mutex::new(model),
            loaded: Mutex::default(),
            complaints: Mutex::default(),
            left: AtomicUsize::new(usize::MAX),
        });
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let (kind, served) = (Arc::new(kind), Arc::clone(&state));
        let app = Router::new().fallback(move |uri: Uri, body: Bytes| {
            let (state, kind) = (Arc::clone(&served), Arc::clone(&kind));
            async move {
                let answered = tokio::task::spawn_blocking(move || answer(&*kind, &state, &uri, &body)).await;
                answered.expect("no panic")
            }
        });
        // Bodies with pictures are large.
        let app = app.layer(axum::extract::DefaultBodyLimit::disable());
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { state, address, _runtime: runtime }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on it answers so many generations.
    pub(crate) fn answers(&self, generations: usize) {
        self.state.left.store(generations, Ordering::SeqCst);
    }

    /// How many of them are left.
    pub(crate) fn left(&self) -> usize {
        self.state.left.load(Ordering::SeqCst)
    }

    /// What was loaded, in order.
    pub(crate) fn loaded(&self) -> Vec<String> {
        self.state.loaded.lock().expect("a lock").clone()
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.state.complaints.lock().expect("a lock").clone()
    }
}

fn answer(kind: &dyn Kind, state: &Backed, uri: &Uri, body: &[u8]) -> (StatusCode, String) {
    let path = uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap_or(Value::Bool(false)) };
    let generates = path.ends_with("/generate") || path.ends_with("/completions");
    if generates && !state.has_room() {
        return (StatusCode::SERVICE_UNAVAILABLE, "busy".to_owned());
    }
    match kind.page(state, &path, &body) {
        Ok(page) => (StatusCode::OK, page.to_string()),
        Err(reason) => {
            state.complaints.lock().expect("a lock").push(format!("{path}: {reason}"));
            (StatusCode::BAD_REQUEST, reason)
        }
    }
}

/// The numbers and lists of a body; everything else that it has must be as it is wanted.
pub(crate) fn fields(body: &Value, variable: &[&str], fixed: &Value) -> Result<(), String> {
    let known = |key: &str| variable.contains(&key) || fixed.get(key).is_some();
    let given = body.as_object().ok_or("no object")?;
    if let Some(key) = given.keys().find(|key| !known(key)) {
        return Err(format!("the field `{key}` is not known"));
    }
    match fixed.as_object().into_iter().flatten().find(|(key, value)| given.get(*key) != Some(*value)) {
        Some((key, value)) => Err(format!("`{key}` must be {value}, and is {}", body[key.as_str()])),
        None => Ok(()),
    }
}

/// Ids of a list.
pub(crate) fn ids(value: &Value) -> Vec<u32> {
    value.as_array().into_iter().flatten().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}
