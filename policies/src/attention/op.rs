//! The CPU's attention as one operation of the graph, with its own backward pass.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Graph;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::arrangement::Arrangement;
use super::heads::{Heads, Projected};
use super::kernel::{Passed, backward, forward, pieces};
use super::panels::{Panels, Sequence};
use crate::tensor::{like, numbers};

/// How the rows of a batch see each other.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    heads: Heads,
    arrangement: Arrangement,
    /// Its sequences, cut for threads.
    pieces: Vec<Sequence>,
}

/// Contexts of rows.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Attend: Backend {
    /// Contexts `[t, q*k]` of queries `[t, q*k]`, keys and values `[t, m*k]`.
    fn attend(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>, seen: Arc<Seen>) -> FloatTensor<Self>;
}

impl Attend for Flex {
    fn attend(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>, seen: Arc<Seen>) -> FloatTensor<Self> {
        let (q, panels) = (q.to_contiguous(), seen.panels(&k, &v));
        like(forward(seen.heads, &panels, &seen.pieces, numbers(&q)), &q)
    }
}

impl Seen {
    pub(crate) fn new(heads: Heads, arrangement: Arrangement) -> Self {
        let pieces = pieces(&arrangement.sequences);
        Self { heads, arrangement, pieces }
    }

    /// Contexts `[t, q*k]` of all rows of the batch.
    pub(crate) fn attend(self: Arc<Self>, x: Projected) -> Tensor<2> {
        let [q, k, v] = [x.q, x.k, x.v].map(Tensor::into_dispatch);
        Tensor::from_dispatch(<Dispatch as Attend>::attend(q, k, v, self))
    }

    fn panels(&self, k: &FloatTensor<Flex>, v: &FloatTensor<Flex>) -> Panels {
        let mut panels = Panels::new(self.heads, self.arrangement.blocks);
        let (k, v) = (k.to_contiguous(), v.to_contiguous());
        panels.write(self.heads, &self.arrangement.places, numbers(&k), numbers(&v));
        panels
    }
}

/// The backward pass.
#[derive(Debug)]
struct Attended;

/// What it needs: queries, keys and values by their nodes, and the contexts.
type Kept = ([NodeId; 3], FloatTensor<Flex>, Arc<Seen>);

impl Backward<Flex, 3> for Attended {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 3>, graph: &mut Graph, checkpointer: &mut Checkpointer) {
        let (nodes, contexts, seen) = ops.state;
        let derivative = graph.consume::<Flex>(&ops.node).to_contiguous();
        let [q, k, v] = nodes.map(|node| checkpointer.retrieve_node_output::<FloatTensor<Flex>>(node));
        let (q, panels) = (q.to_contiguous(), seen.panels(&k, &v));
        let passed = Passed { q: numbers(&q), contexts: numbers(&contexts), derivative: numbers(&derivative) };
        let Arrangement { sequences, places, .. } = &seen.arrangement;
        let gradients = backward(seen.heads, &panels, sequences, places, passed);
        for (parent, (gradient, of)) in
            ops.parents.iter().zip([(gradients.q, &q), (gradients.k, &k), (gradients.v, &v)])
        {
            if let Some(node) = parent {
                graph.register::<Flex>(node.id, like(gradient, of));
            }
        }
    }
}

impl<C: CheckpointStrategy> Attend for Autodiff<Flex, C> {
    fn attend(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>, seen: Arc<Seen>) -> FloatTensor<Self> {
        let contexts = |seen: &Arc<Seen>| {
            Flex::attend(q.primitive().clone(), k.primitive().clone(), v.primitive().clone(), Arc::clone(seen))
        };
        match Attended.prepare::<C>([q.node(), k.node(), v.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let nodes = [&q, &k, &v].map(|tensor| prepared.checkpoint(tensor));
                let contexts = contexts(&seen);
                prepared.finish((nodes, contexts.clone(), seen), contexts)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(contexts(&seen)),
        }
    }
}
