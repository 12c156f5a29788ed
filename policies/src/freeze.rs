//! Freeze groups: the parts of a policy that training may leave as they are.

use serde::{Deserialize, Serialize};

use crate::error::{PolicyError, Result};
use crate::param::{ADAPTER_PREFIX, Param, Parameters};
use crate::policy::Policy;

/// A part of a policy; every parameter belongs to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

/// Whether training changes anything of a part.
pub(crate) fn trains(part: &impl Parameters) -> bool {
    let mut any = false;
    part.visit(&mut |param: &Param| any |= param.trains);
    any
}

/// The known name that is most like `name`, as the end of a sentence.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let best = known.max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    best.map(|best| format!("; did you mean `{best}`?")).unwrap_or_default()
}

impl Policy {
    /// The parts that this policy has.
    pub fn parts(&self) -> Vec<Part> {
        let has = |part: &Part| self.parameters().iter().any(|param| Part::of(&param.name) == *part);
        Part::ALL.into_iter().filter(has).collect()
    }

    /// Refuses parts that this policy does not have.
    ///
    /// # Errors
    /// Names the part, what the policy has, and the nearest of that.
    pub fn check_parts(&self, parts: &[Part]) -> Result<()> {
        let own = self.parts();
        let Some(missing) = parts.iter().find(|part| !own.contains(part)) else { return Ok(()) };
        let names: Vec<&str> = own.iter().map(|part| part.name()).collect();
        Err(PolicyError::input(format!(
            "this model has no `{missing}`, but {}{}",
            names.join(", "),
            nearest(missing.name(), names.iter().copied())
        )))
    }

    /// Leaves `parts` out of training, whether they are the model's own parameters or an adapter's: they get neither
    /// gradients nor optimizer state.
    ///
    /// # Errors
    /// When the policy does not have one of them, or nothing is left that trains.
    pub fn freeze(&mut self, parts: &[Part]) -> Result<()> {
        self.check_parts(parts)?;
        self.visit_mut(&mut |param| param.trains &= !Part::of(&param.name).is_frozen_by(parts));
        if self.trained().is_empty() {
            return Err(PolicyError::input("every part is frozen, so nothing is left to train; take one out"));
        }
        Ok(())
    }

    /// Numbers in the parameters that training changes.
    pub fn trained_count(&self) -> usize {
        self.trained().iter().map(|param| param.shape.iter().product::<usize>()).sum()
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
