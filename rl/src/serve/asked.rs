//! What both ways of asking share: how to sample, how many, and what the reply is to hold.

use sapo_rollouts::Sampling;
use serde_json::{Map, Value};

use super::Limits;
use super::fault::Fault;
use super::fields::{Fields, wrong};
use super::form::Form;
use super::known;

/// Samples of one request at most.
pub(super) const MOST_SAMPLES: usize = 128;
/// Stop texts of one request at most, and bytes of one.
const MOST_STOPS: usize = 16;
const LONGEST_STOP: usize = 1024;
/// Entries of `logit_bias` at most.
const MOST_BIASES: usize = 4096;
/// Smaller temperatures overflow when logits are divided by them; they mean greedy.
const LEAST_TEMPERATURE: f64 = 1e-5;

/// What is asked beside the prompt.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// How to sample; `max_new_tokens` is to be set as soon as the prompt's length is known.
    pub(super) sampling: Sampling,
    /// Tokens of an answer at most, where the request says so, and the field that does.
    pub(super) max_tokens: Option<(usize, &'static str)>,
    /// The seed that the client gave.
    pub(super) seed: Option<u64>,
    /// How many answers are wanted to each prompt.
    pub(super) samples: usize,
    /// Whether the reply is streamed.
    pub(super) stream: bool,
    /// Whether a stream ends with the counts of tokens.
    pub(super) usage: bool,
    /// Whether log-probs are wanted.
    pub(super) log_probs: bool,
    /// Whether token ids are wanted.
    pub(super) token_ids: bool,
    /// What an answer must be.
    pub(super) form: Form,
}

impl Asked {
    /// Reads the fields.
    pub(super) fn read(object: &Map<String, Value>, limits: &Limits) -> Result<Self, Fault> {
        let fields = Fields::new(object);
        let stream = fields.flag("stream")?;
        let options = fields.object("stream_options")?;
        if options.is_some() && !stream {
            return Err(Fault::field("stream_options", "goes with \"stream\": true; leave it out"));
        }
        let usage = match options {
            Some(options) => {
                known::refuse_others(options, &known::STREAM_OPTIONS, "stream_options")?;
                Fields::new(options).flag("include_usage")?
            }
            None => false,
        };
        let most = limits.new_tokens.unwrap_or(limits.context).max(1);
        let old = fields.count("max_tokens", 1, most)?.map(|tokens| (tokens, "max_tokens"));
        let new = fields.count("max_completion_tokens", 1, most)?.map(|tokens| (tokens, "max_completion_tokens"));
        Ok(Self {
            sampling: sampling(fields, limits.vocabulary)?,
            max_tokens: new.or(old),
            seed: fields.seed("seed")?,
            samples: fields.count("n", 1, MOST_SAMPLES)?.unwrap_or(1),
            stream,
            usage,
            log_probs: false,
            token_ids: fields.flag("return_token_ids")?,
            form: Form::read(fields.object("response_format")?)?,
        })
    }

    /// Asks for the log-probs of the tokens, those at temperature 1, with `top` of the likeliest beside each.
    pub(super) fn with_log_probs(&mut self, top: usize) {
        self.log_probs = true;
        self.sampling.untempered = true;
        self.sampling.top_log_probs = top;
    }
}

fn sampling(fields: Fields<'_>, vocabulary: usize) -> Result<Sampling, Fault> {
    let number = |name: &str, least: f64, most: f64, usual: f64| -> Result<f64, Fault> {
        Ok(fields.number(name, least..=most)?.unwrap_or(usual))
    };
    let temperature = number("temperature", 0.0, 2.0, 1.0)?;
    let top_p = number("top_p", 0.0, 1.0, 1.0)?;
    if top_p <= 0.0 {
        return Err(Fault::field("top_p", "0 would keep no token; give a share above 0, or temperature 0 for greedy"));
    }
    let repetition_penalty = number("repetition_penalty", 0.0, 10.0, 1.0)?;
    if repetition_penalty <= 0.0 {
        return Err(Fault::field("repetition_penalty", "0 would divide by nothing; 1 changes nothing"));
    }
    // Other servers write -1 for all tokens.
    let top_k = fields.whole("top_k", -1..=i64::from(u32::MAX))?.unwrap_or(0);
    Ok(Sampling {
        top_p,
        top_k: usize::try_from(top_k).unwrap_or(0),
        min_p: number("min_p", 0.0, 1.0, 0.0)?,
        repetition_penalty,
        presence_penalty: number("presence_penalty", -2.0, 2.0, 0.0)?,
        frequency_penalty: number("frequency_penalty", -2.0, 2.0, 0.0)?,
        logit_bias: logit_bias(fields, vocabulary)?,
        stop_ids: fields.ids("stop_token_ids", vocabulary)?,
        stop: stops(fields)?,
        ..Sampling::at(if temperature < LEAST_TEMPERATURE { 0.0 } else { temperature }, 1)
    })
}

