//! Rows of logits behind tokens that were fed: read by the host, or drawn from on the GPU where they are.

use std::collections::BTreeSet;

use burn::tensor::Tensor;

use crate::tensor::to_vec;

/// Logits of some of those that were fed.
#[derive(Debug)]
pub struct Logits {
    /// Their numbers among those that were fed.
    pub numbers: Vec<usize>,
    rows: Rows,
}

/// A row of the vocabulary for each of them.
#[derive(Debug)]
enum Rows {
    /// One after the other.
    Read(Vec<f32>),
    /// `[m, w]` on a GPU; there may be more rows.
    #[cfg(feature = "gpu")]
    There(Box<Tensor<2>>),
}

/// How a row's token is drawn from the whole distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance {
    /// Divides the logits, and those of recorded log-probs.
    pub temperature: f64,
    /// A number from 0 up to 1: the token is drawn whose share of the cumulated probabilities holds it. `None` takes the likeliest.
    pub at: Option<f64>,
}

/// A token that was drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// The token.
    pub token: u32,
    /// Its log-prob among all tokens, the banned included.
    pub log_prob: f32,
    /// Entropy of that distribution, in nats.
    pub entropy: f32,
    /// Probability mass of banned tokens.
    pub banned_mass: f32,
}

/// What a GPU is asked to draw.
#[derive(Debug)]
pub struct Draws {
    /// One for each row.
    pub chances: Vec<Chance>,
    /// Tokens that are not drawn.
    pub banned: BTreeSet<u32>,
}

/// What was found of rows of logits.
#[derive(Debug)]
pub enum Found {
    /// The logits, one row after the other.
    Values(Vec<f32>),
    /// A token of each row.
    Drawn(Vec<Drawn>),
}

impl Logits {
    /// Of the first rows, as many as `numbers` has. A CPU's are read at once, by whoever computed them.
    pub(crate) fn new(numbers: Vec<usize>, rows_mw: Tensor<2>) -> Self {
        #[cfg(feature = "gpu")]
        if !crate::tensor::is_cpu(&rows_mw.device()) {
            return Self { numbers, rows: Rows::There(Box::new(rows_mw)) };
        }
        Self { rows: Rows::Read(read(rows_mw, numbers.len())), numbers }
    }

    /// The logits, one row after the other.
    pub fn values(self) -> Vec<f32> {
        match self.rows {
            Rows::Read(values) => values,
            #[cfg(feature = "gpu")]
            Rows::There(rows_mw) => read(*rows_mw, self.numbers.len()),
        }
    }

    /// Tokens where a GPU can draw them, so that no row goes to the host: `draws` says how, and is asked on a GPU alone. Else the
    /// logits. A GPU draws the tokens that the host would, unless a draw falls within rounding of a boundary.
    pub fn drawn_or_values(self, draws: impl FnOnce() -> Option<Draws>) -> Found {
        #[cfg(feature = "gpu")]
        if let Rows::There(rows_mw) = &self.rows
            && let Some(draws) = draws()
        {
            return Found::Drawn(draws.of(*rows_mw.clone()));
        }
        #[cfg(not(feature = "gpu"))]
        let _ = draws;
        Found::Values(self.values())
    }
}

#[cfg(feature = "gpu")]
impl Draws {
    /// The tokens that a GPU draws from the first of its rows.
    fn of(&self, rows_mw: Tensor<2>) -> Vec<Drawn> {
        let asked = |one: &Chance| [(1.0 / one.temperature) as f32, one.at.map_or(-1.0, |at| at as f32)];
        let asked: Vec<[f32; 2]> = self.chances.iter().map(asked).collect();
        let of = |[token, log_prob, entropy, left]: [f32; 4]| Drawn {
            token: token as u32,
            log_prob,
            entropy,
            // Where nothing is banned, what is missing is rounding.
            banned_mass: if self.banned.is_empty() { 0.0 } else { (1.0 - left).max(0.0) },
        };
        crate::gpu::draw::drawn(rows_mw, &asked, &self.banned).into_iter().map(of).collect()
    }
}

/// The first rows of a matrix, one after the other.
fn read(rows_mw: Tensor<2>, count: usize) -> Vec<f32> {
    let [_, width] = rows_mw.dims();
    let mut values = to_vec(rows_mw);
    values.truncate(count * width);
    values
}
