//! A prompt as servers take it: token ids with pictures between them, each as the very pixels that the policy sees.

use std::io::Cursor;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, RgbImage};
use sapo_policies::processor::{ImageProcessor, Processor};
use sapo_policies::{PictureInput, PolicyInput};

/// A part of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    /// Text.
    Text {
        /// Its ids, which are the record.
        ids: Vec<u32>,
        /// Its text, special tokens spelled out; only where the prompt has pictures, or the server takes texts.
        text: Arc<str>,
    },
    /// A picture.
    Picture {
        /// Its placeholders.
        ids: Vec<u32>,
        /// A PNG as a data URL.
        url: Arc<str>,
    },
}

/// A prompt, which grows by turns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Prompt {
    parts: Vec<Part>,
}

impl Prompt {
    /// Puts a prompt or an injected turn behind it.
    ///
    /// # Errors
    /// When it has a video, which is not sent to servers.
    pub(super) fn push(&mut self, input: &PolicyInput, processor: &Processor) -> Result<(), String> {
        let (ids, mut at) = (input.ids(), 0);
        for span in input.spans() {
            let picture = &input.pictures()[span.picture];
            if picture.grid[0] != 1 {
                return Err(
                    "it has a video, and only pictures are sent to servers; sample with engine.kind = \"local\""
                        .to_owned(),
                );
            }
            self.push_ids(&ids[at..span.start], processor);
            at = span.start + span.len;
            let url = data_url(picture, processor.images())?;
            self.parts.push(Part::Picture { ids: ids[span.start..at].to_vec(), url: url.into() });
        }
        self.push_ids(&ids[at..], processor);
        Ok(())
    }

    /// Puts text behind it.
    pub(super) fn push_ids(&mut self, more: &[u32], processor: &Processor) {
        if more.is_empty() {
            return;
        }
        let mut ids = match self.parts.last_mut() {
            Some(Part::Text { ids, .. }) => std::mem::take(ids),
            _ => Vec::new(),
        };
        if !ids.is_empty() {
            self.parts.pop();
        }
        ids.extend_from_slice(more);
        let text = processor.decode(&ids, false).into();
        self.parts.push(Part::Text { ids, text });
    }

    /// Its parts, in order; texts and pictures take turns.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter()
    }

    /// Whether there is a picture in it.
    pub(super) fn has_pictures(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Picture { .. }))
    }

    /// All ids, as the policy reads them.
    pub(super) fn ids(&self) -> Vec<u32> {
        self.ids_of(|ids| ids)
    }

    /// The ids with one placeholder for each picture, which the server multiplies.
    pub(super) fn collapsed_ids(&self) -> Vec<u32> {
        self.ids_of(|ids| &ids[..1])
    }

    fn ids_of(&self, of_picture: fn(&[u32]) -> &[u32]) -> Vec<u32> {
        let ids = |part: &Part| match part {
            Part::Text { ids, .. } => ids.clone(),
            Part::Picture { ids, .. } => of_picture(ids).to_vec(),
        };
        self.parts.iter().flat_map(ids).collect()
    }

    /// What a server that tokenises the texts between pictures would read differently, if anything: the place of the first
    /// token.
    pub(super) fn misread(&self, processor: &Processor) -> Option<usize> {
        let mut before = 0;
        for part in &self.parts {
            let (Part::Text { ids, .. } | Part::Picture { ids, .. }) = part;
            if let Part::Text { ids, text } = part {
                let again = processor.tokenizer().encode(text).unwrap_or_default();
                if again != *ids {
                    let same = again.iter().zip(ids).take_while(|(one, other)| one == other).count();
                    return Some(before + same);
                }
            }
            before += ids.len();
        }
        None
    }
}

/// A picture as a PNG of the size that the policy sees, so that a server has nothing to resize.
fn data_url(picture: &PictureInput, images: &ImageProcessor) -> Result<String, String> {
    let fault = |error: image::ImageError| format!("a picture cannot be written as PNG: {error}");
    let mut png = Cursor::new(Vec::new());
    pixels(picture, images)?.write_to(&mut png, ImageFormat::Png).map_err(fault)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png.into_inner())))
}

/// The pixels that patches were cut from: the inverse of what the processor does, which is exact because pixels are bytes.
fn pixels(picture: &PictureInput, images: &ImageProcessor) -> Result<RgbImage, String> {
    let [_, rows, columns] = picture.grid;
    let (patch, merge, frames) = (images.patch_size, images.merge_size, images.temporal_patch_size);
    let (height, width) = (rows * patch, columns * patch);
    let wrong = || "a picture's patches do not fit its grid".to_owned();
    if picture.pixels.len() != rows * columns * 3 * frames * patch * patch || merge == 0 {
        return Err(wrong());
    }
    let mut bytes = vec![0_u8; height * width * 3];
    for (number, one) in picture.pixels.chunks_exact(3 * frames * patch * patch).enumerate() {
        let (block, inside) = (number / (merge * merge), number % (merge * merge));
        let across = columns / merge;
        let top = (block / across * merge + inside / merge) * patch;
        let left = (block % across * merge + inside % merge) * patch;
        for (channel, frames) in one.chunks_exact(frames * patch * patch).enumerate() {
            for (place, value) in frames[..patch * patch].iter().enumerate() {
                let (y, x) = (top + place / patch, left + place % patch);
                let level = (f64::from(*value) * images.std[channel] + images.mean[channel]) / images.rescale;
                bytes[(y * width + x) * 3 + channel] = level.round().clamp(0.0, 255.0) as u8;
            }
        }
    }
    RgbImage::from_raw(width as u32, height as u32, bytes).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use sapo_policies::Model;

    use super::*;

    #[test]
    fn the_pixels_that_are_sent_are_those_that_the_policy_sees() {
        let model = Model::open("tiny", 1, &Device::flex()).expect("a preset");
        let images = model.processor.images();
        let picture = RgbImage::from_fn(50, 70, |x, y| image::Rgb([(x * 5) as u8, (y * 3) as u8, (x * y) as u8]));
        let seen = images.process(&picture).expect("patches");
        let sent = pixels(&seen, images).expect("pixels");
        assert_eq!(images.process(&sent).expect("patches"), seen, "nothing is lost, and the size stays");
        let url = data_url(&seen, images).expect("a data URL");
        let png = STANDARD.decode(url.strip_prefix("data:image/png;base64,").expect("a PNG")).expect("base64");
        assert_eq!(image::load_from_memory(&png).expect("a picture").to_rgb8(), sent);
    }

    #[test]
    fn a_prompt_grows_by_ids_and_knows_what_would_be_read_differently() {
        let model = Model::open("tiny", 1, &Device::flex()).expect("a preset");
        let processor = &model.processor;
        let ids = processor.tokenizer().encode("one and two").expect("ids");
        let mut prompt = Prompt::default();
        prompt.push(&PolicyInput::of_text(ids.clone()), processor).expect("text");
        assert_eq!((prompt.ids(), prompt.misread(processor)), (ids.clone(), None));
        // Single bytes of a word, as a policy may sample them: its text is read as other tokens.
        let whole = processor.tokenizer().encode("the").expect("ids");
        let bytes: Vec<u32> =
            ["t", "h", "e"].iter().map(|one| processor.tokenizer().id(one).expect("a byte")).collect();
        assert_ne!(whole, bytes);
        prompt.push_ids(&bytes, processor);
        assert_eq!(prompt.ids(), [ids.clone(), bytes].concat());
        assert!(prompt.misread(processor).is_some_and(|at| at >= ids.len() - 1));
        assert_eq!(prompt.parts().count(), 1);
    }
}
