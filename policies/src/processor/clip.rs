//! Clips: the frames of a video, from a folder of pictures, an animated file, or decoded pictures.
//!
//! Frames are decoded when they are wanted, and only those; no more than one is held here at a time.

use std::cmp::Ordering;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{AnimationDecoder, Frames, ImageDecoder, ImageFormat, Limits, RgbImage};
use sapo_pictures::{MAX_PIXELS, over_white};

use crate::error::{PolicyError, Result};

/// Pixels of all frames of an animated file together at most.
const MAX_ANIMATED_PIXELS: u64 = 1 << 31;
/// Bytes of a picture or animated file at most.
const MAX_BYTES: u64 = 1 << 28;
/// Frames of a clip at most.
const MAX_FRAMES: usize = 1 << 16;
/// Milliseconds of an animated frame that says 0: what viewers show it for.
const USUAL_DELAY: f64 = 100.0;
/// Endings of files in a folder that are frames.
const FRAME_ENDINGS: [&str; 8] = ["png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff"];
/// Endings of container formats, which are not decoded.
const CONTAINER_ENDINGS: [&str; 14] =
    ["mp4", "m4v", "mkv", "webm", "avi", "mov", "mpg", "mpeg", "wmv", "flv", "ts", "ogv", "3gp", "h264"];

/// The frames of a video, in order, all of one size.
#[derive(Clone, Debug)]
pub struct Clip {
    source: Source,
    /// Names the clip in errors.
    place: String,
    frames: usize,
    /// Height and width of the first frame.
    size: [usize; 2],
    fps: Option<f64>,
}

