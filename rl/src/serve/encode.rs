//! From the body of a request to prompts that the model can answer: read, checked, and made to fit the context.

use std::sync::Arc;

use sapo_datasets::{Picture, hex};
use sapo_policies::processor::{ChatMessage, ChatOptions, Processor, Sizes};
use sapo_policies::{PolicyError, PolicyInput};
use sapo_rollouts::{Request, Sampling, seed_of};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Limits;
use super::asked::Asked;
use super::chat::Chat;
use super::completion::{Completion, RawPrompt};
use super::fault::Fault;
use super::fields::Fields;
use super::known;
use super::pictures::PictureSource;

/// Pixels of all pictures of a request at most: their decoded size, which an encoded one may hide.
const MOST_PIXELS: u64 = 1 << 25;
/// Tokens of an answer at most where a request does not say: of a chat, and of a completion as OpenAI has it.
const USUAL_TOKENS: [usize; 2] = [1024, 16];

/// The two ways to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
}

impl Api {
    /// The fields that it has alone.
    fn own(self) -> &'static [&'static str] {
        match self {
            Self::Chat => &known::CHAT,
            Self::Completions => &known::COMPLETION,
        }
    }

    /// The field that holds what is asked.
    fn field(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completions => "prompt",
        }
    }
}

/// What turns requests into prompts.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    /// The model's name in requests.
    pub(super) name: String,
    /// The model's processor.
    pub(super) processor: Arc<Processor>,
    /// Bounds.
    pub(super) limits: Limits,
    /// Where pictures come from.
    pub(super) pictures: PictureSource,
    /// The tokens that stand for pictures and videos.
    pub(super) placeholders: [u32; 2],
}

/// A prompt that fits.
#[derive(Clone, Debug)]
pub(super) struct Prompt {
    /// The policy's input.
    pub(super) input: PolicyInput,
    /// What the text of an answer begins with.
    pub(super) echo: String,
    /// A digest of all that is asked, which seeds depend on.
    key: String,
    /// How its answers are sampled.
    sampling: Sampling,
}

/// A request that can be answered.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    /// How it was asked.
    pub(super) api: Api,
    /// What is asked beside the prompts.
    pub(super) asked: Asked,
    /// The prompts.
    pub(super) prompts: Vec<Prompt>,
    /// The number of the request since the server started.
    pub(super) number: u64,
}

impl Encoder {
    /// Reads a body and makes its prompts.
    pub(super) fn ready(&self, api: Api, body: &[u8], number: u64) -> Result<Ready, Fault> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| Fault::body(format!("the body is not JSON: {error}; send one JSON object")))?;
        let object = value.as_object().ok_or_else(|| Fault::body("the body is not a JSON object"))?;
        let fields = Fields::new(object);
        if let Some(asked) = fields.text("model")?.filter(|asked| *asked != self.name) {
            return Err(Fault::unknown_model(asked, &self.name));
        }
        known::refuse_others(object, api.own(), "")?;
        let mut asked = Asked::read(object, &self.limits)?;
        let prompts = match api {
            Api::Chat => {
                let top = chat_log_probs(fields)?;
                top.into_iter().for_each(|top| asked.with_log_probs(top));
                vec![self.chat(object, &asked)?]
            }
            Api::Completions => {
                let completion = Completion::read(object, &self.limits)?;
                completion.log_probs.into_iter().for_each(|top| asked.with_log_probs(top));
                let prompt = |raw| self.completion(raw, completion.echo, &asked);
                completion.prompts.into_iter().map(prompt).collect::<Result<_, _>>()?
            }
        };
        Ok(Ready { api, asked, prompts, number })
    }

    fn chat(&self, object: &Map<String, Value>, asked: &Asked) -> Result<Prompt, Fault> {
        let chat = Chat::read(object, &self.limits, &self.pictures)?;
        let options = ChatOptions { add_generation_prompt: true, tools: Vec::new() };
        if !chat.pictures.is_empty() {
            // Pixels are looked at only when it is known that they fit.
            let sizes = sizes(&chat.pictures)?;
            let sizes = Sizes { pictures: &sizes, videos: &[] };
            let measured = self.processor.measure(&chat.messages, sizes, &options, None).map_err(refusal)?;
            self.room(Api::Chat, measured.tokens, asked)?;
        }
        let pictures = decode(&chat.pictures)?;
        let input = self.processor.encode(&chat.messages, &pictures, &options).map_err(refusal)?;
        self.prompt(Api::Chat, input, &chat.pictures, asked)
    }

    fn completion(&self, raw: RawPrompt, echo: bool, asked: &Asked) -> Result<Prompt, Fault> {
        let (ids, text) = match raw {
            RawPrompt::Text(text) => (self.processor.tokenizer().encode(&text).map_err(refusal)?, Some(text)),
            RawPrompt::Ids(ids) => (ids, None),
        };
        if ids.iter().any(|id| self.placeholders.contains(id)) {
            let reason = "holds the placeholder of a picture or video; show those in /v1/chat/completions";
            return Err(Fault::field("prompt", reason));
        }
        let echo = echo.then(|| text.unwrap_or_else(|| self.processor.decode(&ids, false)));
        let input = PolicyInput::of_text(ids);
        Ok(Prompt { echo: echo.unwrap_or_default(), ..self.prompt(Api::Completions, input, &[], asked)? })
    }

    fn prompt(&self, api: Api, input: PolicyInput, pictures: &[Picture], asked: &Asked) -> Result<Prompt, Fault> {
        let max_new_tokens = self.room(api, input.ids().len(), asked)?;
        let mut hash = Sha256::new();
        input.ids().iter().for_each(|id| hash.update(id.to_le_bytes()));
        pictures.iter().for_each(|picture| hash.update(picture.sha256()));
        let sampling = Sampling { max_new_tokens, ..asked.sampling.clone() };
        Ok(Prompt { input, echo: String::new(), key: hex(&hash.finalize()), sampling })
    }

    /// Tokens that an answer to a prompt of so many may have.
    fn room(&self, api: Api, tokens: usize, asked: &Asked) -> Result<usize, Fault> {
        let Limits { context, prompt_tokens, new_tokens, .. } = self.limits;
        let most = prompt_tokens.min(context.saturating_sub(1));
        if tokens > most {
            let reason = format!("the prompt has {tokens} tokens, and at most {most} are taken; shorten it");
            return Err(Fault::too_long(api.field(), reason));
        }
        let left = context - tokens;
        match asked.max_tokens {
            Some((wanted, field)) if wanted > left => {
                let reason = format!(
                    "{wanted} tokens after a prompt of {tokens} are more than the context of {context}; ask for at most {left}"
                );
                Err(Fault::too_long(field, reason))
            }
            Some((wanted, _)) => Ok(wanted),
            None => Ok(USUAL_TOKENS[usize::from(api == Api::Completions)].min(left).min(new_tokens.unwrap_or(left))),
        }
    }
}

