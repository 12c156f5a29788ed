//! Pictures to patches: the size rule, antialiased bicubic resizing on 8-bit values, normalisation, merge-block order.

use image::{DynamicImage, Rgb, RgbImage};
use serde_json::Value;

use crate::error::{PolicyError, Result};
use crate::input::PictureInput;

/// The largest ratio of the sides that is accepted.
const MAX_ASPECT: f64 = 200.0;

/// Settings of the image processor.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessor {
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Times that a still picture repeats itself along time.
    pub temporal_patch_size: usize,
    /// Side of the block of patches that becomes one token.
    pub merge_size: usize,
    /// Smallest area in pixels; smaller pictures are scaled up.
    pub min_pixels: usize,
    /// Largest area in pixels; larger pictures are scaled down.
    pub max_pixels: usize,
    /// Mean that is taken off each channel, on the scale 0 to 1.
    pub mean: [f64; 3],
    /// Deviation that each channel is divided by.
    pub std: [f64; 3],
}

impl ImageProcessor {
    /// Reads `preprocessor_config.json`, or the `image_processor` of a `processor_config.json`.
    ///
    /// # Errors
    /// When a size is missing or makes no sense.
    pub fn from_json(config: &Value, file: &str) -> Result<Self> {
        let config = config.get("image_processor").unwrap_or(config);
        let whole = |value: Option<&Value>, name: &str| {
            let number = value.and_then(Value::as_u64).filter(|number| (1..1 << 40).contains(number));
            number
                .map(|number| number as usize)
                .ok_or_else(|| PolicyError::file(file, format!("`{name}` is missing or no size")))
        };
        let size = config.get("size");
        let area = |edge: &str, pixels: &str| {
            whole(size.and_then(|size| size.get(edge)).or_else(|| config.get(pixels)), &format!("size.{edge}"))
        };
        let channels =
            |name: &str| match config.get(name).map(|value| serde_json::from_value::<[f64; 3]>(value.clone())) {
                None => Ok([0.5; 3]),
                Some(Ok(values))
                    if values.iter().all(|value| value.is_finite() && (name != "image_std" || *value > 0.0)) =>
                {
                    Ok(values)
                }
                Some(_) => Err(PolicyError::file(file, format!("`{name}` must hold three numbers"))),
            };
        let processor = Self {
            patch_size: whole(config.get("patch_size"), "patch_size")?,
            temporal_patch_size: whole(config.get("temporal_patch_size"), "temporal_patch_size")?,
            merge_size: whole(config.get("merge_size"), "merge_size")?,
            min_pixels: area("shortest_edge", "min_pixels")?,
            max_pixels: area("longest_edge", "max_pixels")?,
            mean: channels("image_mean")?,
            std: channels("image_std")?,
        };
        if processor.patch_size > 1024 || processor.merge_size > 64 || processor.temporal_patch_size > 64 {
            return Err(PolicyError::file(file, "patch sizes are beyond any model's"));
        }
        Ok(processor)
    }

    /// Pixels that one side is a multiple of.
    pub fn factor(&self) -> usize {
        self.patch_size * self.merge_size
    }

