//! Resizing of 8-bit pictures: separable and antialiased, in the fixed point that the reference uses.

/// The kernel that pixels are weighed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Keys' cubic kernel with a = -0.5.
    Bicubic,
    /// The triangle.
    Bilinear,
}

impl Kernel {
    /// How far it reaches from its centre, in pixels of the larger of the two sizes.
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Bilinear => 1.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bicubic => cubic(x),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
        }
    }
}

/// Resizes interleaved 8-bit RGB, columns first, then rows; each pass is rounded and clamped.
pub(super) fn resize(
    pixels: &[u8],
    [height, width]: [usize; 2],
    [new_height, new_width]: [usize; 2],
    kernel: Kernel,
) -> Vec<u8> {
    let mut current = pixels.to_vec();
    if new_width != width {
        let taps = taps(width, new_width, kernel);
        let mut out = Vec::with_capacity(height * new_width * 3);
        for row in current.chunks(width * 3) {
            for (start, weights) in &taps.outputs {
                out.extend((0..3).map(|channel| weigh(&taps, weights, |tap| row[(start + tap) * 3 + channel])));
            }
        }
        current = out;
    }
    if new_height != height {
        let stride = new_width * 3;
        let mut out = Vec::with_capacity(new_height * stride);
        let taps = taps(height, new_height, kernel);
        for (start, weights) in &taps.outputs {
            out.extend((0..stride).map(|column| weigh(&taps, weights, |tap| current[(start + tap) * stride + column])));
        }
        current = out;
    }
    current
}

fn weigh(taps: &Taps, weights: &[i32], value: impl Fn(usize) -> u8) -> u8 {
    let half = 1_i32 << (taps.precision - 1);
    let sum: i32 = weights.iter().enumerate().map(|(tap, weight)| weight * i32::from(value(tap))).sum();
    ((sum + half) >> taps.precision).clamp(0, 255) as u8
}

/// The weights of one pass in fixed point: as the reference does on 8-bit values, with as many bits as 16 can hold.
struct Taps {
    /// Bits behind the point, at least 1.
    precision: u32,
    /// For every output index its first input index and the weights from there on.
    outputs: Vec<(usize, Vec<i32>)>,
}

fn taps(size: usize, new_size: usize, kernel: Kernel) -> Taps {
    let scale = size as f64 / new_size as f64;
    let stretch = scale.max(1.0);
    let support = kernel.support() * stretch;
    let exact: Vec<(usize, Vec<f64>)> = (0..new_size)
        .map(|index| {
            let centre = (index as f64 + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(size);
            let mut weights: Vec<f64> =
                (start..end).map(|at| kernel.weight((at as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
            (start, weights)
        })
        .collect();
    let largest = exact.iter().flat_map(|(_, weights)| weights).copied().fold(0.0, f64::max);
    let precision = (1..22).find(|bits| 0.5 + largest * f64::from(1_u32 << (bits + 1)) >= 32_768.0).unwrap_or(22);
    let fixed = |weight: f64| (weight * f64::from(1_u32 << precision)).round() as i32;
    let outputs = exact.into_iter().map(|(start, weights)| (start, weights.into_iter().map(fixed).collect())).collect();
    Taps { precision, outputs }
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}
