//! A first question to a server of chat completions, before many are asked: whether it answers, and as which model.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Builder;

use super::http::{Got, Server};

/// Seconds that the list of models, and one token of an answer, may take.
const LIST_SECS: u64 = 20;
const ANSWER_SECS: u64 = 120;

/// The model that a server of OpenAI's chat completions answers as, after one short question: the one that is named, else
/// the only one that it lists.
///
/// # Errors
/// When the URL is none, the server does not answer, or it has not exactly one model and none is named.
pub fn answering_model(endpoint: &str, named: Option<&str>, key: Option<String>) -> Result<String, String> {
    let server = Server::new(endpoint, key)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no connections can be made: {error}"))?;
    runtime.block_on(async {
        let model = match named {
            Some(named) => named.to_owned(),
            None => only_model(&server).await?,
        };
        let question = json!({"model": model, "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 1});
        let path = "/v1/chat/completions";
        match server.post(path, Some(question.to_string()), Duration::from_secs(ANSWER_SECS)).await {
            Got::Reply(reply) => {
                let reply: Value = serde_json::from_str(&reply).unwrap_or_default();
                let answered = reply["choices"][0]["message"].is_object();
                answered.then_some(model).ok_or_else(|| format!("{path}: its reply holds no choices[0].message"))
            }
            other => Err(format!("{path}: {}", other.message())),
        }
    })
}

async fn only_model(server: &Server) -> Result<String, String> {
    let path = "/v1/models";
    let reply = match server.get(path, Duration::from_secs(LIST_SECS)).await {
        Got::Reply(reply) => reply,
        other => return Err(format!("{path}: {}", other.message())),
    };
    let reply: Value = serde_json::from_str(&reply).unwrap_or_default();
    let models = reply["data"].as_array().into_iter().flatten().filter_map(|model| model["id"].as_str());
    let models: Vec<&str> = models.collect();
    match models.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(format!("{path} lists no model; name the one to ask for")),
        several => Err(format!("it serves {}; name the one to ask for", several.join(", "))),
    }
}
