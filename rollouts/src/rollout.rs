//! The token record of one sample, turn by turn.

use sapo_datasets::{Role, StopReason};
use sapo_policies::{Completion, PolicyInput};

/// One turn of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub enum Turn {
    /// What the policy sampled: these tokens are in the loss.
    Sampled {
        /// Token ids, the stop token included.
        ids: Vec<u32>,
        /// Log-prob of each when it was sampled, at the sampling temperature, before any truncation.
        log_probs: Vec<f32>,
        /// Log-prob of each at temperature 1, where they were asked for.
        untempered: Vec<f32>,
        /// Why the turn ended.
        stop: StopReason,
        /// The text that ended it, when one of [`crate::Sampling::stop`] did. The turn's text ends before it, its tokens do not.
        stop_text: Option<String>,
    },
    /// What was put behind it, such as the result of a tool: the template's text for that turn alone, perhaps with
    /// pictures. It is in no loss.
    Injected {
        /// Who speaks.
        role: Role,
        /// Token ids with their pictures.
        input: PolicyInput,
    },
}

impl Turn {
    /// The turn's token ids.
    pub fn ids(&self) -> &[u32] {
        match self {
            Self::Sampled { ids, .. } => ids,
            Self::Injected { input, .. } => input.ids(),
        }
    }

    /// Whether the policy sampled it.
    pub fn is_sampled(&self) -> bool {
        matches!(self, Self::Sampled { .. })
    }
}

/// One sampled answer. The ids are the record: they are never tokenised again.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Number of the sample within its group.
    pub sample: usize,
    /// The seed that it was drawn with.
    pub seed: u64,
    /// The turns after the prompt; the first is the policy's.
    pub turns: Vec<Turn>,
    /// Updates of the policy when it was sampled.
    pub policy_version: u64,
    /// Mean entropy (nats) of the distributions that the tokens were drawn from, before truncation.
    pub entropy: f32,
    /// Mean probability mass that top-k and top-p removed.
    pub truncated_mass: f32,
    /// Why it ended.
    pub stop: StopReason,
}

impl Rollout {
    /// Ids of all turns, in order.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.turns.iter().flat_map(|turn| turn.ids().iter().copied())
    }

    /// How many tokens the policy sampled.
    pub fn sampled(&self) -> usize {
        self.turns.iter().filter(|turn| turn.is_sampled()).map(|turn| turn.ids().len()).sum()
    }

    /// The log-probs of the sampled tokens, in order.
    pub fn log_probs(&self) -> Vec<f32> {
        let of_turn = |turn: &Turn| match turn {
            Turn::Sampled { log_probs, .. } => log_probs.clone(),
            Turn::Injected { .. } => Vec::new(),
        };
        self.turns.iter().flat_map(of_turn).collect()
    }

    /// The rollout as what follows its prompt in a batch: tokens, which of them were sampled, pictures.
    pub fn completion(&self) -> Completion {
        let mut completion = Completion::default();
        for turn in &self.turns {
            match turn {
                Turn::Sampled { ids, .. } => completion.push_sampled(ids),
                Turn::Injected { input, .. } => completion.push_injected(input),
            }
        }
        completion
    }
}
