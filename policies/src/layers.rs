//! The layers that both halves of the model are made of: linear maps and norms over rows.
//!
//! Shape suffixes: `t` rows (tokens or patches), `i` inputs, `o` outputs, `d` width.

use burn::tensor::Tensor;

use crate::lora::Lora;
use crate::param::{Param, Parameters, holds, linear_map};

/// A linear map; the weight is stored `[outputs, inputs]`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Weight `[o, i]`.
    pub weight: Param,
    /// Bias `[1, o]`.
    pub bias: Option<Param>,
    /// What is learned beside the weight, if the policy has an adapter here.
    pub lora: Option<Lora>,
}

impl Parameters for Linear {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Param)) {
        self.weight.visit(visit);
        self.bias.visit(visit);
        self.lora.visit(visit);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Param)) {
        self.weight.visit_mut(visit);
        self.bias.visit_mut(visit);
        self.lora.visit_mut(visit);
    }

    fn visit_linears<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
    }

    fn visit_linears_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Self)) {
        visit(self);
    }
}

impl Linear {
    /// `x_ti` to `[t, o]`.
    pub fn forward(&self, x_ti: Tensor<2>) -> Tensor<2> {
        let beside_to = self.lora.as_ref().and_then(|lora| lora.beside(&x_ti));
        let y_to = linear_map(x_ti, &self.weight);
        let y_to = match &self.bias {
            Some(bias) => y_to + bias.wide(),
            None => y_to,
        };
        match beside_to {
            Some(beside_to) => y_to + beside_to,
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
