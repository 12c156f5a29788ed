//! Numbers that are not finite: the first one of an update is found and named, so that the update can be left out.

use std::fmt;

use burn::tensor::Tensor;
#[cfg(feature = "gpu")]
use sapo_policies::tensor::is_cpu;
use sapo_policies::to_vec;

/// The first number of an update that was not finite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotFinite {
    /// A token of an answer: its log-prob, or the derivative of the loss by it.
    Token {
        /// What of it: `log-prob`, or `derivative`.
        what: &'static str,
        /// The query that is answered.
        query: String,
        /// Number of the token among those that the policy sampled, from 0.
        token: usize,
    },
    /// A part of the loss that belongs to no token.
    Loss(&'static str),
    /// The gradient of a parameter, or the sum of its squares.
    Gradient(String),
    /// A parameter after an update whose gradients were finite.
    Weight(String),
}

impl fmt::Display for NotFinite {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { what, query, token } => {
                write!(to, "the {what} of token {token} of an answer to the query `{query}` is not a finite number")
            }
            Self::Loss(what) => write!(to, "the {what} is not a finite number"),
            Self::Gradient(parameter) => write!(to, "the gradient of `{parameter}` is not finite"),
            Self::Weight(parameter) => write!(to, "`{parameter}` is no longer finite"),
        }
    }
}

/// Watches the numbers of an update on their way, and keeps the first that is not finite.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    first: Option<NotFinite>,
}

impl Watch {
    /// Looks at the log-probs of an answer's tokens, then at the derivatives of the loss by them.
    pub fn answer(&mut self, query: &str, log_probs: &[f32], derivatives: &[f32]) {
        for (what, values) in [("log-prob", log_probs), ("derivative", derivatives)] {
            if let Some(token) = values.iter().position(|value| !value.is_finite()) {
                self.first.get_or_insert_with(|| NotFinite::Token { what, query: query.to_owned(), token });
            }
        }
    }

    /// Looks at a part of the loss that belongs to no token.
    pub fn loss(&mut self, what: &'static str, value: f64) {
        if !value.is_finite() {
            self.first.get_or_insert(NotFinite::Loss(what));
        }
    }

    /// The first number that was not finite.
    pub fn first(self) -> Option<NotFinite> {
        self.first
    }
}

/// The place of the first tensor that holds a number which is not finite; one read of the device for all of them.
pub fn first_not_finite<'t>(tensors: impl Iterator<Item = &'t Tensor<2>>) -> Option<usize> {
    // A sum is not finite as soon as one of its terms is not.
    sums(tensors, Of::Numbers).iter().position(|sum| !sum.is_finite())
}

/// What is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Numbers.
    Numbers,
    /// Their squares.
    Squares,
}

/// The sum of every tensor, read together.
pub fn sums<'t>(tensors: impl Iterator<Item = &'t Tensor<2>>, of: Of) -> Vec<f32> {
    let tensors: Vec<&Tensor<2>> = tensors.collect();
    if tensors.is_empty() {
        return Vec::new();
    }
    #[cfg(feature = "gpu")]
    if !is_cpu(&tensors[0].device()) {
        use crate::gpu::{SUMS, with_sums};
        let mut all = Tensor::<1>::empty([tensors.len() * SUMS], &tensors[0].device());
        for (place, tensor) in tensors.into_iter().enumerate() {
            all = with_sums(all, tensor.clone(), place * SUMS, of == Of::Squares);
        }
        return to_vec(all).chunks(SUMS).map(|parts| parts.iter().sum()).collect();
    }
    let sum = |tensor: &&Tensor<2>| match of {
        Of::Numbers => (*tensor).clone().sum(),
        Of::Squares => (*tensor).clone().square().sum(),
    };
    to_vec(Tensor::cat(tensors.iter().map(sum).collect(), 0))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_first_is_named_and_kept() {
        let mut watch = Watch::default();
        watch.answer("a", &[-0.1, -2.0], &[0.0, 1.0]);
        watch.loss("balance loss", 1.0);
        assert_eq!(watch.clone().first(), None);
        watch.answer("b", &[-0.1, f32::NAN], &[f32::INFINITY, 0.0]);
        watch.answer("c", &[f32::NEG_INFINITY], &[0.0]);
        watch.loss("balance loss", f64::NAN);
        let first = watch.first();
        assert_eq!(first, Some(NotFinite::Token { what: "log-prob", query: "b".to_owned(), token: 1 }));
        let said = first.expect("found").to_string();
        assert!(said.contains("token 1") && said.contains("`b`"), "{said}");
        let mut watch = Watch::default();
        watch.answer("d", &[-1.0], &[f32::INFINITY]);
        assert!(watch.first().expect("found").to_string().contains("derivative of token 0"));
    }

    #[test]
    fn a_tensor_with_one_bad_number_is_found() {
        let of = |values: [[f32; 2]; 2]| Tensor::<2>::from_floats(values, &Device::flex());
        let good = of([[1.0, -2.0], [3.0, 1e30]]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let bad = of([[0.0, 1.0], [bad, 2.0]]);
            assert_eq!(first_not_finite([&good, &bad, &bad].into_iter()), Some(1));
        }
        assert_eq!(first_not_finite([&good, &good].into_iter()), None);
        assert_eq!(first_not_finite(std::iter::empty()), None);
    }
}
