//! Intermediate tensors of a forward pass, kept by name when somebody asked for them.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

use crate::bucket::first_rows;

/// Keeps named tensors, or nothing.
#[derive(Debug, Default)]
pub struct Trace {
    kept: Option<BTreeMap<String, Tensor<2>>>,
    only: Option<&'static str>,
    /// Rows that are kept of what is shown from now on.
    rows: Option<usize>,
}

impl Trace {
    /// A trace that keeps nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// A trace that keeps every tensor it is shown.
    pub fn on() -> Self {
        Self { kept: Some(BTreeMap::new()), ..Self::default() }
    }

    /// A trace that keeps the router probabilities of sparse layers.
    pub fn routers() -> Self {
        Self { kept: Some(BTreeMap::new()), only: Some("router_"), rows: None }
    }

    /// Keeps so many rows of what is shown from now on: more are there for the device's sake.
    pub(crate) fn limit(&mut self, rows: usize) {
        self.rows = Some(rows);
    }

    pub(crate) fn keep(&mut self, name: impl FnOnce() -> String, value: &Tensor<2>) {
        if let Some(kept) = &mut self.kept {
            let name = name();
            if self.only.is_none_or(|only| name.starts_with(only)) {
                let rows = self.rows.unwrap_or(usize::MAX).min(value.dims()[0]);
                kept.insert(name, first_rows(value.clone(), rows));
            }
        }
    }

    /// What was kept, by name.
    pub fn into_tensors(self) -> BTreeMap<String, Tensor<2>> {
        self.kept.unwrap_or_default()
    }
}
