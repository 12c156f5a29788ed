//! Norms over the columns of rows.
//!
//! Shape suffixes: `t` rows (tokens or patches), `d` width.

use burn::tensor::Tensor;

use super::linear::parameters;
use super::param::Param;
use super::rms::rms_norm;

/// `x * rsqrt(mean(x^2) + eps) * weight` over the columns.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// Weight `[1, d]`.
    pub weight: Param,
    /// Added to the mean square.
    pub eps: f64,
}
parameters!(RmsNorm { weight });

impl RmsNorm {
    /// `x_td` to `[t, d]`.
    pub fn forward(&self, x_td: Tensor<2>) -> Tensor<2> {
        rms_norm(x_td, self.weight.to_f32(), self.eps)
    }
}

/// Layer normalisation over the columns, with bias: the norm above of what is left without the mean.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Weight `[1, d]`.
    pub weight: Param,
    /// Bias `[1, d]`.
    pub bias: Param,
}
parameters!(LayerNorm { weight, bias });

impl LayerNorm {
    const EPS: f64 = 1e-6;

    /// `x_td` to `[t, d]`.
    pub fn forward(&self, x_td: Tensor<2>) -> Tensor<2> {
        let centred_td = x_td.clone() - x_td.mean_dim(1);
        rms_norm(centred_td, self.weight.to_f32(), Self::EPS) + self.bias.to_f32()
    }
}
