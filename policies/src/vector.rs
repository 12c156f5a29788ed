//! Arithmetic over runs of [`LANES`] numbers, compiled for the vectors that the machine has.
//!
//! Loops over arrays of that length become vector instructions by themselves where they are called through
//! [`vectorised`], and every number is computed in the same way wherever it stands in such a run.

use pulp::Arch;

/// Numbers in a run.
pub(crate) const LANES: usize = 16;

/// A run of numbers.
pub(crate) type Run = [f32; LANES];

/// Runs `work` compiled for the best vectors of this machine. What it calls must be inlined into it.
#[inline(always)]
pub(crate) fn vectorised<T>(work: impl FnOnce() -> T) -> T {
    Arch::new().dispatch(work)
}

/// The vectors of this machine that loops are compiled for: `avx512`, `avx2`, `none`, or what the library calls others.
pub fn vector_units() -> String {
    let arch = format!("{:?}", Arch::new());
    match arch.split(['(', ' ']).next().unwrap_or_default() {
        "V4" => "avx512".to_owned(),
        "V3" => "avx2".to_owned(),
        "Scalar" => "none".to_owned(),
        other => other.to_lowercase(),
    }
}

/// `e^x` for `x` up to 88, within two units in the last place; 0 below about -87, where single precision loses digits.
#[inline(always)]
pub(crate) fn exp(x: &Run) -> Run {
    // x = n ln 2 + r with |r| <= ln 2 / 2: 2^n is made of its bits, e^r by a polynomial (coefficients of Cephes).
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LEAST: f32 = -87.3;
    const LARGE: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const TERMS: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let mut y = [0.0; LANES];
    for (y, x) in y.iter_mut().zip(x) {
        let clamped = if *x > LEAST { *x } else { LEAST };
        // Added to the large number, n is rounded and stands in the last bits.
        let rounded = clamped.mul_add(LOG2_E, LARGE);
        let n = rounded - LARGE;
        let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
        let mut sum = TERMS[0];
        for term in &TERMS[1..] {
            sum = sum.mul_add(r, *term);
        }
        let e_r = sum.mul_add(r * r, r + 1.0);
        // From -126 to 127: a normal number's exponent.
        let two_n = f32::from_bits(rounded.to_bits().wrapping_sub(LARGE.to_bits() - 127) << 23);
        let value = e_r * two_n;
        let value = if *x < LEAST { 0.0 } else { value };
        *y = if x.is_nan() { *x } else { value };
    }
    y
}

/// Adds `factor * run` to a run of sums.
#[inline(always)]
pub(crate) fn add_scaled(sums: &mut Run, factor: f32, run: &Run) {
    // Whole runs are read and written, so that they stay in one register.
    let (mut all, run) = (*sums, *run);
    for lane in 0..LANES {
        all[lane] = factor.mul_add(run[lane], all[lane]);
    }
    *sums = all;
}

/// The run at a place, filled up with zeros.
#[inline(always)]
pub(crate) fn run_of(numbers: &[f32], at: usize) -> Run {
    match numbers[at..].first_chunk::<LANES>() {
        Some(run) => *run,
        None => {
            let mut run = [0.0; LANES];
            run[..numbers.len() - at].copy_from_slice(&numbers[at..]);
            run
        }
    }
}

/// Writes a run at its place, as far as there is room.
#[inline(always)]
pub(crate) fn put(numbers: &mut [f32], at: usize, run: &Run) {
    let count = LANES.min(numbers.len() - at);
    numbers[at..at + count].copy_from_slice(&run[..count]);
}

/// The sum of a run, always in the same order.
#[inline(always)]
pub(crate) fn sum(run: &Run) -> f32 {
    let mut eight = [0.0_f32; 8];
    for lane in 0..8 {
        eight[lane] = run[lane] + run[lane + 8];
    }
    let mut four = [0.0_f32; 4];
    for lane in 0..4 {
        four[lane] = eight[lane] + eight[lane + 4];
    }
    (four[0] + four[2]) + (four[1] + four[3])
}

/// The largest of a run.
#[inline(always)]
pub(crate) fn largest(run: &Run) -> f32 {
    let mut left = *run;
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            left[lane] = if left[lane + half] > left[lane] { left[lane + half] } else { left[lane] };
        }
        half /= 2;
    }
    left[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_exact_to_two_units() {
        let mut worst = 0.0_f64;
        for step in 0..200_000 {
            let x = -87.2 + step as f32 * 8.7e-4;
            let y = vectorised(|| exp(&[x; LANES]));
            assert!(y.iter().all(|lane| lane.to_bits() == y[0].to_bits()), "every lane computes the same");
            let exact = f64::from(x).exp();
            let unit = f64::from(f32::EPSILON) * exact;
            worst = worst.max((f64::from(y[0]) - exact).abs() / unit);
        }
        assert!(worst < 2.0, "{worst} units");
    }

    #[test]
    fn the_ends_of_the_exponential() {
        let mut x = [0.0; LANES];
        x[..5].copy_from_slice(&[f32::NEG_INFINITY, -200.0, 0.0, f32::NAN, 1.0]);
        let y = vectorised(|| exp(&x));
        assert_eq!(y[..3], [0.0, 0.0, 1.0]);
        assert!(y[3].is_nan());
        assert!((y[4] - std::f32::consts::E).abs() < 1e-6);
    }
}