    /// A picture as patches.
    ///
    /// # Errors
    /// When it is empty or far from square.
    pub fn process(&self, picture: &RgbImage) -> Result<PictureInput> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let (new_height, new_width) = smart_resize(height, width, self.factor(), self.min_pixels, self.max_pixels)?;
        let resized = resize(picture.as_raw(), [height, width], [new_height, new_width]);
        Ok(self.patches(&resized, [new_height, new_width]))
    }

    fn patches(&self, pixels: &[u8], [height, width]: [usize; 2]) -> PictureInput {
        let (patch, merge) = (self.patch_size, self.merge_size);
        let (rows, columns) = (height / patch, width / patch);
        // Values are 8-bit, so that normalising is a table of 256 entries a channel.
        let table: Vec<[f32; 3]> = (0..256)
            .map(|value| std::array::from_fn(|c| ((value as f32 / 255.0) - self.mean[c] as f32) / self.std[c] as f32))
            .collect();
        let mut out = Vec::with_capacity(rows * columns * 3 * self.temporal_patch_size * patch * patch);
        for block in 0..rows / merge * (columns / merge) {
            let (block_row, block_column) = (block / (columns / merge), block % (columns / merge));
            for inside in 0..merge * merge {
                let top = (block_row * merge + inside / merge) * patch;
                let left = (block_column * merge + inside % merge) * patch;
                for channel in 0..3 {
                    for _ in 0..self.temporal_patch_size {
                        for y in top..top + patch {
                            for x in left..left + patch {
                                out.push(table[usize::from(pixels[(y * width + x) * 3 + channel])][channel]);
                            }
                        }
                    }
                }
            }
        }
        PictureInput { pixels: out.into(), grid: [1, rows, columns] }
    }
}

/// 8-bit RGB of any decoded picture: grey is repeated, what is transparent shows white behind it, as in the reference.
pub fn opaque(picture: &DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.to_rgb8();
    }
    let with_alpha = picture.to_rgba8();
    RgbImage::from_fn(with_alpha.width(), with_alpha.height(), |x, y| {
        let [red, green, blue, alpha] = with_alpha.get_pixel(x, y).0;
        let over_white = |colour: u8| {
            let (colour, alpha) = (u32::from(colour), u32::from(alpha));
            ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        Rgb([over_white(red), over_white(green), over_white(blue)])
    })
}

/// The size `(height, width)` that a picture is brought to: multiples of `factor` within the areas.
///
/// # Errors
/// When a side is 0 or one is more than 200 times the other.
pub fn smart_resize(
    height: usize,
    width: usize,
    factor: usize,
    min_pixels: usize,
    max_pixels: usize,
) -> Result<(usize, usize)> {
    if height == 0 || width == 0 {
        return Err(PolicyError::input("a picture without pixels cannot be used"));
    }
    let (h, w, f) = (height as f64, width as f64, factor as f64);
    if h.max(w) / h.min(w) > MAX_ASPECT {
        return Err(PolicyError::input(format!(
            "a picture of {width} x {height} pixels is too far from square: one side may be {MAX_ASPECT} times the other at most"
        )));
    }
    let nearest = |side: f64| (side / f).round_ties_even() * f;
    let (mut new_h, mut new_w) = (nearest(h), nearest(w));
    if new_h * new_w > max_pixels as f64 {
        let shrink = (h * w / max_pixels as f64).sqrt();
        let down = |side: f64| f.max((side / shrink / f).floor() * f);
        (new_h, new_w) = (down(h), down(w));
    } else if new_h * new_w < min_pixels as f64 {
        let grow = (min_pixels as f64 / (h * w)).sqrt();
        let up = |side: f64| (side * grow / f).ceil() * f;
        (new_h, new_w) = (up(h), up(w));
    }
    Ok((new_h as usize, new_w as usize))
}

/// Resizes interleaved 8-bit RGB, columns first, then rows; each pass is rounded and clamped.
fn resize(pixels: &[u8], [height, width]: [usize; 2], [new_height, new_width]: [usize; 2]) -> Vec<u8> {
    let mut current = pixels.to_vec();
    if new_width != width {
        let taps = taps(width, new_width);
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
        let taps = taps(height, new_height);
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

fn taps(size: usize, new_size: usize) -> Taps {
    let scale = size as f64 / new_size as f64;
    let stretch = scale.max(1.0);
    let support = 2.0 * stretch;
    let exact: Vec<(usize, Vec<f64>)> = (0..new_size)
        .map(|index| {
            let centre = (index as f64 + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(size);
            let mut weights: Vec<f64> = (start..end).map(|at| cubic((at as f64 - centre + 0.5) / stretch)).collect();
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

/// Keys' cubic kernel with a = -0.5.
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
