//! The layers that both halves of the model are made of: linear maps and norms over rows.
//!
//! Shape suffixes: `t` rows (tokens or patches), `i` inputs, `o` outputs, `d` width.

use burn::tensor::Tensor;

use crate::param::{Param, holds};

/// A linear map; the weight is stored `[outputs, inputs]`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Weight `[o, i]`.
    pub weight: Param,
    /// Bias `[1, o]`.
    pub bias: Option<Param>,
}
holds!(Linear { weight, bias });

impl Linear {
    /// `x_ti` to `[t, o]`.
    pub fn forward(&self, x_ti: Tensor<2>) -> Tensor<2> {
        let y_to = self.weight.product(x_ti);
        match &self.bias {
            Some(bias) => y_to + bias.wide(),
            None => y_to,
        }
    }
}

/// `x * rsqrt(mean(x^2) + eps) * weight` over the columns.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// Weight `[1, d]`.
    pub weight: Param,
    /// Added to the mean square.
    pub eps: f64,
}
holds!(RmsNorm { weight });

impl RmsNorm {
    /// `x_td` to `[t, d]`.
    pub fn forward(&self, x_td: Tensor<2>) -> Tensor<2> {
        let mean_square_t1 = x_td.clone().square().mean_dim(1);
        let scale_t1 = (mean_square_t1 + self.eps).sqrt().recip();
        x_td * scale_t1 * self.weight.wide()
    }
}

/// Layer normalisation over the columns, with bias.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Weight `[1, d]`.
    pub weight: Param,
    /// Bias `[1, d]`.
    pub bias: Param,
}
holds!(LayerNorm { weight, bias });

impl LayerNorm {
    const EPS: f64 = 1e-6;

    /// `x_td` to `[t, d]`.
    pub fn forward(&self, x_td: Tensor<2>) -> Tensor<2> {
        let centred_td = x_td.clone() - x_td.mean_dim(1);
        let variance_t1 = centred_td.clone().square().mean_dim(1);
        let scale_t1 = (variance_t1 + Self::EPS).sqrt().recip();
        centred_td * scale_t1 * self.weight.wide() + self.bias.wide()
    }
}
