//! What each kind of server is sent, word for word, and what is made of its answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sapo_datasets::{Role, StopReason};
use sapo_policies::processor::{ImageProcessor, Tokenizer};
use sapo_policies::{PictureInput, PolicyInput};
use sapo_rollouts::{EngineConfig, EngineKind, Follow, Next, Request, Sampling, ServerLogProbs, Turn};
use serde_json::{Value, json};

use crate::kinds::{Openai, Sglang, Vllm};
use crate::mock::{Fault, Mock, said};
use crate::{complete, config, engine, first, model, request, requests, sample, seed_at};

/// All that can be asked of a sampling.
fn everything() -> Sampling {
    Sampling {
        top_p: 0.5,
        top_k: 7,
        min_p: 0.25,
        repetition_penalty: 1.5,
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        logit_bias: vec![(5, 1.5)],
        stop_ids: vec![9],
        stop: vec!["###".to_owned()],
        banned_ids: vec![8],
        ..Sampling::at(0.5, 6)
    }
}

/// The bias of [`everything`]: the policy's own bans come first.
fn bias() -> Value {
    let mut bias = serde_json::Map::new();
    bias.insert("5".to_owned(), json!(1.5));
    for id in model().policy.banned.iter().chain(&[8]) {
        bias.insert(id.to_string(), json!(-100.0));
    }
    Value::Object(bias)
}

fn stops() -> Vec<u32> {
    [model().processor.stop_ids(), &[9]].concat()
}

#[test]
fn vllm_is_asked_for_everything_under_its_own_names() {
    let server = Mock::start(Vllm::of_text());
    let asked = Request { sampling: everything(), ..request("a", 1) };
    let engine = engine(&config(EngineKind::Vllm, &[&server]));
    let groups = sample(&engine, std::slice::from_ref(&asked)).expect("samples");
    let rollout = &groups[0].as_ref().expect("an answer")[0];
    let (_, log_probs, untempered) = first(rollout);
    assert!(log_probs.is_empty() && !untempered.is_empty(), "raw log-probs are not those at temperature 0.5");
    assert!(rollout.truncated_mass.is_nan(), "nobody tells it");
    let body = json!({
        "model": "base", "temperature": 0.5, "seed": seed_at(EngineKind::Vllm, asked.seeds[0]), "return_token_ids": true,
        "return_tokens_as_token_ids": true, "skip_special_tokens": false, "stop_token_ids": stops(), "top_k": 7,
        "logit_bias": bias(), "top_p": 0.5, "min_p": 0.25, "repetition_penalty": 1.5, "presence_penalty": 0.5,
        "frequency_penalty": 0.25, "stop": ["###"], "prompt": asked.prompt.ids(), "max_tokens": 6, "logprobs": 1,
    });
    assert_eq!(server.state.bodies("/v1/completions"), [body]);
    server.content();
}

#[test]
fn sglang_is_asked_for_everything_under_its_own_names() {
    let server = Mock::start(Sglang::of_text());
    // Its log-probs are taken before truncation, but after penalties and bias.
    let sampling = Sampling {
        repetition_penalty: 1.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        logit_bias: Vec::new(),
        ..everything()
    };
    let asked = [Request { sampling: everything(), ..request("a", 1) }, Request { sampling, ..request("b", 1) }];
    let groups = sample(&engine(&config(EngineKind::Sglang, &[&server])), &asked).expect("samples");
    let recorded: Vec<bool> =
        groups.iter().map(|group| !first(&group.as_ref().expect("an answer")[0]).1.is_empty()).collect();
    assert_eq!(recorded, [false, true]);
    let body = json!({
        "input_ids": asked[0].prompt.ids(), "return_logprob": true, "stream": false,
        "sampling_params": {
            "temperature": 0.5, "max_new_tokens": 6, "stop_token_ids": stops(), "skip_special_tokens": false,
            "no_stop_trim": true, "sampling_seed": seed_at(EngineKind::Sglang, asked[0].seeds[0]), "top_k": 7,
            "logit_bias": bias(), "top_p": 0.5, "min_p": 0.25, "repetition_penalty": 1.5, "presence_penalty": 0.5,
            "frequency_penalty": 0.25, "stop": ["###"],
        },
    });
    assert!(server.state.bodies("/generate").contains(&body), "{:?}", server.state.bodies("/generate"));
    server.content();
}