/// How many of the likeliest tokens a chat wants the log-probs of, where it wants log-probs.
fn chat_log_probs(fields: Fields<'_>) -> Result<Option<usize>, Fault> {
    let wanted = fields.flag("logprobs")?;
    let top = fields.count("top_logprobs", 0, Sampling::MOST_TOP_LOG_PROBS)?;
    match top {
        Some(1..) if !wanted => Err(Fault::field("top_logprobs", "goes with \"logprobs\": true; send both or neither")),
        top => Ok(wanted.then_some(top.unwrap_or(0))),
    }
}

/// Heights and widths of pictures, as their heads have them: nothing is decoded that is too large.
fn sizes(pictures: &[Picture]) -> Result<Vec<[usize; 2]>, Fault> {
    let (mut sizes, mut pixels) = (Vec::with_capacity(pictures.len()), 0);
    for (index, picture) in pictures.iter().enumerate() {
        let (width, height) = picture.size().map_err(|error| not_decoded(index, &error))?;
        pixels += u64::from(width) * u64::from(height);
        if pixels > MOST_PIXELS {
            let reason = format!("the pictures have more than {MOST_PIXELS} pixels; scale them down first");
            return Err(Fault::field("messages", reason));
        }
        sizes.push([height as usize, width as usize]);
    }
    Ok(sizes)
}

fn decode(pictures: &[Picture]) -> Result<Vec<image::RgbImage>, Fault> {
    let all = pictures.iter().enumerate();
    all.map(|(index, picture)| picture.decode().map_err(|error| not_decoded(index, &error))).collect()
}

fn not_decoded(index: usize, error: &dyn std::fmt::Display) -> Fault {
    Fault::field("messages", format!("picture {}: {error}", index + 1))
}

/// Tokens that a message has beside its text, at least: by how much two messages are longer than one.
pub(super) fn frame_tokens(processor: &Processor) -> usize {
    let options = ChatOptions { add_generation_prompt: false, tools: Vec::new() };
    let length = |count: usize| {
        let message = ChatMessage { role: "user".to_owned(), content: Value::from(""), tool_calls: None };
        processor.encode(&vec![message; count], &[], &options).map(|input| input.ids().len())
    };
    match (length(1), length(2)) {
        (Ok(one), Ok(two)) => two.saturating_sub(one).max(1),
        // A template that does not take such messages.
        _ => 1,
    }
}

fn refusal(error: PolicyError) -> Fault {
    match error {
        PolicyError::Input(reason) => Fault::field("messages", reason),
        other => Fault::internal(&other.to_string()),
    }
}

impl Ready {
    /// What the engine is asked for some samples of a prompt. With a seed of its own a sample depends on that, on what is
    /// asked and on its number alone; without one, on the number of the request.
    pub(super) fn request(&self, prompt: usize, samples: &[usize], attempt: usize) -> Request {
        let Prompt { input, key, sampling, .. } = &self.prompts[prompt];
        let own = match self.asked.seed {
            Some(_) => String::new(),
            None => format!(":{}:{prompt}", self.number),
        };
        let place = format!("serve:{attempt}{own}");
        let seed = self.asked.seed.unwrap_or(0);
        let seeds = samples.iter().map(|sample| seed_of(seed, &place, key, *sample)).collect();
        Request { query_id: String::new(), prompt: input.clone(), seeds, sampling: sampling.clone(), follow: None }
    }

    /// Tokens of all prompts, pictures included.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(|prompt| prompt.input.ids().len()).sum()
    }

    /// How many answers are wanted.
    pub(super) fn choices(&self) -> usize {
        self.prompts.len() * self.asked.samples
    }
}
