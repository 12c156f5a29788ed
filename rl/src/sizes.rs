//! What a model of given sizes needs in memory, by number format and training method: worked out, nothing is made.

use std::collections::BTreeMap;

use sapo_policies::Config;
use sapo_policies::Part;
use sapo_policies::sizes::tensors;
use sapo_policies::{TensorShape, WeightFormat};
use serde::Serialize;

/// Bytes of an f32.
const F32: u64 = 4;
/// Moments that AdamW keeps for a number that trains.
pub(crate) const MOMENTS: u64 = 2;

/// What trains.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// Nothing: the model only answers.
    Inference,
    /// Everything but the frozen parts.
    Full,
    /// Adapters of this rank beside the linear maps of the text decoder; everything else is frozen.
    Lora {
        /// The rank.
        rank: usize,
    },
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The format that weights are kept in.
    pub format: WeightFormat,
    /// What trains.
    pub method: Method,
    /// Parts that do not.
    pub frozen: Vec<Part>,
    /// Sequences that are decoded together.
    pub batch: usize,
    /// Tokens of each.
    pub context: usize,
    /// Whether a layer keeps its input alone and runs again on the way back.
    pub recompute: bool,
}

/// A part of the model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartSize {
    /// Which one.
    pub part: Part,
    /// Its tensors.
    pub tensors: usize,
    /// Its numbers.
    pub parameters: u64,
    /// How many of them train.
    pub trainable: u64,
}

/// Bytes of everything that is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MemorySize {
    /// The model's own weights in the chosen format.
    pub weights: u64,
    /// What the weights that train need on top, because they are kept in f32.
    pub f32_of_trained: u64,
    /// Adapters, in f32.
    pub adapters: u64,
    /// Gradients of what trains, in f32.
    pub gradients: u64,
    /// The optimizer's two moments of what trains, in f32.
    pub optimizer: u64,
    /// What a forward pass over all the sequences keeps for its way back where something trains, every token scored, in f32.
    pub activations: u64,
    /// Keys and values of the decoded sequences, in f32.
    pub kv_cache: u64,
    /// The sum.
    pub total: u64,
}

/// A model's sizes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelSize {
    /// Version of this record.
    pub v: u32,
    /// Numbers in all parameters; a tied head counts once.
    pub parameters: u64,
    /// Numbers that a token meets: those of the chosen experts alone.
    pub active_parameters: u64,
    /// Whether the head is the embedding table.
    pub tied_head: bool,
    /// By part.
    pub parts: Vec<PartSize>,
    /// Numbers that train, adapters included.
    pub trainable: u64,
    /// Numbers in adapters.
    pub adapter_parameters: u64,
    /// `f32` or `bf16`.
    pub dtype: WeightFormat,
    /// Sequences that are decoded together.
    pub batch: usize,
    /// Tokens of each.
    pub context: usize,
    /// Bytes of one token's keys and values.
    pub kv_bytes_per_token: u64,
    /// Bytes.
    pub memory: MemorySize,
}

impl ModelSize {
    /// The sizes of a model.
    pub fn of(config: &Config, question: &Question) -> Self {
        let tensors = tensors(config);
        let full = question.method == Method::Full;
        let mut parts: BTreeMap<Part, PartSize> = BTreeMap::new();
        for tensor in &tensors {
            let part = Part::of(&tensor.name);
            let size = parts.entry(part).or_insert(PartSize { part, tensors: 0, parameters: 0, trainable: 0 });
            size.tensors += 1;
            size.parameters += tensor.numbers();
            if full && !question.frozen.contains(&part) {
                size.trainable += tensor.numbers();
            }
        }
        let adapters = match question.method {
            Method::Lora { rank } => adapter_parameters(&tensors, rank),
            _ => 0,
        };
        let parts: Vec<PartSize> = parts.into_values().collect();
        let sum = |of: fn(&PartSize) -> u64| parts.iter().map(of).sum::<u64>();
        let (parameters, trained) = (sum(|part| part.parameters), sum(|part| part.trainable));
        let text = &config.text;
        let kv_bytes_per_token = 2 * F32 * (text.layers * text.kv_heads * text.head_dim) as u64;
        let tokens = (question.batch as u64).saturating_mul(question.context as u64);
        let number = question.format.bytes() as u64;
        let mut memory = MemorySize {
            weights: parameters * number,
            f32_of_trained: trained * (F32 - number),
            adapters: adapters * F32,
            gradients: (trained + adapters) * F32,
            optimizer: (trained + adapters) * F32 * MOMENTS,
            activations: activations(config, question),
            kv_cache: kv_bytes_per_token.saturating_mul(tokens),
            total: 0,
        };
        memory.total = memory.rows().iter().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
        Self {
            v: 1,
            parameters,
            active_parameters: active(config, &parts),
            tied_head: config.tied_head,
            trainable: trained + adapters,
            adapter_parameters: adapters,
            dtype: question.format,
            batch: question.batch,
            context: question.context,
            kv_bytes_per_token,
            memory,
            parts,
        }
    }
}