#[derive(Clone, Debug)]
enum Source {
    Files(Vec<PathBuf>),
    Animated(Arc<[u8]>, Animation),
    Decoded(Vec<RgbImage>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Animation {
    Gif,
    WebP,
    Apng,
}

/// Whether frames can come at this rate.
pub(super) fn is_rate(fps: f64) -> bool {
    fps.is_finite() && fps > 0.0
}

impl Clip {
    /// Opens a folder of pictures, taken in the natural order of their names (`frame-2` before `frame-10`; hidden files
    /// and other endings are left out), or an animated GIF, WebP or PNG.
    ///
    /// `fps` is the rate at which the frames were recorded. Without it an animated file has the mean rate that its
    /// delays say, and a folder has none: its frames are taken to be sampled already.
    ///
    /// # Errors
    /// When there is nothing, no frame in it, a container format such as MP4, or a file that cannot be decoded.
    pub fn open(path: &Path, fps: Option<f64>) -> Result<Self> {
        let place = path.display().to_string();
        if let Some(fps) = fps.filter(|fps| !is_rate(*fps)) {
            return Err(PolicyError::file(
                place,
                format!("{fps} is not a number of frames a second; give one above 0"),
            ));
        }
        let metadata = std::fs::metadata(path).map_err(|source| PolicyError::io(path, source))?;
        if metadata.is_dir() {
            return Self::folder(path, place, fps);
        }
        let ending = ending(path);
        if CONTAINER_ENDINGS.contains(&ending.as_str()) {
            return Err(container(&place, &ending));
        }
        Self::animated(read(path)?.into(), place, fps)
    }

    /// A clip of decoded frames.
    ///
    /// # Errors
    /// When there is no frame, or `fps` is not a rate.
    pub fn of_frames(frames: Vec<RgbImage>, fps: Option<f64>) -> Result<Self> {
        let place = "a video".to_owned();
        if fps.is_some_and(|fps| !is_rate(fps)) {
            return Err(PolicyError::file(place, "the frames a second must be a number above 0"));
        }
        let first = frames.first().ok_or_else(|| PolicyError::file(&place, "has no frames"))?;
        let size = [first.height() as usize, first.width() as usize];
        Ok(Self { frames: frames.len(), size, source: Source::Decoded(frames), place, fps })
    }

    /// A clip of picture files in this order; `place` names it in errors.
    ///
    /// # Errors
    /// When there is none or there are too many, the first cannot be read, or `fps` is not a rate.
    pub fn of_files(files: Vec<PathBuf>, place: impl Into<String>, fps: Option<f64>) -> Result<Self> {
        let place = place.into();
        if fps.is_some_and(|fps| !is_rate(fps)) {
            return Err(PolicyError::file(place, "the frames a second must be a number above 0"));
        }
        if files.len() > MAX_FRAMES {
            return Err(PolicyError::file(place, too_many()));
        }
        let first = files.first().ok_or_else(|| PolicyError::file(&place, "has no frames"))?;
        let size = dimensions(&read(first)?, &first.display().to_string())?;
        Ok(Self { frames: files.len(), source: Source::Files(files), place, size, fps })
    }

    /// An animated file in memory; `place` names it in errors.
    ///
    /// # Errors
    /// As [`Clip::open`].
    pub fn animated(bytes: Arc<[u8]>, place: impl Into<String>, fps: Option<f64>) -> Result<Self> {
        let place = place.into();
        let kind = animation(&bytes, &place)?;
        let mut clip = Self { source: Source::Animated(bytes, kind), place, frames: 0, size: [0, 0], fps };
        let (mut frames, mut milliseconds, mut size) = (0, 0.0, [0, 0]);
        clip.each_animated(&mut |frame, delay| {
            milliseconds += if delay > 0.0 { delay } else { USUAL_DELAY };
            size = [frame.height() as usize, frame.width() as usize];
            frames += 1;
            if frames > MAX_FRAMES { Err(clip.wrong(too_many())) } else { Ok(true) }
        })?;
        if frames < 2 {
            return Err(clip.wrong("holds a still picture, and no animation; give it as a picture".to_owned()));
        }
        (clip.frames, clip.size) = (frames, size);
        clip.fps = Some(clip.fps.unwrap_or(1000.0 * frames as f64 / milliseconds));
        Ok(clip)
    }

    fn folder(path: &Path, place: String, fps: Option<f64>) -> Result<Self> {
        let mut files = Vec::new();
        let mut containers = None;
        for entry in std::fs::read_dir(path).map_err(|source| PolicyError::io(path, source))? {
            let file = entry.map_err(|source| PolicyError::io(path, source))?.path();
            let hidden = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            let ending = ending(&file);
            if hidden || !file.is_file() {
                continue;
            }
            if FRAME_ENDINGS.contains(&ending.as_str()) {
                files.push(file);
            } else if CONTAINER_ENDINGS.contains(&ending.as_str()) {
                containers = Some(ending);
            }
            if files.len() > MAX_FRAMES {
                return Err(PolicyError::file(place, too_many()));
            }
        }
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.sort_by(|a, b| natural(&name(a), &name(b)));
        match (files.is_empty(), containers) {
            (true, Some(ending)) => Err(container(&place, &ending)),
            (true, None) => Err(PolicyError::file(place, "holds no frames, that is .png, .jpg or .webp files")),
            (false, _) => Self::of_files(files, place, fps),
        }
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames
    }

    /// Whether there is no frame: never so for a clip that was opened.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Height and width of its frames in pixels.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Frames a second as they were recorded, where that is known.
    pub fn fps(&self) -> Option<f64> {
        self.fps
    }

    /// An error about this clip.
    pub(super) fn wrong(&self, reason: String) -> PolicyError {
        PolicyError::file(&self.place, reason)
    }

    /// Hands the frames at `indices`, which rise, to `take`, one after the other.
    ///
    /// # Errors
    /// When a frame cannot be decoded or has another size than the first.
    pub fn read(&self, indices: &[usize], take: &mut dyn FnMut(RgbImage)) -> Result<()> {
        let checked = |frame: RgbImage, name: &str| {
            let size = [frame.height() as usize, frame.width() as usize];
            if size == self.size {
                return Ok(frame);
            }
            let [[height, width], [usual_height, usual_width]] = [size, self.size];
            Err(PolicyError::file(
                name,
                format!(
                    "is {width} x {height}, but the first frame is {usual_width} x {usual_height}; bring all frames to one size"
                ),
            ))
        };
        match &self.source {
            Source::Files(files) => {
                for index in indices {
                    let name = files[*index].display().to_string();
                    take(checked(decode(&read(&files[*index])?, &name)?, &name)?);
                }
            }
            Source::Decoded(frames) => {
                for index in indices {
                    take(checked(frames[*index].clone(), &self.place)?);
                }
            }
            Source::Animated(..) => {
                let (mut at, mut wanted) = (0, indices.iter().peekable());
                self.each_animated(&mut |frame, _| {
                    while wanted.next_if(|index| **index == at).is_some() {
                        take(checked(over_white(frame), &self.place)?);
                    }
                    at += 1;
                    Ok(wanted.peek().is_some())
                })?;
            }
        }
        Ok(())
    }

    /// Decodes an animated file frame by frame, with the delay in milliseconds, until `take` says false.
    fn each_animated(&self, take: &mut dyn FnMut(&image::RgbaImage, f64) -> Result<bool>) -> Result<()> {
        let Source::Animated(bytes, kind) = &self.source else { return Ok(()) };
        let broken = |error: image::ImageError| self.wrong(format!("cannot be decoded: {error}"));
        let mut pixels = 0;
        for frame in frames_of(bytes, *kind).map_err(broken)? {
            let frame = frame.map_err(broken)?;
            let (numerator, denominator) = frame.delay().numer_denom_ms();
            let delay = f64::from(numerator) / f64::from(denominator.max(1));
            pixels += u64::from(frame.buffer().width()) * u64::from(frame.buffer().height());
            if pixels > MAX_ANIMATED_PIXELS {
                let reason = format!("has more than {MAX_ANIMATED_PIXELS} pixels in all frames; scale it down first");
                return Err(self.wrong(reason));
            }
            if !take(frame.buffer(), delay)? {
                break;
            }
        }
        Ok(())
    }
}

fn frames_of(bytes: &[u8], kind: Animation) -> image::ImageResult<Frames<'_>> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(8 * MAX_PIXELS);
    let file = Cursor::new(bytes);
    Ok(match kind {
        Animation::Gif => {
            let mut decoder = GifDecoder::new(file)?;
            decoder.set_limits(limits)?;
            decoder.into_frames()
        }
        Animation::WebP => {
            let mut decoder = WebPDecoder::new(file)?;
            decoder.set_limits(limits)?;
            decoder.into_frames()
        }
        Animation::Apng => PngDecoder::with_limits(file, limits)?.apng()?.into_frames(),
    })
}

/// What kind of animated file these bytes are.
fn animation(bytes: &[u8], place: &str) -> Result<Animation> {
    let still = || PolicyError::file(place, "holds a still picture, and no animation; give it as a picture");
    let broken = |error: image::ImageError| PolicyError::file(place, format!("cannot be decoded: {error}"));
    let kind = match image::guess_format(bytes) {
        Ok(ImageFormat::Gif) => Animation::Gif,
        Ok(ImageFormat::WebP) => {
            dimensions(bytes, place)?;
            let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(broken)?;
            if !decoder.has_animation() {
                return Err(still());
            }
            Animation::WebP
        }
        Ok(ImageFormat::Png) => {
            let decoder = PngDecoder::new(Cursor::new(bytes)).map_err(broken)?;
            if !decoder.is_apng().map_err(broken)? {
                return Err(still());
            }
            Animation::Apng
        }
        Ok(ImageFormat::Jpeg) => return Err(still()),
        _ => return Err(unknown(bytes, place)),
    };
    dimensions(bytes, place)?;
    Ok(kind)
}

/// What to say about a file that is no animation: containers are known by their first bytes.
fn unknown(bytes: &[u8], place: &str) -> PolicyError {
    let at = |start: usize, magic: &[u8]| bytes.get(start..).is_some_and(|rest| rest.starts_with(magic));
    let kind = if at(4, b"ftyp") {
        Some("mp4")
    } else if at(0, b"\x1a\x45\xdf\xa3") {
        Some("mkv")
    } else if at(0, b"RIFF") && at(8, b"AVI ") {
        Some("avi")
    } else {
        None
    };
    match kind {
        Some(kind) => container(place, kind),
        None => PolicyError::file(place, "is not a video: give a folder of pictures, or an animated GIF, WebP or PNG"),
    }
}

fn too_many() -> String {
    format!("holds more than {MAX_FRAMES} frames; take fewer of them")
}

fn container(place: &str, kind: &str) -> PolicyError {
    PolicyError::file(
        place,
        format!(
            "is a {kind} container, which is not decoded here; extract its frames into a folder, as by `ffmpeg -i FILE -vf fps=2 FOLDER/%05d.png`, and give the folder (with 2 frames a second)"
        ),
    )
}

/// A picture file as 8-bit RGB, as [`sapo_pictures::decode`] reads it.
///
/// # Errors
/// When it is no picture, torn, or larger than 100 million pixels; `place` names it.
pub fn decode(bytes: &[u8], place: &str) -> Result<RgbImage> {
    sapo_pictures::decode(bytes).map_err(|error| PolicyError::file(place, error.to_string()))
}

/// Height and width of a picture file, by its head alone.
fn dimensions(bytes: &[u8], place: &str) -> Result<[usize; 2]> {
    let size = sapo_pictures::size(bytes).map_err(|error| PolicyError::file(place, error.to_string()))?;
    Ok([size.1 as usize, size.0 as usize])
}

/// The bytes of a file that is not too large.
fn read(path: &Path) -> Result<Vec<u8>> {
    sapo_pictures::file::read(path, MAX_BYTES).map_err(|source| PolicyError::io(path, source))
}

/// The lower-case ending of a file's name.
fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// Names in the order that people expect: runs of digits by their number.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let ((one, rest_one), (two, rest_two)) = (run(left), run(right));
        if one.is_empty() || two.is_empty() {
            return one.len().cmp(&two.len()).then_with(|| a.cmp(b));
        }
        let digits = |text: &str| text.starts_with(|first: char| first.is_ascii_digit());
        let order = if digits(one) && digits(two) {
            let (one, two) = (one.trim_start_matches('0'), two.trim_start_matches('0'));
            one.len().cmp(&two.len()).then_with(|| one.cmp(two))
        } else {
            one.cmp(two)
        };
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (rest_one, rest_two);
    }
}

/// The digits, or what is no digit, at the start of a text, and the rest.
fn run(text: &str) -> (&str, &str) {
    let digit = text.starts_with(|first: char| first.is_ascii_digit());
    let end = text.find(|next: char| next.is_ascii_digit() != digit).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_natural_order() {
        let sorted = ["1.png", "2.png", "010.png", "10.png", "a2b", "a10", "a10b", "b"];
        let mut names = sorted;
        names.reverse();
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, sorted);
    }
}
