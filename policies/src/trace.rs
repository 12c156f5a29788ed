//! Intermediate tensors of a forward pass, kept by name when somebody asked for them.

use std::collections::BTreeMap;

use burn::tensor::Tensor;

/// Keeps named tensors, or nothing.
#[derive(Debug, Default)]
pub struct Trace {
    kept: Option<BTreeMap<String, Tensor<2>>>,
    only: Option<&'static str>,
}

impl Trace {
    /// A trace that keeps nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// A trace that keeps every tensor it is shown.
    pub fn on() -> Self {
        Self { kept: Some(BTreeMap::new()), only: None }
    }

    /// A trace that keeps the router probabilities of sparse layers.
    pub fn routers() -> Self {
        Self { kept: Some(BTreeMap::new()), only: Some("router_") }
    }

    pub(crate) fn keep(&mut self, name: impl FnOnce() -> String, value: &Tensor<2>) {
        if let Some(kept) = &mut self.kept {
            let name = name();
            if self.only.is_none_or(|only| name.starts_with(only)) {
                kept.insert(name, value.clone());
            }
        }
    }

    /// What was kept, by name.
    pub fn into_tensors(self) -> BTreeMap<String, Tensor<2>> {
        self.kept.unwrap_or_default()
    }
}