/// Rows whose logits exist at the same time, and how many logits are kept for the way back, as the head has it.
const HEAD_ROWS: u64 = 2048;
const KEPT_LOGITS: u64 = 1 << 26;

/// Bytes of what a forward pass over text keeps for its way back, with the logits that exist at its turning point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Activations {
    /// When all layers keep what they need.
    pub plain: u64,
    /// When they keep only their input and run again.
    pub recomputed: u64,
}

impl Activations {
    /// Of a micro-batch of so many rows, of which so many are scored: they have logits. Counted from what each operation of a layer keeps on a CPU; experts are taken to be used
    /// alike.
    pub fn of(config: &Config, rows: usize, scored: usize) -> Self {
        let text = &config.text;
        let (width, rows, scored, layers) = (text.hidden_size as u64, rows as u64, scored as u64, text.layers as u64);
        let (heads, kv_heads) = ((text.heads * text.head_dim) as u64, (text.kv_heads * text.head_dim) as u64);
        let inner = match &text.moe {
            Some(moe) => (moe.top_k * (2 * text.hidden_size + 3 * moe.intermediate_size)) as u64,
            None => 3 * text.intermediate_size as u64,
        };
        // Both norms with their inputs, queries and keys before their norms and as they are turned, values, contexts, gate,
        // input and their product.
        let of_layer = 4 * width + 3 * heads + 3 * kv_heads + inner;
        let vocabulary = text.vocab_size as u64;
        let chunk = scored.min(HEAD_ROWS) * vocabulary;
        let logits = scored.saturating_mul(vocabulary).min(KEPT_LOGITS.max(chunk)) + 2 * chunk;
        Self {
            plain: F32.saturating_mul(rows.saturating_mul(layers * of_layer).saturating_add(logits)),
            recomputed: F32.saturating_mul(rows.saturating_mul(layers * width + of_layer).saturating_add(logits)),
        }
    }
}

