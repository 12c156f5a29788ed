//! What a kind of server must be able to say: a request's body, what its reply means, and how it takes weights. One file for
//! each kind; none of them sends anything.

use std::path::PathBuf;

use sapo_datasets::StopReason;
use serde_json::{Map, Value, json};

use super::prompt::Prompt;
use crate::request::Sampling;

/// One turn that is asked for.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// The model or adapter, as the server knows it.
    pub(super) model: String,
    /// The name of the adapter, when one was loaded.
    pub(super) adapter: Option<String>,
    /// All that stands before the turn.
    pub(super) prompt: Prompt,
    /// How its tokens are drawn.
    pub(super) sampling: Sampling,
    /// Of this sample and turn.
    pub(super) seed: u64,
    /// Tokens of the turn at most.
    pub(super) max_tokens: usize,
    /// Ids that end the turn: the tokenizer's and the request's.
    pub(super) stop_ids: Vec<u32>,
    /// Ids that are never drawn: the policy's and the request's.
    pub(super) banned: Vec<u32>,
}

/// What a server says that it has sampled.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// Token ids.
    pub(super) ids: Vec<u32>,
    /// The log-prob of each; none where a server gives no ids with them.
    pub(super) log_probs: Vec<f32>,
    /// Why it ended.
    pub(super) stop: Option<StopReason>,
    /// The stop text that ended it.
    pub(super) stop_text: Option<String>,
    /// The prompt's ids as the server read them, where it says so.
    pub(super) prompt_ids: Option<Vec<u32>>,
    /// How many they were, where it says so.
    pub(super) prompt_tokens: Option<usize>,
    /// The model that answered, where the server says so.
    pub(super) model: Option<String>,
    /// The version of its weights, where the server says so.
    pub(super) version: Option<String>,
}

/// A reply that is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// The server has given up on the request, which can be asked again.
    Aborted,
    /// It is not what this kind of server says.
    Wrong(String),
    /// Its tokens cannot be proven, as they must be.
    Unproven(String),
}

/// Weights on disk that servers are to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Weights {
    /// The policy's version.
    pub(super) version: u64,
    /// The folder.
    pub(super) folder: PathBuf,
    /// The adapter's name, when it is one.
    pub(super) adapter: Option<String>,
    /// The names of earlier adapters, to be unloaded.
    pub(super) outdated: Vec<String>,
}

/// A call that steers a server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    /// The path, its query included.
    pub(super) path: String,
    /// The body, if there is one.
    pub(super) body: Option<Value>,
    /// Whether the server may refuse it (by 400 or 404) without harm.
    pub(super) may_be_refused: bool,
}

impl Call {
    /// A call that must succeed.
    pub(super) fn must(path: &str, body: Option<Value>) -> Self {
        Self { path: path.to_owned(), body, may_be_refused: false }
    }

    /// A call that some servers do not know, or that finds nothing to do.
    pub(super) fn may(path: &str, body: Option<Value>) -> Self {
        Self { path: path.to_owned(), body, may_be_refused: true }
    }
}

/// A kind of server.
pub(super) trait Dialect: Send + Sync {
    /// The path and body of a request.
    ///
    /// # Errors
    /// When the prompt cannot be said.
    fn request(&self, ask: &Ask) -> Result<(&'static str, Value), String>;

    /// What a reply means.
    ///
    /// # Errors
    /// When it is no answer.
    fn answer(&self, ask: &Ask, reply: &Value) -> Result<Answer, Unread>;

    /// Whether the log-probs that it gives know of top-k, top-p and min-p.
    fn truncates_log_probs(&self) -> bool;

    /// The path that says whether the server is well.
    fn health(&self) -> &'static str;

    /// Calls that make a server load weights.
    fn load(&self, weights: &Weights) -> Vec<Call>;

    /// Paths, of which a server knows at least one, that tell which weights it has; none when no server can tell.
    fn identity_paths(&self) -> &'static [&'static str];

