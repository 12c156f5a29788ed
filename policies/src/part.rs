//! The parts of a model, which training may leave as they are: every parameter belongs to one, by its name in files.

use serde::{Deserialize, Serialize};

/// What the names of an adapter's parameters begin with in files; the name of the adapted map follows.
pub(crate) const ADAPTER_PREFIX: &str = "base_model.model.";

/// A part of a policy; every parameter belongs to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The vision tower without its mergers: patch embedding, position table and blocks.
    Vision,
    /// What turns the tower's last output into tokens.
    Merger,
    /// The mergers of the outputs that DeepStack taps.
    Deepstack,
    /// The layers of the text decoder without experts and routers, and its final norm.
    Text,
    /// The embedding table, which is the head as well when that is tied.
    Embeddings,
    /// The experts of sparse layers.
    Experts,
    /// The routers of sparse layers.
    Router,
    /// The head, unless it is the embedding table; freezing the embeddings freezes it as well.
    Head,
}

impl Part {
    /// All parts that a policy can have.
    pub const ALL: [Self; 8] = [
        Self::Vision,
        Self::Merger,
        Self::Deepstack,
        Self::Text,
        Self::Embeddings,
        Self::Experts,
        Self::Router,
        Self::Head,
    ];

    /// Whether freezing `parts` freezes this one.
    pub fn is_frozen_by(self, parts: &[Self]) -> bool {
        parts.contains(&self) || self == Self::Head && parts.contains(&Self::Embeddings)
    }

    /// The part that a parameter belongs to, by its name in files; an adapter's belongs to that of the map beside it.
    pub fn of(parameter: &str) -> Self {
        let name = parameter.strip_prefix(ADAPTER_PREFIX).unwrap_or(parameter);
        if name.starts_with("model.visual.deepstack_merger_list.") {
            Self::Deepstack
        } else if name.starts_with("model.visual.merger.") {
            Self::Merger
        } else if name.starts_with("model.visual.") {
            Self::Vision
        } else if name.starts_with("lm_head.") {
            Self::Head
        } else if name.contains(".embed_tokens.") {
            Self::Embeddings
        } else if name.contains(".mlp.experts.") {
            Self::Experts
        } else if name.contains(".mlp.gate.") {
            Self::Router
        } else {
            Self::Text
        }
    }

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Merger => "merger",
            Self::Deepstack => "deepstack",
            Self::Text => "text",
            Self::Embeddings => "embeddings",
            Self::Experts => "experts",
            Self::Router => "router",
            Self::Head => "head",
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_part() {
        for (name, part) in [
            ("model.visual.patch_embed.proj.weight", Part::Vision),
            ("model.visual.pos_embed.weight", Part::Vision),
            ("model.visual.blocks.3.mlp.linear_fc1.bias", Part::Vision),
            ("model.visual.merger.linear_fc2.weight", Part::Merger),
            ("model.visual.deepstack_merger_list.0.norm.bias", Part::Deepstack),
            ("model.language_model.embed_tokens.weight", Part::Embeddings),
            ("lm_head.weight", Part::Head),
            ("model.language_model.layers.0.mlp.gate_proj.weight", Part::Text),
            ("model.language_model.layers.0.mlp.gate.weight", Part::Router),
            ("model.language_model.layers.0.mlp.experts.gate_up_proj", Part::Experts),
            ("model.language_model.norm.weight", Part::Text),
            ("base_model.model.model.visual.merger.linear_fc1.lora_A.weight", Part::Merger),
        ] {
            assert_eq!(Part::of(name), part, "{name}");
        }
    }

    #[test]
    fn the_head_is_frozen_with_the_embeddings_and_not_the_other_way() {
        assert!(Part::Head.is_frozen_by(&[Part::Embeddings]) && Part::Head.is_frozen_by(&[Part::Head]));
        assert!(!Part::Embeddings.is_frozen_by(&[Part::Head]) && !Part::Head.is_frozen_by(&[Part::Text]));
    }

    #[test]
    fn names_in_configurations_are_the_names_that_are_said() {
        for part in Part::ALL {
            assert_eq!(serde_json::to_value(part).expect("a word"), part.name());
        }
    }
}
