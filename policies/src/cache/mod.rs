//! Keys and values that are kept while decoding, in blocks that sequences share as far as they begin alike.
//!
//! A prompt is read once; each of its samples is a fork of it, which shares the prompt's full blocks and copies the last,
//! partly filled one. How many blocks there are is set when the cache is made: who wants more waits.
//!
//! On a CPU sequences are dealt out to a few shards, each with blocks of its own, so that threads decode side by side
//! without waiting for each other. The bound on blocks is one for all.

mod blocks;
#[cfg(feature = "gpu")]
mod listed;
mod store;

#[cfg(feature = "gpu")]
use std::cell::OnceCell;

use burn::tensor::Tensor;

use self::blocks::Blocks;
use self::store::Store;
use crate::attention::{BLOCK, Heads, Place, Projected, Sequence};
use crate::config::Config;
use crate::policy::Policy;
use crate::tensor::is_cpu;

/// Shards at most: each of them reads all weights.
const MOST_SHARDS: usize = 4;

/// Tokens that were read, and the blocks where their keys and values lie. It is given back to its cache by
/// [`Cache::release`].
#[derive(Debug)]
pub struct Context {
    shard: usize,
    blocks: Vec<u32>,
    tokens: usize,
}

impl Context {
    /// How many tokens were read.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    pub(crate) fn shard(&self) -> usize {
        self.shard
    }

    /// The tokens that were fed are there from now on.
    pub(crate) fn advance(&mut self, count: usize) {
        self.tokens += count;
    }
}

/// Keys and values of all layers.
#[derive(Debug)]
pub struct Cache {
    shards: Vec<Shard>,
    /// Blocks that all shards together may use.
    total: usize,
}

/// The keys and values of some sequences.
#[derive(Debug)]
pub(crate) struct Shard {
    heads: Heads,
    blocks: Blocks,
    store: Store,
    /// Contexts that were opened or forked here and not released.
    contexts: usize,
}

impl Cache {
    /// A cache of at most `blocks` blocks for a policy's device. Memory is taken when blocks are used, where the system
    /// allows it.
    pub fn new(policy: &Policy, blocks: usize) -> Self {
        let heads = Heads::of(&policy.config.text);
        let count = if is_cpu(policy.device()) { rayon::current_num_threads().clamp(1, MOST_SHARDS) } else { 1 };
        let shard = |_| Shard {
            heads,
            blocks: Blocks::new(blocks),
            store: Store::new(heads, policy.config.text.layers, blocks, policy.device()),
            contexts: 0,
        };
        let shards = (0..count).map(shard).collect();
        Self { shards, total: blocks }
    }

    /// Bytes of a block: keys and values of all layers, in f32.
    pub fn block_bytes(config: &Config) -> usize {
        let text = &config.text;
        2 * text.layers * text.kv_heads * text.head_dim * BLOCK * size_of::<f32>()
    }

    /// Blocks that so many tokens need.
    pub fn blocks_of(tokens: usize) -> usize {
        tokens.div_ceil(BLOCK)
    }

    /// Blocks that hold something.
    pub fn used_blocks(&self) -> usize {
        self.shards.iter().map(|shard| shard.blocks.used()).sum()
    }

    /// Blocks that it may have.
    pub fn total_blocks(&self) -> usize {
        self.total
    }

    /// A context that has read nothing, in the shard with the fewest.
    pub fn open(&mut self) -> Context {
        let fewest = (0..self.shards.len()).min_by_key(|shard| self.shards[*shard].contexts).unwrap_or(0);
        self.shards[fewest].contexts += 1;
        Context { shard: fewest, blocks: Vec::new(), tokens: 0 }
    }

    /// Makes room for `more` tokens behind those of a context; `false` when there is none, and nothing has changed then.
    #[must_use]
    pub fn reserve(&mut self, context: &mut Context, more: usize) -> bool {
        let missing = Self::blocks_of(context.tokens + more).saturating_sub(context.blocks.len());
        let taken = if self.has(missing) { self.shards[context.shard].blocks.take(missing) } else { None };
        let found = taken.is_some();
        context.blocks.extend(taken.into_iter().flatten());
        found
    }

    fn has(&self, blocks: usize) -> bool {
        self.used_blocks() + blocks <= self.total
    }

    /// A context that begins with all tokens of `context`; `None` when there is no room for a copy of its last block.
    #[must_use]
    pub fn fork(&mut self, context: &Context) -> Option<Context> {
        let full = context.tokens / BLOCK;
        let mut blocks = context.blocks[..full].to_vec();
        let copies = !context.tokens.is_multiple_of(BLOCK);
        if copies && !self.has(1) {
            return None;
        }
        let shard = &mut self.shards[context.shard];
        if copies {
            let own = shard.blocks.take(1)?;
            shard.store.copy(shard.heads, context.blocks[full], own[0]);
            blocks.extend(own);
        }
        shard.blocks.share(&context.blocks[..full]);
        shard.contexts += 1;
        Some(Context { shard: context.shard, blocks, tokens: context.tokens })
    }

    /// Takes back the blocks of a context.
    pub fn release(&mut self, context: Context) {
        let shard = &mut self.shards[context.shard];
        shard.blocks.give_back(&context.blocks);
        shard.contexts -= 1;
    }

    pub(crate) fn shards_mut(&mut self) -> &mut [Shard] {
        &mut self.shards
    }
}

impl Shard {
    /// Contexts `[t, q*k]` of the rows of a layer, whose keys and values are written first.
    pub(crate) fn attend(&mut self, layer: usize, x: Projected, rows: &FedRows) -> Tensor<2> {
        self.store.attend(self.heads, layer, x, rows)
    }
}

/// Rows of one step: which sequences they belong to and where their keys and values go.
#[derive(Debug)]
pub(crate) struct FedRows {
    /// Whole sequences, in the order of their rows.
    #[cfg(feature = "gpu")]
    pub(crate) sequences: Vec<Sequence>,
    /// The same, cut for threads.
    pub(crate) pieces: Vec<Sequence>,
    pub(crate) places: Vec<Place>,
    /// What a GPU needs of them, made by the first layer.
    #[cfg(feature = "gpu")]
    seen: OnceCell<listed::Seen>,
}

impl FedRows {
    /// Of contexts of one shard that so many tokens are fed to; there must be room for them.
    ///
    /// # Panics
    /// When there is none: a fault of the caller.
    pub(crate) fn new<'a>(fed: impl Iterator<Item = (&'a Context, usize)>) -> Self {
        let (mut sequences, mut places, mut rows) = (Vec::new(), Vec::new(), 0);
        for (Context { blocks, tokens: before, .. }, count) in fed {
            assert!(blocks.len() * BLOCK >= before + count, "room was reserved");
            places.extend((0..count).map(|index| Place::of(rows + index, blocks, before + index)));
            sequences.push(Sequence { rows: rows..rows + count, before: *before, blocks: blocks.clone() });
            rows += count;
        }
        let pieces = crate::attention::pieces(&sequences);
        Self {
            #[cfg(feature = "gpu")]
            sequences,
            pieces,
            places,
            #[cfg(feature = "gpu")]
            seen: OnceCell::new(),
        }
    }
}
