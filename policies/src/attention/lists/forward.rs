//! The kernel of attention by lists, forwards. A tensor of this file is one of the device's, `dim` the width of a head, and `each`
//! how many vectors a thread works on: what it reads of the other side serves all of them.

#![expect(
    clippy::too_many_lines,
    reason = "a kernel is one function: its threads keep their numbers from step to step"
)]

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::LANES;
use super::vector::{PART, STRIDE, add_products, add_rows, read_part, vector};

/// Below every score.
const LOWEST: f32 = -3.0e38;

#[cube(launch)]
pub(super) fn forward<I: Int>(
    q: &Tensor<f32>,
    k: &Tensor<f32>,
    v: &Tensor<f32>,
    rows: &Tensor<I>,
    list: &Tensor<I>,
    contexts: &mut Tensor<f32>,
    sums: &mut Tensor<f32>,
    scale: f32,
    causal: u32,
    #[comptime] dim: usize,
    #[comptime] lines: usize,
    #[comptime] each: usize,
    #[define(I)] _ids: ElemType,
) {
    let columns = comptime!(dim.div_ceil(LANES));
    let slots = comptime!(lines * each);
    let mut keys = Shared::<[f32]>::new_slice(LANES * STRIDE);
    let mut queries = Shared::<[f32]>::new_slice(comptime!(slots * dim));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(slots * LANES));
    let mut largest = Shared::<[f32]>::new_slice(slots);
    let mut kept = Shared::<[f32]>::new_slice(slots);
    let lane = UNIT_POS_X as usize;
    let slot = UNIT_POS_Y as usize * each;
    let of = vector::<I>(slot, q, k, rows, causal, dim);
    let width = k.shape(1);
    let start = CUBE_POS % (width / dim) * dim;
    let mut seen = Array::<usize>::new(each);
    let mut score = Array::<f32>::new(each);
    let mut context = Array::<f32>::new(comptime!(each * columns));
    #[unroll]
    for own in 0..each {
        let of = vector::<I>(slot + own, q, k, rows, causal, dim);
        seen[own] = of.seen;
        let mut at = lane;
        while at < dim {
            queries[(slot + own) * dim + at] = q[of.query + at] * scale;
            at += LANES;
        }
        #[unroll]
        for column in 0..columns {
            context[own * columns + column] = 0.0f32;
        }
    }
    // The first lanes of a line keep the largest score and the sum of a vector each.
    let mut before = f32::new(LOWEST);
    let mut sum = 0.0f32;
    let mut from = 0usize;
    while from < of.most {
        let count = usize::min(of.most - from, LANES);
        #[unroll]
        for own in 0..each {
            score[own] = 0.0f32;
        }
        let mut part = 0usize;
        while part < dim {
            let wide = usize::min(dim - part, PART);
            sync_cube();
            read_part::<I>(k, list, of.list + from, count, start + part, wide, &mut keys);
            sync_cube();
            add_products(&queries, slot * dim + part, &keys, wide, &mut score, dim, each);
            part += PART;
        }
        #[unroll]
        for own in 0..each {
            if from + lane >= seen[own] {
                score[own] = f32::new(LOWEST);
            }
            weights[(slot + own) * LANES + lane] = score[own];
        }
        sync_cube();
        if lane < each {
            let mut now = before;
            for key in 0..LANES {
                now = f32::max(now, weights[(slot + lane) * LANES + key]);
            }
            kept[slot + lane] = f32::exp(before - now);
            largest[slot + lane] = now;
            before = now;
        }
        sync_cube();
        #[unroll]
        for own in 0..each {
            let mut weight = 0.0f32;
            if from + lane < seen[own] {
                weight = f32::exp(score[own] - largest[slot + own]);
            }
            weights[(slot + own) * LANES + lane] = weight;
        }
        sync_cube();
        if lane < each {
            sum *= kept[slot + lane];
            for key in 0..LANES {
                sum += weights[(slot + lane) * LANES + key];
            }
        }
        #[unroll]
        for own in 0..each {
            #[unroll]
            for column in 0..columns {
                context[own * columns + column] *= kept[slot + own];
            }
        }
        add_rows::<I>(v, list, of.list + from, count, start, &weights, &mut context, dim, each);
        from += LANES;
    }
    sync_cube();
    if lane < each {
        kept[slot + lane] = sum;
    }
    sync_cube();
    #[unroll]
    for own in 0..each {
        let of = vector::<I>(slot + own, q, k, rows, causal, dim);
        if of.there {
            #[unroll]
            for column in 0..columns {
                let place = lane + column * LANES;
                if place < dim {
                    contexts[of.to * q.shape(1) + of.head * dim + place] =
                        context[own * columns + column] / kept[slot + own];
                }
            }
            if lane == 0 {
                let place = of.to * sums.shape(1) + of.head;
                sums[place] = largest[slot + own] + f32::ln(kept[slot + own]);
            }
        }
    }
}
