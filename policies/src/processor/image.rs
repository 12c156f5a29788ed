//! Pictures to patches: the size rule, resizing on 8-bit values, normalisation, merge-block order.

use image::RgbImage;
use serde::Deserialize as _;
use serde_json::Value;

use super::resize::{Kernel, resize};
use crate::error::{PolicyError, Result};
use crate::input::PictureInput;

/// The largest ratio of the sides that is accepted.
pub(super) const MAX_ASPECT: f64 = 200.0;

/// The largest area that the smallest one of a checkpoint may be: what small pictures are scaled up to.
const MOST_MIN_PIXELS: u64 = 1 << 24;
/// The largest area that a checkpoint may allow.
const MOST_MAX_PIXELS: u64 = 1 << 30;
/// The largest side of a block of patches that becomes one token, in pixels.
const MOST_FACTOR: usize = 1024;

/// Settings of the image processor.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageProcessor {
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Times that a still picture repeats itself along time; frames of a video in one temporal patch.
    pub temporal_patch_size: usize,
    /// Side of the block of patches that becomes one token.
    pub merge_size: usize,
    /// Smallest area in pixels (for a video: volume); smaller pictures are scaled up.
    pub min_pixels: usize,
    /// Largest area in pixels (for a video: volume); larger pictures are scaled down.
    pub max_pixels: usize,
    /// Mean that is taken off each channel, on the scale of rescaled values.
    pub mean: [f64; 3],
    /// Deviation that each channel is divided by.
    pub std: [f64; 3],
    /// What 8-bit values are multiplied by.
    pub rescale: f64,
    /// The kernel of resizing; `None` where pictures must have a fitting size already.
    pub kernel: Option<Kernel>,
}

impl ImageProcessor {
    /// Reads `preprocessor_config.json`, or the `image_processor` of a `processor_config.json`.
    ///
    /// # Errors
    /// When a size is missing or makes no sense.
    pub fn from_json(config: &Value, file: &str) -> Result<Self> {
        Self::read(config.get("image_processor").unwrap_or(config), file, [None; 2])
    }

    /// Reads the settings that pictures and videos share; `areas` are used where the file says none.
    pub(super) fn read(config: &Value, file: &str, areas: [Option<u64>; 2]) -> Result<Self> {
        let wrong = |reason: String| PolicyError::file(file, reason);
        let present = |name: &str| config.get(name).filter(|value| !value.is_null());
        let whole = |value: Option<&Value>, usual: Option<u64>, most: u64, name: &str| match value {
            None => usual.ok_or_else(|| wrong(format!("`{name}` is missing"))),
            Some(value) => value
                .as_u64()
                .filter(|number| (1..=most).contains(number))
                .ok_or_else(|| wrong(format!("`{name}` is {value}; a whole number of 1 to {most} is wanted"))),
        };
        let side = |name: &str, most: u64| whole(present(name), None, most, name).map(|side| side as usize);
        // As in the reference, the older keys win where both stand.
        let area = |edge: &str, pixels: &str, usual: Option<u64>, most: u64| {
            let edge_value = present("size").and_then(|size| size.get(edge)).filter(|value| !value.is_null());
            whole(present(pixels).or(edge_value), usual, most, &format!("size.{edge}")).map(|area| area as usize)
        };
        let switch = |name: &str| match present(name) {
            None => Ok(true),
            Some(value) => {
                value.as_bool().ok_or_else(|| wrong(format!("`{name}` is {value}; true or false is wanted")))
            }
        };
        let channels = |name: &str, usual: f64| match present(name).map(<[f64; 3]>::deserialize) {
            None => Ok([usual; 3]),
            Some(Ok(values)) if values.iter().all(|value| value.is_finite() && (usual == 0.0 || *value > 0.0)) => {
                Ok(values)
            }
            Some(_) => Err(wrong(format!("`{name}` must hold three numbers"))),
        };
        let normalised = switch("do_normalize")?;
        let (mean, std) = (channels("image_mean", 0.5)?, channels("image_std", 0.5)?);
        let rescale = match present("rescale_factor") {
            _ if !switch("do_rescale")? => 1.0,
            None => 1.0 / 255.0,
            Some(value) => value
                .as_f64()
                .filter(|factor| factor.is_finite() && *factor > 0.0)
                .ok_or_else(|| wrong(format!("`rescale_factor` is {value}; a positive number is wanted")))?,
        };
        let kernel = match present("resample").map_or(Some(3), Value::as_u64) {
            _ if !switch("do_resize")? => None,
            Some(3) => Some(Kernel::Bicubic),
            Some(2) => Some(Kernel::Bilinear),
            _ => return Err(wrong("`resample` must be 3 (bicubic) or 2 (bilinear)".to_owned())),
        };
        Self {
            patch_size: side("patch_size", 1024)?,
            temporal_patch_size: side("temporal_patch_size", 16)?,
            merge_size: side("merge_size", 64)?,
            min_pixels: area("shortest_edge", "min_pixels", areas[0], MOST_MIN_PIXELS)?,
            max_pixels: area("longest_edge", "max_pixels", areas[1], MOST_MAX_PIXELS)?,
            mean: if normalised { mean } else { [0.0; 3] },
            std: if normalised { std } else { [1.0; 3] },
            rescale,
            kernel,
        }
        .checked()
        .map_err(wrong)
    }