#[test]
fn answers_out_of_order_go_where_they_belong() {
    for kind in [EngineKind::Vllm, EngineKind::Sglang] {
        let server = match kind {
            EngineKind::Vllm => Mock::start(Vllm::of_text()),
            _ => Mock::start(Sglang::of_text()),
        };
        server.state.hold.store(12, Ordering::SeqCst);
        let requests = requests(4, 3);
        let config = EngineConfig { max_in_flight: 12, ..config(kind, &[&server]) };
        complete(kind, &requests, &sample(&engine(&config), &requests).expect("samples"));
        server.content();
    }
}

/// What cannot be said is a fault of its request alone, which names the key.
#[test]
fn what_a_server_cannot_be_told_is_refused_by_name() {
    let vllm = Mock::start(Vllm::of_text());
    let openai = Mock::start(Openai { text: "x", content: Value::Null });
    let of = |kind, server: &Mock, sampling: Sampling| {
        let asked = Request { sampling, ..request("a", 1) };
        let groups = sample(&engine(&config(kind, &[server])), &[asked]).expect("samples");
        groups.into_iter().next().expect("a group").expect_err("it is refused")
    };
    let plain = || Sampling::at(1.0, 4);
    let large = Sampling { logit_bias: vec![(3, -200.0)], ..plain() };
    assert!(of(EngineKind::Vllm, &vllm, large).contains("`logit_bias`"));
    assert!(of(EngineKind::Vllm, &vllm, Sampling { top_log_probs: 2, ..plain() }).contains("`top_log_probs`"));
    assert!(of(EngineKind::Vllm, &vllm, Sampling { top_p: 2.0, ..plain() }).contains("top_p"));
    let penalty = Sampling { presence_penalty: -2.5, ..plain() };
    assert!(of(EngineKind::Vllm, &vllm, penalty).contains("`presence_penalty`"));
    let penalty = Sampling { repetition_penalty: 3.0, ..plain() };
    assert!(of(EngineKind::Sglang, &vllm, penalty).contains("`repetition_penalty`"));
    let keys: [(&str, Sampling); 5] = [
        ("`top_k`", Sampling { top_k: 1, ..plain() }),
        ("`min_p`", Sampling { min_p: 0.1, ..plain() }),
        ("`repetition_penalty`", Sampling { repetition_penalty: 1.1, ..plain() }),
        ("`stop_ids`", Sampling { stop_ids: vec![1], ..plain() }),
        ("`untempered`", Sampling { untempered: true, ..plain() }),
    ];
    for (key, sampling) in keys {
        assert!(of(EngineKind::Openai, &openai, sampling).contains(key), "{key}");
    }
    assert_eq!(
        (vllm.state.seen.lock().expect("a lock").len(), openai.state.seen.lock().expect("a lock").len()),
        (0, 0)
    );
}

/// A prompt with two pictures, and its texts.
fn pictured() -> (PolicyInput, PictureInput) {
    let images: &ImageProcessor = model().processor.images();
    let tokenizer: &Tokenizer = model().processor.tokenizer();
    let pixels = |salt: u8| vec![salt; 64 * 64 * 3];
    let picture = |salt: u8| {
        images.process(&image::RgbImage::from_raw(64, 64, pixels(salt)).expect("as planned")).expect("as planned")
    };
    let config = &model().policy.config;
    let mark = vec![config.image_token_id; picture(1).tokens(config.vision.spatial_merge_size)];
    let text = |text: &str| tokenizer.encode(text).expect("ids");
    let around = |mark: &[u32]| [&[config.vision_start_token_id][..], mark, &[config.vision_end_token_id]].concat();
    let ids = [text("look at "), around(&mark), text(" and "), around(&mark), text(" now")].concat();
    (PolicyInput::with_pictures(ids, vec![picture(10), picture(200)], config).expect("as planned"), picture(200))
}