    /// What the page there says that changes when the server loses its weights.
    fn identity(&self, page: &str) -> Option<String>;

    /// What [`Dialect::identity`] must give once weights are loaded, where that is known.
    fn identity_with(&self, weights: &Weights) -> Option<String>;

    /// The version that answers must carry once weights are loaded, if they carry one.
    fn version_with(&self, weights: &Weights) -> Option<String>;

    /// Calls that free a server's memory.
    fn sleep(&self) -> Vec<Call>;

    /// Calls that take it back.
    fn wake(&self) -> Vec<Call>;

    /// Whether a server still has its weights when it wakes.
    fn wakes_with_weights(&self) -> bool;
}

/// The least and largest bias that servers take; they would cut others.
const LARGEST_BIAS: f32 = 100.0;

/// The least and largest of the two penalties that are taken off.
const LARGEST_PENALTY: f64 = 2.0;

/// What no server can say.
pub(super) fn unsaid_by_all(sampling: &Sampling) -> Option<String> {
    if sampling.top_log_probs > 0 {
        return Some(
            "`top_log_probs` are not asked of servers; set it to 0, or sample with engine.kind = \"local\"".to_owned(),
        );
    }
    for (key, value) in
        [("presence_penalty", sampling.presence_penalty), ("frequency_penalty", sampling.frequency_penalty)]
    {
        if value.abs() > LARGEST_PENALTY {
            return Some(format!("`{key}` is {value}, but servers take -2 to 2"));
        }
    }
    let too_large = sampling.logit_bias.iter().find(|(_, bias)| bias.abs() > LARGEST_BIAS);
    too_large.map(|(id, bias)| {
        format!("`logit_bias` of token {id} is {bias}, but servers cut it to between -100 and 100; use `banned_ids` to forbid a token")
    })
}

/// The bias of a request by token id: what it asks for, and the least there is for ids that are banned.
pub(super) fn bias(sampling: &Sampling, banned: &[u32]) -> Option<Value> {
    let mut bias: Map<String, Value> = Map::new();
    for (id, value) in &sampling.logit_bias {
        bias.insert(id.to_string(), json!(value));
    }
    for id in banned {
        bias.insert(id.to_string(), json!(-LARGEST_BIAS));
    }
    (!bias.is_empty()).then_some(Value::Object(bias))
}

/// Adds how tokens are drawn, under the names of vLLM and SGLang. All of it is said, also what is as usual: a server may have
/// other defaults, from a checkpoint's `generation_config.json`.
pub(super) fn drawn(sampling: &Sampling, banned: &[u32], fields: &mut Map<String, Value>) {
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    put("temperature", json!(sampling.temperature));
    put("top_p", json!(sampling.top_p));
    // Both take -1 for all, and not every version takes 0.
    put("top_k", if sampling.top_k > 0 { json!(sampling.top_k) } else { json!(-1) });
    put("min_p", json!(sampling.min_p));
    put("repetition_penalty", json!(sampling.repetition_penalty));
    put("presence_penalty", json!(sampling.presence_penalty));
    put("frequency_penalty", json!(sampling.frequency_penalty));
    if let Some(bias) = bias(sampling, banned) {
        put("logit_bias", bias);
    }
    if !sampling.stop.is_empty() {
        put("stop", json!(sampling.stop));
    }
}

/// A list of token ids.
pub(super) fn token_ids(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.iter().map(|id| u32::try_from(id.as_u64()?).ok()).collect()
}

/// A list of log-probs.
pub(super) fn log_probs<'a>(values: impl Iterator<Item = &'a Value>) -> Option<Vec<f32>> {
    values.map(|value| Some(value.as_f64()? as f32)).collect()
}

/// A reply that lacks something.
pub(super) fn lacks(what: &str) -> Unread {
    Unread::Wrong(format!("its reply has no {what}"))
}
