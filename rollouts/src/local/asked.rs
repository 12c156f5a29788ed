//! A request in a session: its prompt, what was read of it, and its samples that wait.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use sapo_policies::input::{Positions, positions};
use sapo_policies::vision::VisionFeatures;
use sapo_policies::{Context, Fed, Policy, shown};

use super::features::Features;
use super::row::Row;
use crate::request::Request;

/// A request in a session.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    positions: Positions,
    /// Of its pictures, from when its prompt is read for the first time.
    features: Vec<Arc<VisionFeatures>>,
    /// What was read of its prompt, of which the last token is left to its samples.
    context: Option<Context>,
    /// Samples that wait for a place.
    pub(super) waiting: VecDeque<Row>,
    /// Samples that have not ended.
    pub(super) open: usize,
}

impl Asked {
    pub(super) fn new(number: usize, request: Request, policy: &Policy) -> Self {
        let positions = positions(&request.prompt, policy.config.vision.spatial_merge_size);
        let samples = 0..request.seeds.len();
        let waiting = samples.map(|sample| Row::new(number, &request, sample, positions.next)).collect();
        let open = request.seeds.len();
        Self { request, positions, features: Vec::new(), context: None, waiting, open }
    }

    /// The tokens of its prompt that are still to be read.
    pub(super) fn unread(&self) -> Range<usize> {
        self.context.as_ref().map_or(0, Context::tokens)..self.request.prompt.ids().len() - 1
    }

    /// What was read of its prompt, taken out.
    pub(super) fn take_context(&mut self) -> Option<Context> {
        self.context.take()
    }

    /// What was read of its prompt, put back.
    pub(super) fn put_context(&mut self, context: Context) {
        self.context = Some(context);
    }

    /// Encodes its pictures, unless that was done.
    pub(super) fn see(&mut self, policy: &Policy, features: &mut Features) {
        if self.features.len() < self.request.prompt.pictures().len() {
            self.features = features.of(policy, &self.request.prompt);
        }
    }

    /// Some tokens of its prompt, to be read in one step.
    pub(super) fn fed<'a>(&'a self, context: &'a mut Context, tokens: Range<usize>) -> Fed<'a> {
        let features: Vec<&VisionFeatures> = self.features.iter().map(|one| &**one).collect();
        Fed {
            context,
            ids: &self.request.prompt.ids()[tokens.clone()],
            positions: &self.positions.tokens[tokens.clone()],
            shown: shown(&self.request.prompt, tokens, &features),
            wanted: false,
        }
    }
}