    /// Itself, if its sizes fit each other; else what is wrong.
    fn checked(self) -> std::result::Result<Self, String> {
        if self.factor() > MOST_FACTOR {
            let factor = self.factor();
            return Err(format!("`patch_size` times `merge_size` is {factor}; it must be {MOST_FACTOR} at most"));
        }
        if self.min_pixels > self.max_pixels {
            return Err("the smallest area (`size.shortest_edge`) is above the largest".to_owned());
        }
        Ok(self)
    }

    /// Pixels that one side is a multiple of.
    pub fn factor(&self) -> usize {
        self.patch_size * self.merge_size
    }

    /// The size `[height, width]` that a picture is brought to.
    ///
    /// # Errors
    /// When it is empty or far from square, or does not fit where the checkpoint wants no resizing.
    pub fn size(&self, [height, width]: [usize; 2]) -> Result<[usize; 2]> {
        if self.kernel.is_none() {
            return self.fitting([height, width]);
        }
        let (height, width) = smart_resize(height, width, self.factor(), self.min_pixels, self.max_pixels)?;
        Ok([height, width])
    }

    /// Tokens of a picture of `[height, width]` pixels in the text.
    ///
    /// # Errors
    /// As [`ImageProcessor::size`].
    pub fn tokens(&self, size: [usize; 2]) -> Result<usize> {
        let [height, width] = self.size(size)?;
        Ok((height / self.factor()) * (width / self.factor()))
    }

    /// A size that is taken as it is.
    pub(super) fn fitting(&self, [height, width]: [usize; 2]) -> Result<[usize; 2]> {
        let factor = self.factor();
        if height == 0 || width == 0 || !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
            return Err(PolicyError::input(format!(
                "`do_resize` is false in the checkpoint, so sides must be multiples of {factor}; {width} x {height} is not"
            )));
        }
        Ok([height, width])
    }

    /// A picture as patches.
    ///
    /// # Errors
    /// When it is empty or far from square.
    pub fn process(&self, picture: &RgbImage) -> Result<PictureInput> {
        let size = [picture.height() as usize, picture.width() as usize];
        let new_size = self.size(size)?;
        let resized = self.resized(picture, new_size);
        let slot = vec![resized.as_slice(); self.temporal_patch_size];
        Ok(self.patches(&slot, new_size))
    }

    /// Interleaved 8-bit values of a picture in its new size.
    pub(super) fn resized(&self, picture: &RgbImage, size: [usize; 2]) -> Vec<u8> {
        let old = [picture.height() as usize, picture.width() as usize];
        resize(picture.as_raw(), old, size, self.kernel.unwrap_or(Kernel::Bicubic))
    }

    /// The patches of frames of equal size, as many as fill their temporal patches.
    pub(super) fn patches(&self, frames: &[&[u8]], [height, width]: [usize; 2]) -> PictureInput {
        let (patch, merge) = (self.patch_size, self.merge_size);
        let (rows, columns) = (height / patch, width / patch);
        let table = self.table();
        let slots = frames.len() / self.temporal_patch_size;
        let mut out = Vec::with_capacity(slots * rows * columns * 3 * self.temporal_patch_size * patch * patch);
        for slot in frames.chunks_exact(self.temporal_patch_size) {
            for block in 0..rows / merge * (columns / merge) {
                let (block_row, block_column) = (block / (columns / merge), block % (columns / merge));
                for inside in 0..merge * merge {
                    let top = (block_row * merge + inside / merge) * patch;
                    let left = (block_column * merge + inside % merge) * patch;
                    for channel in 0..3 {
                        for pixels in slot {
                            for y in top..top + patch {
                                for x in left..left + patch {
                                    out.push(table[usize::from(pixels[(y * width + x) * 3 + channel])][channel]);
                                }
                            }
                        }
                    }
                }
            }
        }
        PictureInput { pixels: out.into(), grid: [slots, rows, columns] }
    }

    /// Values are 8-bit, so that normalising is a table of 256 entries a channel.
    fn table(&self) -> Vec<[f32; 3]> {
        let usual = (self.rescale - 1.0 / 255.0).abs() < 1e-12;
        let rescaled = |value: u32| if usual { value as f32 / 255.0 } else { (f64::from(value) * self.rescale) as f32 };
        (0..256)
            .map(|value| std::array::from_fn(|c| (rescaled(value) - self.mean[c] as f32) / self.std[c] as f32))
            .collect()
    }

    /// The 8-bit value that a normalised one of `channel` came from, rounded.
    pub(crate) fn level(&self, value: f32, channel: usize) -> f64 {
        ((f64::from(value) * self.std[channel] + self.mean[channel]) / self.rescale).round()
    }
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