#[test]
fn pictures_go_as_the_pixels_that_the_policy_sees() {
    let (prompt, second) = pictured();
    let config_ = &model().policy.config;
    let (mark, tokens) = (config_.image_token_id, second.tokens(config_.vision.spatial_merge_size));
    let ids = prompt.ids().to_vec();
    let chat = ids.clone();
    let vllm = Mock::start(Vllm { read: Box::new(move |_| chat.clone()) });
    let asked = Request { prompt: prompt.clone(), ..request("p", 2) };
    let groups = sample(&engine(&config(EngineKind::Vllm, &[&vllm])), std::slice::from_ref(&asked)).expect("samples");
    complete(EngineKind::Vllm, std::slice::from_ref(&asked), &groups);
    let body = &vllm.state.bodies("/v1/chat/completions")[0];
    let parts = body["messages"][0]["content"].as_array().expect("parts");
    let kinds: Vec<&str> = parts.iter().filter_map(|part| part["type"].as_str()).collect();
    assert_eq!(kinds, ["text", "image_url", "text", "image_url", "text"]);
    let template = body["chat_template"].as_str().expect("a template");
    assert!(template.contains("<|image_pad|>") && body["add_generation_prompt"] == false);
    // The texts with one placeholder for a picture, as the template puts them together, are read as what was sent.
    let text: String =
        parts.iter().map(|part| part["text"].as_str().unwrap_or("<|image_pad|>")).collect::<Vec<_>>().concat();
    let collapsed = model().processor.tokenizer().encode(&text).expect("ids");
    assert_eq!(collapsed.len(), ids.len() - 2 * (tokens - 1));
    vllm.content();

    // It multiplies the placeholders by what the pictures are.
    let sglang = Mock::start(Sglang { multiplied: |ids, pictures| ids.len() + pictures * (64 * 64 / 32 / 32 - 1) });
    let groups =
        sample(&engine(&config(EngineKind::Sglang, &[&sglang])), std::slice::from_ref(&asked)).expect("samples");
    let rollout = &groups[0].as_ref().expect("an answer")[0];
    let seed = seed_at(EngineKind::Sglang, asked.seeds[0]);
    let wanted = said(&collapsed, seed, 6, model().processor.stop_ids()[0]);
    assert_eq!((rollout.ids().collect::<Vec<u32>>(), rollout.log_probs()), wanted);
    let body = &sglang.state.bodies("/generate")[0];
    assert_eq!(body["input_ids"].as_array().expect("a list").iter().filter(|id| **id == json!(mark)).count(), 2);
    let urls = body["image_data"].as_array().expect("pictures");
    assert!(
        urls.iter().all(|url| url.as_str().expect("a text").starts_with("data:image/png;base64,"))
            && urls[0] != urls[1]
    );
    sglang.content();
}

/// Says one more thing after the first turn, then ends; refuses sample 2.
struct Tool(Vec<u32>);

impl Follow for Tool {
    fn follow(&self, sample: usize, turns: &[Turn]) -> Next {
        match (sample, turns.len()) {
            (2, _) => Next::Fail("it broke".to_owned()),
            (_, 1) => Next::Turn { role: Role::Tool, input: PolicyInput::of_text(self.0.clone()) },
            _ => Next::End,
        }
    }
}

#[test]
fn further_turns_are_asked_with_all_ids_so_far() {
    let server = Mock::start(Sglang::of_text());
    let tool = vec![30, 31, 32];
    let stop = model().processor.stop_ids()[0];
    let plain = request("turns", 3);
    let asked =
        Request { follow: Some(Arc::new(Tool(tool.clone()))), sampling: Sampling::at(1.0, 40), ..plain.clone() };
    let groups = sample(&engine(&config(EngineKind::Sglang, &[&server])), &[asked]).expect("samples");
    let group = groups[0].as_ref().expect("an answer");
    for rollout in &group[..2] {
        let seed = |turn: u64| seed_at(EngineKind::Sglang, rollout.seed.wrapping_add(turn));
        let one = said(plain.prompt.ids(), seed(0), 40, stop);
        let so_far = [plain.prompt.ids(), &one.0, &tool].concat();
        let two = said(&so_far, seed(2), 40 - one.0.len(), stop);
        assert_eq!(rollout.ids().collect::<Vec<u32>>(), [one.0, tool.clone(), two.0].concat());
        assert_eq!(rollout.log_probs(), [one.1, two.1].concat(), "what was injected has none");
        let sampled: Vec<bool> = rollout.turns.iter().map(Turn::is_sampled).collect();
        assert_eq!((sampled, rollout.stop), (vec![true, false, true], StopReason::Eos));
    }
    assert_eq!((group[2].stop, group[2].turns.len()), (StopReason::Error, 1));
    server.content();
}

