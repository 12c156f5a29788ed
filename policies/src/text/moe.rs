//! Mixture of experts: a router that picks a few experts for every row, and experts, which compute their rows only.
//!
//! Rows are gathered expert by expert into a padded block, so that all experts at work run in one batched product, and
//! come back in the order of expert indices: what a row is summed from, and in which order, depends on that row alone. On a GPU
//! nothing is padded, and the host does not know who chose what.
//!
//! Shape suffixes: `t` rows, `d` width, `e` experts, `c` experts at work (at least one row each), `m` rows of the
//! fullest of them, `k` experts of a row, `i` width of an expert, `o` twice that (gate, then up).

use burn::tensor::{Int, Tensor, TensorData};

use crate::config::{ExpertLayout, MoeConfig};
#[cfg(feature = "gpu")]
use crate::format::WeightFormat;
#[cfg(feature = "gpu")]
use crate::gpu::experts::{Maps, Order, choices_of, most_probable, product, sum, through};
use crate::nn::{Linear, Param, fewest_rows, parameters, rounded_to, swiglu};
#[cfg(feature = "gpu")]
use crate::tensor::is_cpu;
use crate::tensor::{softmax, to_f32, to_vec};

/// The feed-forward part of a sparse layer.
#[derive(Clone, Debug)]
pub struct SparseMlp {
    /// Rates experts, `[e, d]`.
    pub router: Linear,
    /// Gate and input of every expert, one after the other: `[e, o*d]` in the order of `layout`.
    pub gate_up: Param,
    /// Output of every expert, `[e, i*d]` in the order of `layout`.
    pub down: Param,
    /// Sizes, and how the weights are stored.
    pub config: MoeConfig,
}
parameters!(SparseMlp { router, gate_up, down });

impl SparseMlp {
    /// `x_td` to `[t, d]`, and the router's probabilities `[t, e]`.
    pub(super) fn forward(&self, x_td: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let [rows, width] = x_td.dims();
        let probs_te = softmax(self.router.forward(x_td.clone()));
        if rows == 0 {
            return (x_td, probs_te);
        }
        let k = self.config.top_k;
        #[cfg(feature = "gpu")]
        if !is_cpu(&x_td.device()) {
            return (self.on_gpu(x_td, probs_te.clone()), probs_te);
        }
        // Which experts a row takes is decided on the host, and has no gradient: that goes through the weights alone.
        let choices = top_k(&to_vec(probs_te.clone()), self.config.experts, k);
        let device = x_td.device();
        let inner = self.config.intermediate_size;
        // A row's products then have the same bits however many rows its expert has.
        let least = fewest_rows(2 * inner, width).max(fewest_rows(width, inner));
        let routing = Routing::new(&choices, k, self.config.experts, least);
        let indices = |values: &[i64]| -> Tensor<1, Int> {
            Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &device)
        };
        let experts_tk: Tensor<2, Int> = indices(&routing.choices).reshape([rows, k]);
        let weights_tk = shares(probs_te.clone(), experts_tk);

        let (c, m) = (routing.experts.len(), routing.width);
        let maps = |param: &Param, outputs: usize, inputs: usize| -> Tensor<3> {
            let all = param.value.clone();
            // All experts at work, as in any large batch, need no copy of their weights.
            let some = if c == self.config.experts { all } else { all.select(0, indices(&routing.experts)) };
            let maps = rounded_to(param.matmul, to_f32(some)).reshape(self.config.layout.shape(c, outputs, inputs));
            match self.config.layout {
                ExpertLayout::InOut => maps,
                ExpertLayout::OutIn => maps.swap_dims(1, 2),
            }
        };
        let x_td = rounded_to(self.gate_up.matmul, x_td);
        let x_cmd: Tensor<3> = x_td.select(0, indices(&routing.slots)).reshape([c, m, width]);
        let both_cmo = x_cmd.matmul(maps(&self.gate_up, 2 * inner, width));
        let half = |start: usize| both_cmo.clone().narrow(2, start, inner).reshape([c * m, inner]);
        let gated_cmi: Tensor<3> = rounded_to(self.down.matmul, swiglu(half(0), half(inner))).reshape([c, m, inner]);
        let y_cmd = gated_cmi.matmul(maps(&self.down, width, inner));
        let y_tkd: Tensor<3> =
            y_cmd.reshape([c * m, width]).select(0, indices(&routing.places)).reshape([rows, k, width]);
        (weighted(y_tkd, weights_tk), probs_te)
    }
}