fn logit_bias(fields: Fields<'_>, vocabulary: usize) -> Result<Vec<(u32, f32)>, Fault> {
    let wanted = format!("{{\"ID\": BIAS}} with token ids below {vocabulary} and numbers from -100 to 100");
    let Some(object) = fields.object("logit_bias")? else { return Ok(Vec::new()) };
    if object.len() > MOST_BIASES {
        return Err(Fault::field("logit_bias", format!("more than {MOST_BIASES} tokens; name fewer")));
    }
    let one = |(id, bias): (&String, &Value)| {
        let id = id.parse::<u32>().ok().filter(|id| (*id as usize) < vocabulary)?;
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias))?;
        Some((id, bias as f32))
    };
    let pairs: Option<Vec<(u32, f32)>> = object.iter().map(one).collect();
    pairs.ok_or_else(|| wrong("logit_bias", &Value::Object(object.clone()), &wanted))
}

fn stops(fields: Fields<'_>) -> Result<Vec<String>, Fault> {
    let Some(value) = fields.get("stop") else { return Ok(Vec::new()) };
    let texts = match value {
        Value::Array(list) => list.iter().map(Value::as_str).collect::<Option<Vec<_>>>(),
        other => other.as_str().map(|text| vec![text]),
    };
    let wanted = format!("a text or up to {MOST_STOPS} texts, each of 1 to {LONGEST_STOP} bytes");
    let fit = |texts: &Vec<&str>| {
        texts.len() <= MOST_STOPS && texts.iter().all(|text| (1..=LONGEST_STOP).contains(&text.len()))
    };
    let texts = texts.filter(fit).ok_or_else(|| wrong("stop", value, &wanted))?;
    Ok(texts.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: Limits =
        Limits { new_tokens: Some(64), prompt_tokens: 100, context: 128, vocabulary: 300, frame_tokens: 5 };

    fn read(body: &Value) -> Result<Asked, Fault> {
        Asked::read(body.as_object().expect("an object"), &LIMITS)
    }

    #[test]
    fn what_is_left_out_has_the_usual_meaning() {
        let asked = read(&json!({"user": "me", "tools": [], "logit_bias": {}, "stop": null, "suffix": ""})).unwrap();
        assert_eq!(asked.sampling, Sampling::at(1.0, 1));
        assert_eq!((asked.seed, asked.samples, asked.max_tokens, asked.stream), (None, 1, None, false));
    }

    #[test]
    fn every_field_reaches_the_sampler() {
        let asked = read(&json!({
            "temperature": 1e-9, "top_p": 0.5, "top_k": -1, "min_p": 0.1, "repetition_penalty": 1.2,
            "presence_penalty": -1, "frequency_penalty": 0.5, "logit_bias": {"7": -100}, "stop": "x", "seed": -1,
            "stop_token_ids": [3], "max_tokens": 9, "max_completion_tokens": 7, "n": 3,
        }));
        let asked = asked.unwrap();
        let expected = Sampling {
            top_p: 0.5,
            min_p: 0.1,
            repetition_penalty: 1.2,
            presence_penalty: -1.0,
            frequency_penalty: 0.5,
            logit_bias: vec![(7, -100.0)],
            stop: vec!["x".to_owned()],
            stop_ids: vec![3],
            ..Sampling::greedy(1)
        };
        assert_eq!(asked.sampling, expected);
        assert_eq!(asked.max_tokens, Some((7, "max_completion_tokens")));
        assert_eq!((asked.seed, asked.samples), (Some(u64::MAX), 3));
    }
}
