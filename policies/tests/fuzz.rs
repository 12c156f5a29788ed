//! What a checkpoint's folder holds, changed in every way: read or refused by name, within time and memory.

#[path = "../../tests/fuzz/kit.rs"]
mod kit;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use sapo_policies::processor::{ChatMessage, ChatOptions, ChatTemplate, Tokenizer};
use sapo_policies::{Config, Policy};
use serde_json::json;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl").join(name)
}

fn read(name: &str) -> Vec<u8> {
    fs::read(fixture(name)).expect("fixtures")
}

#[test]
fn heads_of_safetensors_are_read_or_refused() {
    let config = String::from_utf8(read("tiny-moe/config.json")).expect("text");
    let config = Config::from_json(&config, "config.json").expect("a config");
    let file = read("tiny-moe/model.safetensors");
    // The values are left alone: what is said of them is what is changed.
    let length = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
    let (head, values) = file.split_at(8 + length);
    let words =
        ["\"dtype\":\"F32\"", "\"BF16\"", "\"I64\"", "\"shape\":[1,1]", "\"data_offsets\":[0,4]", "__metadata__"];
    let device = Device::flex();
    kit::Door { name: "weights", seeds: vec![head.to_vec()], words: &words, mend: Some(with_its_length) }.run(|head| {
        let bytes = [head, values].concat();
        Policy::from_bytes(config.clone(), &bytes, "model.safetensors", &device).is_ok()
    });
}

/// Makes the length right that stands before the head.
fn with_its_length(bytes: &mut [u8]) {
    if bytes.len() > 8 {
        let length = bytes.len() as u64 - 8;
        bytes[..8].copy_from_slice(&length.to_le_bytes());
    }
}

#[test]
fn configs_are_read_or_refused() {
    let seeds = ["tiny-dense/config.json", "tiny-moe/config.json"].map(read).to_vec();
    let words =
        ["\"num_hidden_layers\":", "\"hidden_size\":", "\"rope_scaling\":", "\"mrope_section\":[", "\"text_config\":{"];
    kit::Door { name: "config", seeds, words: &words, mend: None }.run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        Config::from_json(text, "config.json").is_ok()
    });
}

#[test]
fn tokenizers_are_read_or_refused() {
    let words = [
        "\"type\":\"Replace\"",
        "\"pattern\":{\"Regex\":\"(a*)*b\"}",
        "\"truncation\":{",
        "\"padding\":{\"strategy\":{\"Fixed\":9}",
        "\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"x\"}",
        "\"dropout\":0.5",
        "\"added_tokens\":[",
        "\"merges\":[",
    ];
    let seeds = vec![read("tiny-dense/tokenizer.json")];
    kit::Door { name: "tokenizer", seeds, words: &words, mend: None }.run(|bytes| {
        let Ok(tokenizer) = Tokenizer::from_bytes(bytes, "tokenizer.json") else { return false };
        let ids = tokenizer.encode("What is 2 + 2?\n<|im_start|>user é 日本").unwrap_or_default();
        _ = tokenizer.decode(&ids, true);
        _ = (tokenizer.bytes().get(0).len(), tokenizer.special_tokens(), tokenizer.largest_id());
        true
    });
}

#[test]
fn chat_templates_are_rendered_or_refused() {
    let words = [
        "{% for i in range(99999) %}",
        "{% endfor %}",
        "{{ messages }}",
        "{% set ns = namespace(x='ab') %}",
        "{% set ns.x = ns.x + ns.x %}",
        "{{ 'a' * 999999999 }}",
        "{{ '%9999999d' % 1 }}",
        "{% macro a() %}{{ a() }}{% endmacro %}",
        "{{ a() }}",
        "|tojson(indent=9999999)",
        "|length",
        "{% if ",
        "%}",
        "{{",
        "}}",
        "~",
        "**",
        "|center(99999999)",
        ".join(messages)",
    ];
    let message = |role: &str| -> ChatMessage {
        serde_json::from_value(json!({"role": role, "content": [{"type": "text", "text": "What?"}, {"type": "image"}]}))
            .expect("a message")
    };
    let messages = [message("system"), message("user")];
    let loops = b"{% set ns = namespace(x='ab') %}{% for m in messages %}{% set ns.x = ns.x ~ m.role %}{{ ns.x|length }}{% endfor %}";
    let seeds = vec![read("tiny-dense/chat_template.jinja"), loops.to_vec()];
    kit::Door { name: "template", seeds, words: &words, mend: None }.run(|bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Ok(template) = ChatTemplate::new(text, "chat_template.jinja") else { return false };
        template.render(&messages, &ChatOptions { add_generation_prompt: true, tools: Vec::new() }).is_ok()
    });
}