#[cfg(feature = "gpu")]
impl SparseMlp {
    /// What rows of a GPU become.
    fn on_gpu(&self, x_td: Tensor<2>, probs_te: Tensor<2>) -> Tensor<2> {
        let MoeConfig { experts, top_k: k, intermediate_size: inner, layout, .. } = self.config;
        let [rows, width] = x_td.dims();
        let choices_tk = most_probable(probs_te.clone(), k);
        let weights_tk = shares(probs_te, choices_tk.clone());
        let maps = |param: &Param, inputs: usize, outputs: usize| Maps {
            inputs,
            outputs,
            in_out: layout == ExpertLayout::InOut,
            rounded: param.matmul == WeightFormat::Bf16,
        };
        let (up, down) = (maps(&self.gate_up, width, 2 * inner), maps(&self.down, inner, width));
        let gated = |both_no: Tensor<2>| {
            let half = |start: usize| both_no.clone().narrow(1, start, inner);
            rounded_to(self.down.matmul, swiglu(half(0), half(inner)))
        };
        let x_td = rounded_to(self.gate_up.matmul, x_td);
        let [of_up, of_down] = [&self.gate_up, &self.down].map(|param| param.value.clone());
        // With no more choices than experts, no weight is likely to serve two rows: each choice reads its own.
        if rows * k <= experts && !x_td.device().is_autodiff() {
            let both_no = through(x_td, of_up, choices_tk.clone(), up);
            let y_tkd: Tensor<3> = through(gated(both_no), of_down, choices_tk, down).reshape([rows, k, width]);
            return weighted(y_tkd, weights_tk);
        }
        let order = Order::new(choices_tk, experts);
        let both_no = product(x_td, of_up, &order, up, false);
        sum(product(gated(both_no), of_down, &order, down, true), weights_tk, &order)
    }
}

/// What the experts of a row count for, `[t, k]`: their probabilities, divided by their sum.
fn shares(probs_te: Tensor<2>, choices_tk: Tensor<2, Int>) -> Tensor<2> {
    let weights_tk = probs_te.gather(1, choices_tk);
    weights_tk.clone() / weights_tk.sum_dim(1)
}

/// The weighted sum of what a row's experts made of it, `[t, d]`.
fn weighted(y_tkd: Tensor<3>, weights_tk: Tensor<2>) -> Tensor<2> {
    let [rows, k, width] = y_tkd.dims();
    (y_tkd * weights_tk.reshape([rows, k, 1])).sum_dim(1).reshape([rows, width])
}

/// The `k` most probable experts of every row, ascending by index; of equals the first. `probs` is `[t, e]`.
fn top_k(probs: &[f32], experts: usize, k: usize) -> Vec<usize> {
    let mut all = Vec::with_capacity(probs.len() / experts * k);
    for row in probs.chunks(experts) {
        let mut order: Vec<usize> = (0..experts).collect();
        order.sort_by(|a, b| row[*b].total_cmp(&row[*a]).then(a.cmp(b)));
        order.truncate(k);
        order.sort_unstable();
        all.extend(order);
    }
    all
}

/// Which expert computes which rows, in a block of `experts` times `width` slots.
#[derive(Debug, PartialEq)]
struct Routing {
    /// The choices as they came, `[t*k]`.
    choices: Vec<i64>,
    /// Experts with at least one row, ascending, `[c]`.
    experts: Vec<i64>,
    /// Slots of each expert: the rows of the fullest, or more.
    width: usize,
    /// The row in each slot, `[c*m]`; free slots compute row 0 for nothing.
    slots: Vec<i64>,
    /// The slot of each choice, `[t*k]`.
    places: Vec<i64>,
}

impl Routing {
    /// `choices` holds the `k` experts of every row; every expert has at least `least` slots.
    fn new(choices: &[usize], k: usize, experts: usize, least: usize) -> Self {
        let mut counts = vec![0; experts];
        choices.iter().for_each(|expert| counts[*expert] += 1);
        let width = counts.iter().copied().max().unwrap_or(0).max(least);
        let busy: Vec<usize> = (0..experts).filter(|expert| counts[*expert] > 0).collect();
        let mut next = vec![0; experts];
        for (position, expert) in busy.iter().enumerate() {
            next[*expert] = position * width;
        }
        let mut routing = Self {
            choices: choices.iter().map(|expert| *expert as i64).collect(),
            experts: busy.iter().map(|expert| *expert as i64).collect(),
            width,
            slots: vec![0; busy.len() * width],
            places: Vec::with_capacity(choices.len()),
        };
        for (choice, expert) in choices.iter().enumerate() {
            let slot = next[*expert];
            next[*expert] += 1;
            routing.slots[slot] = (choice / k) as i64;
            routing.places.push(slot as i64);
        }
        routing
    }
}

