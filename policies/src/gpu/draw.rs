//! Tokens drawn from rows of logits where these are, a block for each row: what goes to the host is what a draw records.
//!
//! Shape suffixes: `m` rows, `w` vocabulary.

use std::collections::BTreeSet;

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Shape, Tensor, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::calculate_cube_count_elemwise;
use burn_cubecl::cubecl::prelude::CubeDim;

use self::kernel::{FOUND, draw};
use super::{THREADS, empty, in_one_piece};
use crate::tensor::{indices, to_vec};

/// For each of the first rows of `logits_mw` a token, its log-prob, the entropy and the mass of what is not banned. `asked` has what the
/// logits of a row are multiplied by, and the number from 0 up to 1 at which its token is drawn, or one below 0 for the likeliest.
pub(crate) fn drawn(logits_mw: Tensor<2>, asked: &[[f32; 2]], banned: &BTreeSet<u32>) -> Vec<[f32; FOUND]> {
    let ([_, width], device) = (logits_mw.dims(), logits_mw.device());
    let asked_m2 = Tensor::<2>::from_data(TensorData::new(asked.concat(), [asked.len(), 2]), &device);
    // A list has a number at least: one that no token has.
    let banned = banned.iter().map(|id| i64::from(*id)).filter(|id| *id < width as i64).chain([width as i64]);
    let banned = indices(banned, &device);
    let (logits, asked, banned) = (logits_mw.into_dispatch(), asked_m2.into_dispatch(), banned.into_dispatch());
    let found = to_vec(Tensor::<2>::from_dispatch(<Dispatch as DrawRows>::draw(logits, asked, banned)));
    found.as_chunks().0.to_vec()
}

/// The kernel as an operation.
#[backend_extension(Cube)]
trait DrawRows: Backend {
    /// See [`drawn`].
    fn draw(logits: FloatTensor<Self>, asked: FloatTensor<Self>, banned: IntTensor<Self>) -> FloatTensor<Self>;
}

impl DrawRows for CubeBackend {
    fn draw(logits: FloatTensor<Self>, asked: FloatTensor<Self>, banned: IntTensor<Self>) -> FloatTensor<Self> {
        let [logits, asked, banned] = in_one_piece([logits, asked, banned]);
        let rows = asked.meta.shape()[0];
        let (found, block) = (empty(Shape::new([rows, FOUND]), &logits), CubeDim::new_1d(THREADS));
        let blocks = calculate_cube_count_elemwise(&logits.client, rows * THREADS as usize, block);
        let ids = dtype_to_storage_type(banned.dtype);
        let [logits, asked, banned, to] = [logits, asked, banned, found.clone()].map(|tensor| tensor.into_tensor_arg());
        draw::launch(&found.client, blocks, block, logits, asked, banned, to, ids);
        found
    }
}

/// What runs there. A tensor of this module is one of the device's.
mod kernel {
    use burn_cubecl::cubecl;
    use burn_cubecl::cubecl::prelude::*;

    use crate::gpu::normaliser::{LOWEST, Normaliser, WIDE, normaliser};

    /// Numbers that are found for a row.
    pub(super) const FOUND: usize = 4;
    /// Neighbouring threads, which read neighbouring logits, and lines of them.
    const LANES: usize = 32;
    const LINES: usize = WIDE / LANES;
    /// Parts of a row, each summed by a line of threads.
    const PARTS: usize = 64;

    #[cube]
    fn is_banned<I: Int>(token: usize, banned: &Tensor<I>) -> bool {
        let mut found = false;
        for at in 0..banned.len() {
            found = found || usize::cast_from(banned[at]) == token;
        }
        found
    }

    /// The share of a token that may be drawn, times the sum.
    #[cube]
    fn weight<I: Int>(logits: &Tensor<f32>, at: usize, scale: f32, largest: f32, banned: &Tensor<I>) -> f32 {
        let mut found = f32::exp(logits[at] * scale - largest);
        if is_banned::<I>(at % logits.shape(1), banned) {
            found = 0.0f32;
        }
        found
    }

    /// Which of some sums a target lies in, and what was added before that.
    #[derive(CubeType)]
    struct Crossing {
        part: usize,
        passed: f32,
    }

    /// The first of `sums` that a target lies in, when they are added one by one to `before`; where rounding leaves none, the last
    /// that is not 0.
    #[cube]
    fn crossing(sums: &Shared<[f32]>, count: usize, before: f32, target: f32) -> Crossing {
        let mut part = 0usize;
        let mut passed = before;
        let mut sum = before;
        let mut there = false;
        for at in 0..count {
            let own = sums[at];
            if !there && own > 0.0f32 {
                part = at;
                passed = sum;
                there = sum + own > target;
            }
            sum += own;
        }
        Crossing { part, passed }
    }

