//! Building a policy from its sizes: every parameter by its name in files, from whatever gives the values.

use burn::tensor::{Device, Tensor};

use crate::config::{Config, ExpertLayout, MoeConfig};
use crate::error::Result;
use crate::format::WeightFormat;
use crate::nn::{LayerNorm, Linear, Param, RmsNorm};
use crate::policy::Policy;
use crate::tensor::as_matrix;
use crate::text::{DenseMlp, FeedForward, SparseMlp, TextLayer, TextModel};
use crate::vision::{Merger, VisionBlock, VisionTower};

/// Gives the value of the parameter `name` with file shape `shape`, folded to a matrix.
pub trait Values {
    /// The value `[rows, columns]` of [`as_matrix`]`(shape)`.
    ///
    /// # Errors
    /// When there is none, or it has another shape.
    fn value(&mut self, name: &str, shape: &[usize]) -> Result<Tensor<2>>;

    /// The shape of the parameter `name` where it is stored, if it is stored anywhere.
    fn stored_shape(&self, name: &str) -> Option<&[usize]>;
}

struct Builder<'a> {
    config: &'a Config,
    values: &'a mut dyn Values,
}

impl Policy {
    /// A policy of these sizes whose parameters come from `values`.
    ///
    /// # Errors
    /// Those of `values`.
    pub fn build(mut config: Config, values: &mut dyn Values, device: &Device) -> Result<Self> {
        if let Some(layout) = stored_layout(&config, values)
            && let Some(moe) = &mut config.text.moe
        {
            moe.layout = layout;
        }
        let mut builder = Builder { config: &config, values };
        let vision = builder.vision()?;
        let text = builder.text()?;
        let banned = vec![
            config.vision_start_token_id,
            config.vision_end_token_id,
            config.image_token_id,
            config.video_token_id,
        ];
        Ok(Self { config, vision, text, banned, device: device.clone(), adapter: None, tape: None })
    }
}

/// The name of a part of a text layer.
fn layer_name(index: usize, part: &str) -> String {
    format!("model.language_model.layers.{index}.{part}")
}

/// The layout of stored expert weights. One of the two tensors of a layer can be square and tell nothing, not both;
/// what is stored neither way is found out when it is loaded.
fn stored_layout(config: &Config, values: &dyn Values) -> Option<ExpertLayout> {
    let moe = config.text.moe.as_ref()?;
    let layer = (0..config.text.layers).find(|index| moe.is_sparse(*index))?;
    let (width, inner) = (config.text.hidden_size, moe.intermediate_size);
    let maps = [("mlp.experts.gate_up_proj", 2 * inner, width), ("mlp.experts.down_proj", width, inner)];
    maps.into_iter().filter(|(_, outputs, inputs)| outputs != inputs).find_map(|(part, outputs, inputs)| {
        let stored = values.stored_shape(&layer_name(layer, part))?;
        let layouts = [ExpertLayout::InOut, ExpertLayout::OutIn];
        layouts.into_iter().find(|layout| layout.shape(moe.experts, outputs, inputs) == stored)
    })
}

