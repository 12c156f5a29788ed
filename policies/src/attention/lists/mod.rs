//! Attention by lengths, forwards and back: scores of a few rows with a few keys at a time, and none of them kept.
//!
//! After FlashAttention (Dao et al. 2022): a running maximum and sum normalise what is summed over keys; on the way back the
//! weights are computed again from the logarithm of that sum, once by rows and once by keys, so that nothing is added by two
//! threads and two runs give the same bits.
//!
//! Shape suffixes as in the attention seam.

mod backward;
mod forward;
mod spans;
mod tiles;
mod vector;

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Graph;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::calculate_cube_count_elemwise;
use burn_cubecl::cubecl::prelude::{CubeCount, CubeDim};

use self::backward::{by_keys, by_rows};
use self::spans::joined;
use self::tiles::KEYS;
pub(crate) use self::tiles::Tiles;
use super::heads::{Heads, Projected};
use crate::gpu::{blocks_for, empty, empty_like, in_one_piece};

/// Keys, or query vectors, that a block reads at a time: a thread of each line has one.
const LANES: usize = 32;
/// Query vectors, or keys, that a line of threads works on at most.
const EACH: usize = 4;

/// What attention needs to know beside the tables.
#[derive(Clone, Copy, Debug)]
struct How {
    heads: Heads,
    /// Whether each row looks at one key more than the row before.
    causal: bool,
    /// Rows of a tile.
    rows_per_tile: usize,
}

/// Which rows look at which keys: see `tiles`.
#[derive(Debug)]
struct Tables {
    /// Tiles of rows.
    rows: Tensor<1, Int>,
    /// Tiles of keys.
    keys: Tensor<1, Int>,
    /// Lists of keys.
    list: Tensor<1, Int>,
    /// Where the results of each row begin, if one has several; and how many there are.
    joins: Option<Tensor<1, Int>>,
    results: usize,
    /// How many tiles of either there are.
    counts: [usize; 2],
}

/// Contexts `[t, q*k]`.
fn attend(x: Projected, how: How, tables: &Tables) -> Tensor<2> {
    let [q, k, v] = [x.q, x.k, x.v].map(Tensor::into_dispatch);
    let [rows, keys, list] = [&tables.rows, &tables.keys, &tables.list].map(|table| table.clone().into_dispatch());
    let asked = Arc::new(Asked { how, counts: tables.counts, results: tables.results });
    Tensor::from_dispatch(match &tables.joins {
        None => <Dispatch as AttendTiles>::attend_tiles(q, k, v, rows, keys, list, asked),
        Some(joins) => {
            let joins = joins.clone().into_dispatch();
            <Dispatch as AttendSpans>::attend_spans(q, k, v, rows, list, joins, asked)
        }
    })
}

/// What an operation is asked with.
#[derive(Debug)]
pub(crate) struct Asked {
    how: How,
    counts: [usize; 2],
    results: usize,
}

/// Attention in spans of keys as an operation; nothing goes back.
#[backend_extension(Cube)]
#[expect(clippy::too_many_arguments, reason = "tensors cross the dispatch one by one")]
pub(crate) trait AttendSpans: Backend {
    /// See [`attend`].
    fn attend_spans(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: IntTensor<Self>,
        list: IntTensor<Self>,
        joins: IntTensor<Self>,
        asked: Arc<Asked>,
    ) -> FloatTensor<Self>;
}

impl AttendSpans for CubeBackend {
    fn attend_spans(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: IntTensor<Self>,
        list: IntTensor<Self>,
        joins: IntTensor<Self>,
        asked: Arc<Asked>,
    ) -> FloatTensor<Self> {
        let (whole, dim) = (empty_like(&q), asked.how.heads.dim);
        let (contexts, sums) = asked.forward([q, k, v], &rows, &list);
        let ((blocks, block), ids) = (blocks_for(&whole), dtype_to_storage_type(joins.dtype));
        let [contexts, sums, joins, to] = [contexts, sums, joins, whole.clone()].map(|tensor| tensor.into_tensor_arg());
        joined::launch(&whole.client, blocks, block, contexts, sums, joins, to, dim, ids);
        whole
    }
}

/// Attention as an operation of the graph; tables have no gradient.
#[backend_extension(Cube, Autodiff)]
#[expect(clippy::too_many_arguments, reason = "tensors cross the dispatch one by one")]
pub(crate) trait AttendTiles: Backend {
    /// See [`attend`].
    fn attend_tiles(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: IntTensor<Self>,
        keys: IntTensor<Self>,
        list: IntTensor<Self>,
        asked: Arc<Asked>,
    ) -> FloatTensor<Self>;
}

/// The tables of a device.
#[derive(Clone, Debug)]
struct Device {
    rows: IntTensor<CubeBackend>,
    keys: IntTensor<CubeBackend>,
    list: IntTensor<CubeBackend>,
    asked: Arc<Asked>,
}

impl AttendTiles for CubeBackend {
    fn attend_tiles(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: IntTensor<Self>,
        _keys: IntTensor<Self>,
        list: IntTensor<Self>,
        asked: Arc<Asked>,
    ) -> FloatTensor<Self> {
        asked.forward([q, k, v], &rows, &list).0
    }
}

