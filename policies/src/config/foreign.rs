//! Models of other architectures, by the name that people know them by.

use serde_json::Value;

/// What is opened.
const SUPPORTED: &str = "Sapo opens Qwen3-VL, dense (`qwen3_vl`) and with experts (`qwen3_vl_moe`), such as \
                         Qwen/Qwen3-VL-2B-Instruct";

/// Model types, and what they are. A longer name stands before one that it begins with.
const KNOWN: [(&str, &str); 24] = [
    ("qwen3_vl_text", "the text decoder of Qwen3-VL alone, without its vision tower"),
    ("qwen3_omni", "Qwen3-Omni"),
    ("qwen3_next", "Qwen3-Next, a text-only model"),
    ("qwen3_5", "Qwen3.5"),
    ("qwen3_moe", "Qwen3 with experts, a text-only model"),
    ("qwen3", "Qwen3, a text-only model"),
    ("qwen2_5_vl", "Qwen2.5-VL"),
    ("qwen2_5_omni", "Qwen2.5-Omni"),
    ("qwen2_vl", "Qwen2-VL"),
    ("qwen2_moe", "Qwen2 with experts, a text-only model"),
    ("qwen2", "Qwen2 or Qwen2.5, a text-only model"),
    ("llava", "LLaVA"),
    ("internvl", "InternVL"),
    ("mllama", "Llama 3.2 Vision"),
    ("llama4", "Llama 4"),
    ("llama", "Llama, a text-only model"),
    ("gemma3", "Gemma 3"),
    ("gemma", "Gemma"),
    ("mistral3", "Mistral 3"),
    ("mistral", "Mistral, a text-only model"),
    ("idefics", "Idefics"),
    ("smolvlm", "SmolVLM"),
    ("deepseek", "DeepSeek"),
    ("glm", "GLM"),
];

/// What a `config.json` is of, where that is no Qwen3-VL, with what is supported.
pub(super) fn fault(config: &Value) -> Option<String> {
    let kind = config["model_type"].as_str().unwrap_or_default();
    let architecture = config["architectures"][0].as_str().unwrap_or_default();
    let parts = ["text_config", "vision_config"].into_iter().map(|part| (part, &config[part]["model_type"]));
    let foreign = parts.filter(|(_, of)| !of.is_null()).find(|(_, of)| !of.as_str().is_some_and(is_of_qwen3_vl));
    if let Some((part, of)) = foreign {
        return Some(format!("`{part}.model_type` is {of}, which is no part of Qwen3-VL; {SUPPORTED}"));
    }
    if matches!(kind, "qwen3_vl" | "qwen3_vl_moe") {
        return None;
    }
    if kind.is_empty() && config.get("text_config").is_some() && !is_foreign(architecture) {
        return None;
    }
    let known = KNOWN.iter().find(|(name, _)| kind.starts_with(name)).map(|(_, words)| (*words).to_owned());
    let said: Vec<String> = [("model_type", kind), ("architectures", architecture)]
        .into_iter()
        .filter(|(_, word)| !word.is_empty())
        .map(|(key, word)| format!("`{key}` is `{word}`"))
        .collect();
    Some(match (known, said.is_empty()) {
        (Some(words), _) => format!("this is {words} ({}); {SUPPORTED}", said.join(", ")),
        (None, false) => format!("this is another architecture ({}); {SUPPORTED}", said.join(", ")),
        (None, true) => format!("it has neither `model_type` nor `text_config`, so it is of no Qwen3-VL; {SUPPORTED}"),
    })
}

/// Whether a part of a model, or the whole, is of this family by its type.
fn is_of_qwen3_vl(kind: &str) -> bool {
    kind.starts_with("qwen3_vl")
}

fn is_foreign(architecture: &str) -> bool {
    !architecture.is_empty() && !architecture.starts_with("Qwen3VL")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn others_are_named_with_what_is_supported() {
        for (kind, architecture, words) in [
            ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", "this is Qwen2.5-VL ("),
            ("qwen3", "Qwen3ForCausalLM", "this is Qwen3, a text-only model"),
            ("qwen3_moe", "Qwen3MoeForCausalLM", "with experts, a text-only model"),
            ("llava_onevision", "LlavaOnevisionForConditionalGeneration", "LLaVA"),
            ("unheard_of", "UnheardOf", "`model_type` is `unheard_of`"),
        ] {
            let said = fault(&json!({"model_type": kind, "architectures": [architecture]})).expect("a fault");
            assert!(said.contains(words) && said.contains("qwen3_vl_moe"), "{said}");
        }
        let part = json!({"model_type": "qwen3_vl", "text_config": {"model_type": "llama"}});
        assert!(fault(&part).is_some_and(|said| said.contains("`text_config.model_type` is \"llama\"")));
        let tower = json!({"model_type": "qwen3_vl", "vision_config": {"model_type": 5}});
        assert!(fault(&tower).is_some_and(|said| said.contains("`vision_config.model_type` is 5")));
        assert!(fault(&json!({"hidden_size": 3})).is_some_and(|said| said.contains("neither")));
        assert_eq!(
            fault(&json!({"model_type": "qwen3_vl", "architectures": ["Qwen3VLForConditionalGeneration"]})),
            None
        );
        assert_eq!(fault(&json!({"text_config": {}, "vision_config": {}})), None);
    }
}