impl MemorySize {
    /// What is kept, with names for people; the total is not among them.
    pub fn rows(&self) -> [(&'static str, u64); 7] {
        [
            ("weights", self.weights),
            ("f32 of what trains", self.f32_of_trained),
            ("adapters", self.adapters),
            ("gradients", self.gradients),
            ("optimizer state", self.optimizer),
            ("activations", self.activations),
            ("KV cache", self.kv_cache),
        ]
    }
}

/// What all the sequences of a question keep for their way back, as one micro-batch.
fn activations(config: &Config, question: &Question) -> u64 {
    let tokens = question.batch.saturating_mul(question.context);
    if question.method == Method::Inference || tokens == 0 {
        return 0;
    }
    let Activations { plain, recomputed } = Activations::of(config, tokens, tokens);
    if question.recompute { recomputed } else { plain }
}

/// Numbers that a token meets.
fn active(config: &Config, parts: &[PartSize]) -> u64 {
    let of = |part: &PartSize| match (&config.text.moe, part.part) {
        (Some(moe), Part::Experts) => part.parameters / moe.experts as u64 * moe.top_k as u64,
        _ => part.parameters,
    };
    parts.iter().map(of).sum()
}

/// Numbers of adapters beside every linear map of the text decoder but routers and experts.
fn adapter_parameters(tensors: &[TensorShape], rank: usize) -> u64 {
    let adapted = |tensor: &&TensorShape| Part::of(&tensor.name) == Part::Text && tensor.shape.len() == 2;
    tensors.iter().filter(adapted).map(|tensor| tensor.shape.iter().sum::<usize>() as u64 * rank as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sapo_policies::config::published::published;

    fn question(format: WeightFormat, method: Method) -> Question {
        Question { format, method, frozen: Vec::new(), batch: 2, context: 1000, recompute: false }
    }

    #[test]
    fn an_8b_in_bf16_is_counted_by_hand() {
        let config = published("8b").expect("published");
        let size = ModelSize::of(&config, &question(WeightFormat::Bf16, Method::Full));
        let all = 8_767_123_696;
        assert_eq!((size.parameters, size.trainable, size.active_parameters), (all, all, all));
        assert_eq!((size.memory.weights, size.memory.optimizer, size.memory.gradients), (2 * all, 8 * all, 4 * all));
        // 36 layers, 8 heads of 128, keys and values, 4 bytes.
        assert_eq!(size.memory.kv_cache, 2000 * 36 * 8 * 128 * 2 * 4);
        assert_eq!(size.memory.total, (2 + 2 + 4 + 8) * all + size.memory.activations + size.memory.kv_cache);
        let again = Question { recompute: true, ..question(WeightFormat::Bf16, Method::Full) };
        let [kept, again] = [size.memory.activations, ModelSize::of(&config, &again).memory.activations];
        assert!(again > 0 && again * 4 < kept, "{again} {kept}");
        let answers = ModelSize::of(&config, &question(WeightFormat::Bf16, Method::Inference));
        assert_eq!(answers.memory.total, answers.memory.weights + answers.memory.kv_cache);
        let head = size.parts.iter().find(|part| part.part == Part::Head).expect("an untied head");
        assert_eq!((head.tensors, head.parameters), (1, 151_936 * 4096));
    }

    #[test]
    fn activations_are_about_what_was_measured() {
        // `sapo bench train` (8 sequences of 512 tokens): what a step held beyond the weights at most, gradients and what the
        // allocator keeps among it, of which a small policy has relatively more.
        let tiny = sapo_policies::preset::config_of("tiny").expect("a preset");
        let mut large = tiny.clone();
        large.text = sapo_policies::config::TextConfig {
            hidden_size: 768,
            layers: 12,
            heads: 12,
            kv_heads: 4,
            head_dim: 64,
            intermediate_size: 2304,
            vocab_size: 16_384,
            ..large.text
        };
        let measured = [(tiny, [148_996_096.0, 88_166_400.0], 0.68), (large, [3_507_302_400.0, 996_061_184.0], 0.85)];
        for (config, [plain, recomputed], least) in measured {
            let counted = Activations::of(&config, 8 * 511, 8 * 511);
            for (counted, measured) in [(counted.plain, plain), (counted.recomputed, recomputed)] {
                assert!((least..1.0).contains(&(counted as f64 / measured)), "{counted} {measured}");
            }
        }
    }

    #[test]
    fn adapters_train_alone() {
        let config = published("2b").expect("published");
        let size = ModelSize::of(&config, &question(WeightFormat::Bf16, Method::Lora { rank: 16 }));
        let (width, inner, kv) = (2048, 6144, 8 * 128);
        let layer = 2 * (width + width) + 2 * (width + kv) + 3 * (width + inner);
        assert_eq!(size.adapter_parameters, 28 * 16 * layer as u64);
        assert_eq!(size.trainable, size.adapter_parameters);
        assert_eq!(size.memory.f32_of_trained, 0);
        assert_eq!(size.memory.gradients, 4 * size.adapter_parameters);
    }

    #[test]
    fn frozen_parts_need_no_gradients() {
        let config = published("30b-a3b").expect("published");
        let mut asked = question(WeightFormat::F32, Method::Full);
        asked.frozen = vec![Part::Experts, Part::Vision];
        let size = ModelSize::of(&config, &asked);
        let of = |part: Part| size.parts.iter().find(|size| size.part == part).expect("such a part");
        assert_eq!(of(Part::Experts).trainable, 0);
        assert_eq!(of(Part::Experts).parameters, 48 * 128 * 3 * 768 * 2048);
        assert_eq!(size.trainable, size.parameters - of(Part::Experts).parameters - of(Part::Vision).parameters);
        // The name of the model: about 3 billion are active.
        assert!((3.0e9..4.0e9).contains(&(size.active_parameters as f64)), "{}", size.active_parameters);
    }
}