impl Builder<'_> {
    fn param(&mut self, name: String, shape: &[usize]) -> Result<Param> {
        let value = self.values.value(&name, shape)?;
        debug_assert_eq!(value.dims(), as_matrix(shape));
        Ok(Param { name, shape: shape.to_vec(), value, requires_grad: true, matmul: WeightFormat::F32 })
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize, bias: bool) -> Result<Linear> {
        let weight = self.param(format!("{name}.weight"), &[outputs, inputs])?;
        let bias = if bias { Some(self.param(format!("{name}.bias"), &[outputs])?) } else { None };
        Ok(Linear { weight, bias, lora: None })
    }

    fn layer_norm(&mut self, name: &str, width: usize) -> Result<LayerNorm> {
        let weight = self.param(format!("{name}.weight"), &[width])?;
        Ok(LayerNorm { weight, bias: self.param(format!("{name}.bias"), &[width])? })
    }

    fn rms_norm(&mut self, name: &str, width: usize) -> Result<RmsNorm> {
        let weight = self.param(format!("{name}.weight"), &[width])?;
        Ok(RmsNorm { weight, eps: self.config.text.rms_norm_eps })
    }

    fn vision(&mut self) -> Result<VisionTower> {
        let config = self.config.vision.clone();
        let width = config.hidden_size;
        let shape = [width, config.in_channels, config.temporal_patch_size, config.patch_size, config.patch_size];
        let weight = self.param("model.visual.patch_embed.proj.weight".to_owned(), &shape)?;
        let bias = self.param("model.visual.patch_embed.proj.bias".to_owned(), &[width])?;
        let table = self.param("model.visual.pos_embed.weight".to_owned(), &[config.position_embeddings, width])?;
        let blocks = (0..config.depth).map(|index| self.vision_block(index)).collect::<Result<_>>()?;
        let merger = self.merger("model.visual.merger", false)?;
        let deepstack = (0..config.deepstack_indexes.len())
            .map(|index| self.merger(&format!("model.visual.deepstack_merger_list.{index}"), true))
            .collect::<Result<_>>()?;
        let patch_embed = Linear { weight, bias: Some(bias), lora: None };
        Ok(VisionTower { patch_embed, position_table: table, blocks, merger, deepstack, config })
    }

    fn vision_block(&mut self, index: usize) -> Result<VisionBlock> {
        let (width, inner) = (self.config.vision.hidden_size, self.config.vision.intermediate_size);
        let name = format!("model.visual.blocks.{index}");
        Ok(VisionBlock {
            norm1: self.layer_norm(&format!("{name}.norm1"), width)?,
            norm2: self.layer_norm(&format!("{name}.norm2"), width)?,
            qkv: self.linear(&format!("{name}.attn.qkv"), 3 * width, width, true)?,
            proj: self.linear(&format!("{name}.attn.proj"), width, width, true)?,
            fc1: self.linear(&format!("{name}.mlp.linear_fc1"), inner, width, true)?,
            fc2: self.linear(&format!("{name}.mlp.linear_fc2"), width, inner, true)?,
        })
    }

    fn merger(&mut self, name: &str, norm_joined: bool) -> Result<Merger> {
        let width = self.config.vision.hidden_size;
        let joined = width * self.config.vision.merge_area();
        Ok(Merger {
            norm: self.layer_norm(&format!("{name}.norm"), if norm_joined { joined } else { width })?,
            fc1: self.linear(&format!("{name}.linear_fc1"), joined, joined, true)?,
            fc2: self.linear(&format!("{name}.linear_fc2"), self.config.text.hidden_size, joined, true)?,
            norm_joined,
        })
    }

    fn text(&mut self) -> Result<TextModel> {
        let config = self.config.text.clone();
        let table = [config.vocab_size, config.hidden_size];
        let embed = self.param("model.language_model.embed_tokens.weight".to_owned(), &table)?;
        let layers = (0..config.layers).map(|index| self.text_layer(index)).collect::<Result<_>>()?;
        let norm = self.rms_norm("model.language_model.norm", config.hidden_size)?;
        let head = if self.config.tied_head { None } else { Some(self.param("lm_head.weight".to_owned(), &table)?) };
        Ok(TextModel { embed, layers, norm, head, config })
    }

    fn text_layer(&mut self, index: usize) -> Result<TextLayer> {
        let config = self.config.text.clone();
        let (width, head) = (config.hidden_size, config.head_dim);
        let name = |part: &str| layer_name(index, part);
        Ok(TextLayer {
            input_norm: self.rms_norm(&name("input_layernorm"), width)?,
            q: self.linear(&name("self_attn.q_proj"), config.heads * head, width, false)?,
            k: self.linear(&name("self_attn.k_proj"), config.kv_heads * head, width, false)?,
            v: self.linear(&name("self_attn.v_proj"), config.kv_heads * head, width, false)?,
            o: self.linear(&name("self_attn.o_proj"), width, config.heads * head, false)?,
            q_norm: self.rms_norm(&name("self_attn.q_norm"), head)?,
            k_norm: self.rms_norm(&name("self_attn.k_norm"), head)?,
            post_norm: self.rms_norm(&name("post_attention_layernorm"), width)?,
            feed_forward: match config.moe.filter(|moe| moe.is_sparse(index)) {
                Some(moe) => FeedForward::Sparse(self.sparse(index, width, moe)?),
                None => FeedForward::Dense(self.dense(index, width, config.intermediate_size)?),
            },
        })
    }

    fn dense(&mut self, index: usize, width: usize, inner: usize) -> Result<DenseMlp> {
        Ok(DenseMlp {
            gate: self.linear(&layer_name(index, "mlp.gate_proj"), inner, width, false)?,
            up: self.linear(&layer_name(index, "mlp.up_proj"), inner, width, false)?,
            down: self.linear(&layer_name(index, "mlp.down_proj"), width, inner, false)?,
        })
    }

    fn sparse(&mut self, index: usize, width: usize, moe: MoeConfig) -> Result<SparseMlp> {
        let (experts, inner) = (moe.experts, moe.intermediate_size);
        let gate_up = moe.layout.shape(experts, 2 * inner, width);
        let down = moe.layout.shape(experts, width, inner);
        Ok(SparseMlp {
            router: self.linear(&layer_name(index, "mlp.gate"), experts, width, false)?,
            gate_up: self.param(layer_name(index, "mlp.experts.gate_up_proj"), &gate_up)?,
            down: self.param(layer_name(index, "mlp.experts.down_proj"), &down)?,
            config: moe,
        })
    }
}