impl Asked {
    /// Contexts, and the logarithms of the sums that weights were divided by, `[t, q]`.
    fn forward(
        &self,
        x: [FloatTensor<CubeBackend>; 3],
        rows: &IntTensor<CubeBackend>,
        list: &IntTensor<CubeBackend>,
    ) -> (FloatTensor<CubeBackend>, FloatTensor<CubeBackend>) {
        let [q, k, v] = in_one_piece(x);
        let how = self.how;
        let query_heads = how.heads.kv * how.heads.per_kv;
        let of = |width: usize| empty(Shape::new([self.results, width]), &q);
        let (contexts, sums) = (of(query_heads * how.heads.dim), of(query_heads));
        let client = q.client.clone();
        let [lines, each] = lines_of(how.rows_per_tile * how.heads.per_kv);
        let (blocks, block) = self.blocks(&q, self.counts[0], lines);
        let [q, k, v, to, to_sums] = [&q, &k, &v, &contexts, &sums].map(|tensor| tensor.clone().into_tensor_arg());
        let ids = dtype_to_storage_type(rows.dtype);
        let [rows, list] = [rows, list].map(|table| table.clone().into_tensor_arg());
        forward::forward::launch(
            &client,
            blocks,
            block,
            q,
            k,
            v,
            rows,
            list,
            to,
            to_sums,
            how.heads.scale(),
            u32::from(how.causal),
            how.heads.dim,
            lines,
            each,
            ids,
        );
        (contexts, sums)
    }

    /// A block for every tile and key-value head, with so many lines of threads.
    fn blocks(&self, x: &FloatTensor<CubeBackend>, tiles: usize, lines: usize) -> (CubeCount, CubeDim) {
        let block = CubeDim::new_2d(LANES as u32, lines as u32);
        let threads = tiles * self.how.heads.kv * LANES * lines;
        (calculate_cube_count_elemwise(&x.client, threads, block), block)
    }
}

impl Device {
    /// The derivatives by queries, keys and values from that by the contexts.
    fn back(
        &self,
        slope: FloatTensor<CubeBackend>,
        x: [FloatTensor<CubeBackend>; 3],
        contexts: &FloatTensor<CubeBackend>,
        sums: &FloatTensor<CubeBackend>,
    ) -> [FloatTensor<CubeBackend>; 3] {
        let ([slope], [q, k, v]) = (in_one_piece([slope]), in_one_piece(x));
        let (how, ids) = (self.asked.how, dtype_to_storage_type(self.rows.dtype));
        let (by_q, by_k, by_v, along) = (empty_like(&q), empty_like(&k), empty_like(&v), empty_like(sums));
        let argument = |tensor: &FloatTensor<CubeBackend>| tensor.clone().into_tensor_arg();
        let [lines, each] = lines_of(how.rows_per_tile * how.heads.per_kv);
        let (blocks, block) = self.asked.blocks(&q, self.asked.counts[0], lines);
        by_rows::launch(
            &q.client,
            blocks,
            block,
            argument(&slope),
            argument(contexts),
            argument(sums),
            argument(&q),
            argument(&k),
            argument(&v),
            argument(&self.rows),
            argument(&self.list),
            argument(&by_q),
            argument(&along),
            how.heads.scale(),
            u32::from(how.causal),
            how.heads.dim,
            lines,
            each,
            ids,
        );
        let [lines, each] = lines_of(KEYS);
        let (blocks, block) = self.asked.blocks(&q, self.asked.counts[1], lines);
        by_keys::launch(
            &q.client,
            blocks,
            block,
            argument(&slope),
            argument(sums),
            argument(&along),
            argument(&q),
            argument(&k),
            argument(&v),
            argument(&self.keys),
            argument(&by_k),
            argument(&by_v),
            how.heads.scale(),
            u32::from(how.causal),
            how.heads.dim,
            lines,
            each,
            ids,
        );
        [by_q, by_k, by_v]
    }
}

/// Lines of threads for so many vectors or keys, and how many of them each line works on.
fn lines_of(slots: usize) -> [usize; 2] {
    let each = (1..=EACH).rev().find(|each| slots.is_multiple_of(*each)).unwrap_or(1);
    [slots / each, each]
}

/// Attention as a node of the graph.
#[derive(Debug)]
struct Attended;

/// What the way back needs: queries, keys and values by their nodes, the contexts, and the sums.
type Kept = ([NodeId; 3], FloatTensor<CubeBackend>, FloatTensor<CubeBackend>, Device);

impl Backward<CubeBackend, 3> for Attended {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 3>, graph: &mut Graph, checkpointer: &mut Checkpointer) {
        let (nodes, contexts, sums, device) = ops.state;
        let slope = graph.consume::<CubeBackend>(&ops.node);
        let x = nodes.map(|node| checkpointer.retrieve_node_output::<FloatTensor<CubeBackend>>(node));
        for (parent, slope) in ops.parents.into_iter().zip(device.back(slope, x, &contexts, &sums)) {
            if let Some(node) = parent {
                graph.register::<CubeBackend>(node.id, slope);
            }
        }
    }
}

impl<C: CheckpointStrategy> AttendTiles for Autodiff<CubeBackend, C> {
    fn attend_tiles(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        rows: IntTensor<Self>,
        keys: IntTensor<Self>,
        list: IntTensor<Self>,
        asked: Arc<Asked>,
    ) -> FloatTensor<Self> {
        let x = [&q, &k, &v].map(|tensor| tensor.primitive().clone());
        let (contexts, sums) = asked.forward(x, &rows, &list);
        let device = Device { rows, keys, list, asked };
        match Attended.prepare::<C>([q.node(), k.node(), v.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let nodes = [&q, &k, &v].map(|tensor| prepared.checkpoint(tensor));
                prepared.finish((nodes, contexts.clone(), sums, device), contexts)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(contexts),
        }
    }
}