/// The load-balancing loss `[1]` of the router probabilities `[t, e]` of all sparse layers (kept by a trace as
/// `router_LAYER`): experts times the sum over experts of (choices of the expert per row) times (its mean probability).
/// It is `k` when all experts are used alike; the gradient goes through the probabilities. `None` without a row.
pub fn balance_loss(routers: &[Tensor<2>], k: usize) -> Option<Tensor<1>> {
    let experts = routers.first()?.dims()[1];
    let all_te = Tensor::cat(routers.to_vec(), 0);
    let rows = all_te.dims()[0];
    if rows == 0 {
        return None;
    }
    let counts_1e = counts(&all_te, k);
    let shares_1e = counts_1e * (experts as f32 / rows as f32);
    Some((all_te.mean_dim(0) * shares_1e).sum())
}

/// How many rows of `probs_te` take each of the experts, `[1, e]`.
fn counts(probs_te: &Tensor<2>, k: usize) -> Tensor<2> {
    let ([_, experts], device) = (probs_te.dims(), probs_te.device());
    #[cfg(feature = "gpu")]
    if !is_cpu(&device) {
        let counts_e = choices_of(most_probable(probs_te.clone(), k), experts);
        return counts_e.float().reshape([1, experts]);
    }
    let mut counts = vec![0.0_f32; experts];
    top_k(&to_vec(probs_te.clone()), experts, k).iter().for_each(|expert| counts[*expert] += 1.0);
    Tensor::from_data(TensorData::new(counts, [1, experts]), &device)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_first_of_equals_is_taken() {
        assert_eq!(top_k(&[0.1, 0.4, 0.1, 0.4, 0.25, 0.25, 0.25, 0.25], 4, 2), [1, 3, 0, 1]);
        assert_eq!(top_k(&[f32::NAN, 0.2, 0.3], 3, 1), [0], "NaN chooses something, and does not panic");
    }

    #[test]
    fn only_experts_at_work_get_slots() {
        // Three rows, two experts each, of five: expert 2 is nobody's choice.
        let routing = Routing::new(&[1, 3, 1, 4, 0, 1], 2, 5, 1);
        let golden = Routing {
            choices: vec![1, 3, 1, 4, 0, 1],
            experts: vec![0, 1, 3, 4],
            width: 3,
            slots: vec![2, 0, 0, 0, 1, 2, 0, 0, 0, 1, 0, 0],
            places: vec![3, 6, 4, 9, 0, 5],
        };
        assert_eq!(routing, golden);
    }

    #[test]
    fn the_balance_loss_is_what_its_formula_says() {
        let device = Device::flex();
        let probs = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [2, 4]), &device);
        let even = [probs(vec![0.4, 0.4, 0.1, 0.1, 0.1, 0.1, 0.4, 0.4])];
        let loss = |routers: &[Tensor<2>]| to_vec(balance_loss(routers, 2).expect("there are rows"))[0];
        assert!((loss(&even) - 2.0).abs() < 1e-6, "all experts are used alike");
        // Over both layers the choices are 3, 3, 1, 1 of 4 rows, and the mean probabilities 0.4, 0.325, 0.1375, 0.1375.
        let uneven = probs(vec![0.6, 0.3, 0.05, 0.05, 0.5, 0.5, 0.0, 0.0]);
        let golden = 4.0 * (0.75 * 0.4 + 0.75 * 0.325 + 0.25 * (0.1375 + 0.1375));
        assert!((loss(&[even[0].clone(), uneven]) - golden).abs() < 1e-6);
        assert!(balance_loss(&[], 2).is_none());
    }

    #[test]
    fn the_balance_loss_pulls_at_the_router() {
        let device = Device::flex().autodiff();
        let values = vec![0.6_f32, 0.3, 0.1, 0.5, 0.1, 0.4];
        let probs = Tensor::<2>::from_data(TensorData::new(values, [2, 3]), &device).require_grad();
        let loss = balance_loss(std::slice::from_ref(&probs), 1).expect("there are rows");
        let gradient = to_vec(probs.grad(&loss.backward()).expect("a gradient"));
        // Expert 0 has both choices: 3 experts times a share of 1, over 2 rows.
        assert_eq!(gradient, [1.5, 0.0, 0.0, 1.5, 0.0, 0.0]);
    }
}