/// The pieces of a text as a server of chat completions names them.
fn content(text: &str, more: &[Value]) -> Value {
    let processor = &model().processor;
    let mut entries: Vec<Value> = processor
        .tokenizer()
        .encode(text)
        .expect("as planned")
        .iter()
        .map(|id| json!({"token": "t", "logprob": -0.5, "bytes": processor.token_bytes(*id)}))
        .collect();
    entries.extend_from_slice(more);
    Value::Array(entries)
}

/// A prompt as the template renders it.
fn chat() -> Request {
    let text = "<|im_start|>user\nhow many?<|im_end|>\n<|im_start|>assistant\n";
    let ids = model().processor.tokenizer().encode(text).expect("ids");
    Request { prompt: PolicyInput::of_text(ids), ..request("chat", 1) }
}

#[test]
fn texts_of_chat_servers_are_tokens_only_when_that_is_proven() {
    let processor = &model().processor;
    let stop = processor.stop_ids()[0];
    let end = json!({"token": "e", "logprob": -0.25, "bytes": processor.token_bytes(stop)});
    let wanted = [processor.tokenizer().encode("three").expect("ids"), vec![stop]].concat();
    let proven = content("three", &[end]);
    let of = |content: Value, prove: bool| {
        let server = Mock::start(Openai { text: "three", content });
        // What it says of itself is compared only where its tokens are.
        if prove {
            server.state.plan([Fault::Changed(|answer| {
                answer["model"] = json!("base");
                answer["usage"] = json!({});
            })]);
        }
        let config = EngineConfig { prove_tokens: prove, ..config(EngineKind::Openai, &[&server]) };
        let group = sample(&engine(&config), &[chat()]).expect("samples").remove(0);
        let messages = &server.state.bodies("/v1/chat/completions")[0]["messages"];
        assert_eq!(*messages, json!([{"role": "user", "content": "how many?"}]));
        server.content();
        group
    };
    let rollout = of(proven.clone(), true).expect("it is proven").remove(0);
    assert_eq!(rollout.ids().collect::<Vec<u32>>(), wanted);
    assert_eq!((rollout.log_probs().len(), rollout.stop), (wanted.len(), StopReason::Eos));
    let others = [
        (Value::Null, "no log-probs"),
        (content("three", &[]), "sampled"),
        (content("threx", &[json!({"token": "e", "logprob": -0.25, "bytes": processor.token_bytes(stop)})]), ""),
    ];
    for (content, word) in others {
        let reason = of(content.clone(), true).expect_err("it is not proven");
        assert!(reason.contains("not proven") && reason.contains(word), "{reason}");
        let rollout = of(content, false).expect("it can be evaluated").remove(0);
        assert_eq!((rollout.ids().collect::<Vec<u32>>(), rollout.log_probs()), (wanted.clone(), Vec::new()));
    }
    let server = Mock::start(Openai { text: "x", content: Value::Null });
    let strange = sample(&engine(&config(EngineKind::Openai, &[&server])), &[request("a", 1)]).expect("samples");
    assert!(strange[0].as_ref().expect_err("no chat").contains("not a chat"));
}

#[test]
fn processed_log_probs_are_recorded_where_the_configuration_says_so() {
    let server = Mock::start(Vllm::of_text());
    let config = EngineConfig { log_probs: Some(ServerLogProbs::Processed), ..config(EngineKind::Vllm, &[&server]) };
    let asked = Request { sampling: Sampling::at(0.5, 6), ..request("a", 1) };
    let groups = sample(&engine(&config), &[asked]).expect("samples");
    let (ids, log_probs, untempered) = first(&groups[0].as_ref().expect("an answer")[0]);
    assert_eq!((log_probs.len(), untempered.len()), (ids.len(), 0));
    let entropy = groups[0].as_ref().expect("an answer")[0].entropy;
    assert!((entropy + log_probs.iter().sum::<f32>() / ids.len() as f32).abs() < 1e-6);
    server.content();
}
