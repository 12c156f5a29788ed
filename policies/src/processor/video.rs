//! Videos to patches: which frames are taken, their size, pairs along time, and the seconds that stand in the text.

use serde_json::Value;

use super::clip::{Clip, is_rate};
use super::image::{ImageProcessor, MAX_ASPECT};
use crate::error::{PolicyError, Result};
use crate::input::PictureInput;

/// The areas (volumes over all frames) of the reference where a checkpoint says none.
const USUAL_AREAS: [Option<u64>; 2] = [Some(128 * 32 * 32), Some(768 * 32 * 32)];
/// Blocks of patches that a frame has at most with `cap_pixels_per_frame`.
const FRAME_TOKENS: usize = 768;
/// The largest number of frames that a checkpoint may ask for.
const MOST_FRAMES: u64 = 1 << 16;
/// Pixels of all resized frames of a video together at most.
const MOST_PIXELS: usize = 1 << 28;

/// Settings of the video processor.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoProcessor {
    /// Settings that frames share with pictures; its areas count all frames together.
    pub frames: ImageProcessor,
    /// Frames taken for a second of video.
    pub fps: f64,
    /// Frames taken whatever the rate, instead of `fps`.
    pub num_frames: Option<usize>,
    /// Frames that are taken at least, if there are as many.
    pub min_frames: usize,
    /// Frames that are taken at most.
    pub max_frames: usize,
    /// Whether frames are sampled; otherwise all are taken.
    pub sampled: bool,
    /// Whether a frame is limited to 768 tokens, and to its share of the largest volume.
    pub cap_pixels_per_frame: bool,
}

/// A video as the model takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoInput {
    /// Its patches; one temporal slot for each group of frames.
    pub input: PictureInput,
    /// Indices of the frames that were taken.
    pub indices: Vec<usize>,
    /// What stands in the text before each temporal slot, as `<0.5 seconds>`.
    pub timestamps: Vec<String>,
}

impl VideoProcessor {
    /// Reads `video_preprocessor_config.json`, or the `video_processor` of a `processor_config.json`.
    ///
    /// # Errors
    /// When a size is missing or makes no sense.
    pub fn from_json(config: &Value, file: &str) -> Result<Self> {
        let config = config.get("video_processor").unwrap_or(config);
        let wrong = |name: &str, value: &Value, wanted: &str| {
            PolicyError::file(file, format!("`{name}` is {value}; {wanted} is wanted"))
        };
        let present = |name: &str| config.get(name).filter(|value| !value.is_null());
        let count = |name: &str| {
            let read = |value: &Value| {
                let number = value.as_u64().filter(|number| (1..=MOST_FRAMES).contains(number));
                let wanted = format!("a whole number of 1 to {MOST_FRAMES}");
                number.map(|number| number as usize).ok_or_else(|| wrong(name, value, &wanted))
            };
            present(name).map(read).transpose()
        };
        let switch = |name: &str, usual: bool| {
            let read = |value: &Value| value.as_bool().ok_or_else(|| wrong(name, value, "true or false"));
            present(name).map_or(Ok(usual), read)
        };
        let rate = |value: &Value| {
            value.as_f64().filter(|fps| is_rate(*fps)).ok_or_else(|| wrong("fps", value, "a number above 0"))
        };
        Ok(Self {
            frames: ImageProcessor::read(config, file, USUAL_AREAS)?,
            fps: present("fps").map_or(Ok(2.0), rate)?,
            // A rate in the file goes before a number.
            num_frames: count("num_frames")?.filter(|_| present("fps").is_none()),
            min_frames: count("min_frames")?.unwrap_or(4),
            max_frames: count("max_frames")?.unwrap_or(768),
            sampled: switch("do_sample_frames", true)?,
            cap_pixels_per_frame: switch("cap_pixels_per_frame", false)?,
        })
    }

    /// The rate of a clip's frames: its own, or that of the processor where it has none, so that every frame is taken.
    pub fn source_fps(&self, clip: &Clip) -> f64 {
        clip.fps().unwrap_or(self.fps)
    }

    /// Indices of the frames taken from `total` frames at `source_fps`, evenly spread from the first to the last.
    pub fn sample(&self, total: usize, source_fps: f64) -> Vec<usize> {
        if !self.sampled {
            return (0..total).collect();
        }
        let wanted = match self.num_frames {
            Some(frames) => frames,
            // Cut, not rounded; a float too large becomes the largest whole number.
            None => {
                let wanted = (total as f64 / source_fps * self.fps) as usize;
                wanted.max(self.min_frames).min(self.max_frames)
            }
        };
        spread(total, wanted.min(total))
    }

    /// The text before each temporal slot: the middle of its frames' seconds, the last frame repeated where one lacks.
    pub fn timestamps(&self, indices: &[usize], source_fps: f64) -> Vec<String> {
        let seconds = |index: Option<&usize>| index.map_or(0.0, |index| *index as f64 / source_fps);
        let slot = |group: &[usize]| {
            let last = if group.len() < self.frames.temporal_patch_size { indices.last() } else { group.last() };
            format!("<{:.1} seconds>", (seconds(group.first()) + seconds(last)) / 2.0)
        };
        indices.chunks(self.frames.temporal_patch_size).map(slot).collect()
    }