    /// The likeliest token that is not banned, of equals the first.
    #[cube]
    fn likeliest<I: Int>(
        logits: &Tensor<f32>,
        start: usize,
        banned: &Tensor<I>,
        most: &mut Shared<[f32]>,
        tokens: &mut Shared<[u32]>,
    ) -> usize {
        let unit = UNIT_POS as usize;
        let width = logits.shape(1);
        let mut best = f32::new(LOWEST);
        let mut token = 0usize;
        let mut at = unit;
        while at < width {
            let logit = logits[start + at];
            if logit > best && !is_banned::<I>(at, banned) {
                best = logit;
                token = at;
            }
            at += WIDE;
        }
        sync_cube();
        most[unit] = best;
        tokens[unit] = u32::cast_from(token);
        sync_cube();
        let mut best = most[0];
        let mut token = tokens[0];
        for other in 1..WIDE {
            let logit = most[other];
            if logit > best || (logit == best && tokens[other] < token) {
                best = logit;
                token = tokens[other];
            }
        }
        usize::cast_from(token)
    }

    /// The sums of the parts of a row, in the first places of `sums`; lines of threads read neighbouring logits.
    #[cube]
    fn sum_parts<I: Int>(
        logits: &Tensor<f32>,
        of: &Normaliser,
        scale: f32,
        length: usize,
        banned: &Tensor<I>,
        shares: &mut Shared<[f32]>,
        sums: &mut Shared<[f32]>,
    ) {
        let unit = UNIT_POS as usize;
        let lane = unit % LANES;
        let mut part = unit / LANES;
        while part < PARTS {
            let end = usize::min(part * length + length, logits.shape(1));
            let mut own = 0.0f32;
            let mut at = part * length + lane;
            while at < end {
                own += weight::<I>(logits, of.start + at, scale, of.largest, banned);
                at += LANES;
            }
            shares[part * LANES + lane] = own;
            part += LINES;
        }
        sync_cube();
        if unit < PARTS {
            let mut own = 0.0f32;
            for other in 0..LANES {
                own += shares[unit * LANES + other];
            }
            sums[unit] = own;
        }
        sync_cube();
    }

    /// A row's scale and a number from 0 up to 1, at which its token is drawn, or one below 0 for the likeliest.
    #[cube(launch)]
    pub(super) fn draw<I: Int>(
        logits: &Tensor<f32>,
        asked: &Tensor<f32>,
        banned: &Tensor<I>,
        to: &mut Tensor<f32>,
        #[define(I)] _ids: ElemType,
    ) {
        let mut shared = Shared::<[f32]>::new_slice(WIDE);
        let mut tokens = Shared::<[u32]>::new_slice(WIDE);
        let mut parts = Shared::<[f32]>::new_slice(PARTS * LANES);
        let unit = UNIT_POS as usize;
        let width = logits.shape(1);
        // A block without a row reads the last one, and writes nothing.
        let row = usize::min(CUBE_POS, asked.shape(0) - 1);
        let scale = asked[2 * row];
        let chance = asked[2 * row + 1];
        let of = normaliser(logits, row, scale, &mut shared);
        let mut token = 0usize;
        if chance < 0.0f32 {
            token = likeliest::<I>(logits, of.start, banned, &mut shared, &mut tokens);
        }
        let length = width.div_ceil(PARTS);
        sum_parts::<I>(logits, &of, scale, length, banned, &mut parts, &mut shared);
        let mut all = 0.0f32;
        for other in 0..PARTS {
            all += shared[other];
        }
        let target = chance * all;
        let of_part = crossing(&shared, PARTS, 0.0f32, target);
        // The sums of stretches of that part, one for each thread.
        let begin = of_part.part * length;
        let end = usize::min(begin + length, width);
        let stretch = length.div_ceil(WIDE);
        let from = usize::min(begin + unit * stretch, end);
        let until = usize::min(from + stretch, end);
        let mut own = 0.0f32;
        for at in from..until {
            own += weight::<I>(logits, of.start + at, scale, of.largest, banned);
        }
        sync_cube();
        shared[unit] = own;
        sync_cube();
        let of_stretch = crossing(&shared, WIDE, of_part.passed, target);
        if unit == 0 && CUBE_POS == row {
            if chance >= 0.0f32 {
                let from = usize::min(begin + of_stretch.part * stretch, end);
                let until = usize::min(from + stretch, end);
                let mut sum = of_stretch.passed;
                let mut there = false;
                for at in from..until {
                    let own = weight::<I>(logits, of.start + at, scale, of.largest, banned);
                    if !there && own > 0.0f32 {
                        token = at;
                        there = sum + own > target;
                    }
                    sum += own;
                }
            }
            to[FOUND * row] = f32::cast_from(token);
            to[FOUND * row + 1] = logits[of.start + token] * scale - of.largest - f32::ln(of.sum);
            to[FOUND * row + 2] = of.entropy;
            to[FOUND * row + 3] = all / of.sum;
        }
    }
}