    /// The size `[height, width]` that each of `frames` frames is brought to.
    ///
    /// # Errors
    /// When there are too few frames for one temporal slot, or they are empty or far from square.
    pub fn size(&self, frames: usize, size: [usize; 2]) -> Result<[usize; 2]> {
        let settings = &self.frames;
        if settings.kernel.is_none() {
            return self.bounded(frames, settings.fitting(size)?);
        }
        let mut max_pixels = settings.max_pixels;
        if self.cap_pixels_per_frame {
            let share = (FRAME_TOKENS * settings.factor().pow(2)).min(max_pixels / frames.max(1));
            // A little above the smallest volume, so that a short clip stays readable.
            max_pixels = share.max((settings.min_pixels as f64 * 1.05) as usize).saturating_mul(frames);
        }
        let (time, factor) = (settings.temporal_patch_size, settings.factor());
        let areas = [settings.min_pixels, max_pixels];
        self.bounded(frames, video_smart_resize(frames, size, [time, factor], areas)?)
    }

    /// Refuses what would take gigabytes.
    fn bounded(&self, frames: usize, [height, width]: [usize; 2]) -> Result<[usize; 2]> {
        match frames.checked_mul(height * width) {
            Some(volume) if volume <= MOST_PIXELS => Ok([height, width]),
            _ => Err(PolicyError::input(format!(
                "{frames} frames of {width} x {height} pixels are more than {MOST_PIXELS} pixels; lower `max_frames` or `size.longest_edge` of the checkpoint's video processor"
            ))),
        }
    }

    /// Tokens of a clip in the text, timestamps and tags apart.
    ///
    /// # Errors
    /// As [`VideoProcessor::size`].
    pub fn tokens(&self, clip: &Clip) -> Result<usize> {
        let frames = self.sample(clip.len(), self.source_fps(clip)).len();
        let [height, width] = self.size(frames, clip.size())?;
        let slots = frames.div_ceil(self.frames.temporal_patch_size);
        Ok(slots * (height / self.frames.factor()) * (width / self.frames.factor()))
    }

    /// A clip as patches, with the text of its timestamps.
    ///
    /// # Errors
    /// When a frame cannot be read, or the frames are too few, of different sizes, empty or far from square.
    pub fn process(&self, clip: &Clip) -> Result<VideoInput> {
        let source_fps = self.source_fps(clip);
        let indices = self.sample(clip.len(), source_fps);
        let size = self.size(indices.len(), clip.size()).map_err(|error| clip.wrong(error.to_string()))?;
        let mut frames: Vec<Vec<u8>> = Vec::with_capacity(indices.len());
        clip.read(&indices, &mut |frame| frames.push(self.frames.resized(&frame, size)))?;
        let mut filled: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        if let Some(last) = filled.last().copied() {
            filled.resize(filled.len().next_multiple_of(self.frames.temporal_patch_size), last);
        }
        let input = self.frames.patches(&filled, size);
        let timestamps = self.timestamps(&indices, source_fps);
        Ok(VideoInput { input, indices, timestamps })
    }
}

/// `count` of `total` indices, from the first to the last, rounded to the even neighbour in the middle.
fn spread(total: usize, count: usize) -> Vec<usize> {
    let Some(last) = total.checked_sub(1) else { return Vec::new() };
    let step = if count > 1 { last as f64 / (count - 1) as f64 } else { 0.0 };
    let at = |index: usize| if index > 0 && index + 1 == count { last as f64 } else { index as f64 * step };
    (0..count).map(|index| at(index).round_ties_even() as usize).collect()
}

/// The size `[height, width]` that each frame of a video is brought to: multiples of `factor`, the volume of all frames
/// (their number rounded to a multiple of `temporal_factor`) within `min_pixels` and `max_pixels`.
///
/// # Errors
/// When there are fewer frames than `temporal_factor`, a side is 0, or one is more than 200 times the other.
pub fn video_smart_resize(
    frames: usize,
    [height, width]: [usize; 2],
    [temporal_factor, factor]: [usize; 2],
    [min_pixels, max_pixels]: [usize; 2],
) -> Result<[usize; 2]> {
    if frames < temporal_factor {
        return Err(PolicyError::input(format!(
            "a video of {frames} frames is too short: {temporal_factor} are needed; give a still one as a picture"
        )));
    }
    if height == 0 || width == 0 {
        return Err(PolicyError::input("a video without pixels cannot be used"));
    }
    let (mut h, mut w, f, n) = (height as f64, width as f64, factor as f64, frames as f64);
    if h < f || w < f {
        let scale = (f / h).max(f / w);
        (h, w) = ((h * scale).trunc(), (w * scale).trunc());
    }
    if h.max(w) / h.min(w) > MAX_ASPECT {
        return Err(PolicyError::input(format!(
            "frames of {width} x {height} pixels are too far from square: one side may be {MAX_ASPECT} times the other at most"
        )));
    }
    let nearest = |side: f64, factor: f64| (side / factor).round_ties_even() * factor;
    let (mut new_h, mut new_w) = (nearest(h, f), nearest(w, f));
    let volume = nearest(n, temporal_factor as f64) * new_h * new_w;
    if volume > max_pixels as f64 {
        let shrink = (n * h * w / max_pixels as f64).sqrt();
        let down = |side: f64| f.max((side / shrink / f).floor() * f);
        (new_h, new_w) = (down(h), down(w));
    } else if volume < min_pixels as f64 {
        let grow = (min_pixels as f64 / (n * h * w)).sqrt();
        let up = |side: f64| (side * grow / f).ceil() * f;
        (new_h, new_w) = (up(h), up(w));
    }
    Ok([new_h as usize, new_w as usize])
}
