//! A prompt as the policy takes it: token ids, typed picture spans, patches and grids.

use std::sync::Arc;

use crate::config::Config;
use crate::error::{PolicyError, Result};

/// The patches of one picture or video, ready for the vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureInput {
    /// Normalised pixels, row by row: `[t * h * w, channels * temporal_patch * patch * patch]`, in merge-block order.
    pub pixels: Arc<[f32]>,
    /// Patch grid `[t, h, w]`: temporal slots, rows, columns.
    pub grid: [usize; 3],
}

impl PictureInput {
    /// Number of patches, `t * h * w`.
    pub fn patches(&self) -> usize {
        self.grid.iter().product()
    }

    /// Number of tokens that the picture has in the text: patches over the squared merge size.
    pub fn tokens(&self, merge: usize) -> usize {
        self.patches() / (merge * merge)
    }
}

/// A run of placeholder tokens that stands for one temporal slot of a picture or video (stills have one slot).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSpan {
    /// Index of the first placeholder token.
    pub start: usize,
    /// Number of placeholder tokens.
    pub len: usize,
    /// Index of the picture among those of the same prompt or completion.
    pub picture: usize,
    /// The temporal slot within that picture.
    pub slot: usize,
}

/// One prompt. With pictures only the processor makes it, or a golden case that was checked: nobody else can, so that
/// spans, grids and pixels always agree.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyInput {
    pub(crate) ids: Vec<u32>,
    pub(crate) spans: Vec<ImageSpan>,
    pub(crate) pictures: Vec<PictureInput>,
    pub(crate) dropped_pictures: usize,
}

impl PolicyInput {
    /// A prompt of text alone: ids without a placeholder.
    pub fn of_text(ids: Vec<u32>) -> Self {
        Self { ids, spans: Vec::new(), pictures: Vec::new(), dropped_pictures: 0 }
    }

    /// A prompt whose pictures stand where their placeholders are, one run of them for each temporal slot.
    ///
    /// # Errors
    /// When placeholders and pictures do not agree, in kind, number or size.
    pub fn with_pictures(ids: Vec<u32>, pictures: Vec<PictureInput>, config: &Config) -> Result<Self> {
        let mut left = pictures.into_iter();
        let input = Self::placed(ids, config, &mut |_| left.next()).map_err(PolicyError::input)?;
        match left.next() {
            Some(_) => Err(PolicyError::input("there are more pictures than placeholders")),
            None => Ok(input),
        }
    }

    /// A prompt whose pictures come from `next` as their placeholders do: the next picture, or the next video when it is
    /// asked with `true`. Says what is wrong.
    pub(crate) fn placed(
        ids: Vec<u32>,
        config: &Config,
        next: &mut dyn FnMut(bool) -> Option<PictureInput>,
    ) -> std::result::Result<Self, String> {
        let merge = config.vision.spatial_merge_size;
        let mut input = Self::of_text(ids);
        // Slots that are left of the picture being placed, and its placeholder.
        let (mut slots_left, mut mark, mut at) = (0, 0, 0);
        while at < input.ids.len() {
            let id = input.ids[at];
            let video = id == config.video_token_id;
            if !video && id != config.image_token_id {
                at += 1;
                continue;
            }
            if slots_left == 0 {
                let picture = next(video).ok_or("has placeholders without a picture")?;
                if picture.pixels.len() != picture.patches() * config.vision.patch_inputs() {
                    return Err(format!(
                        "a picture of {:?} patches has {} numbers",
                        picture.grid,
                        picture.pixels.len()
                    ));
                }
                (slots_left, mark) = (picture.grid[0], id);
                input.pictures.push(picture);
            }
            let picture = input.pictures.len() - 1;
            let [slots, height, width] = input.pictures[picture].grid;
            let len = height * width / (merge * merge);
            if len == 0 || slots_left == 0 {
                return Err(format!("a picture of {:?} patches has no token", input.pictures[picture].grid));
            }
            if !input.ids.get(at..at + len).is_some_and(|run| run.iter().all(|id| *id == mark)) {
                return Err(format!("has fewer than {len} placeholders for a picture"));
            }
            input.spans.push(ImageSpan { start: at, len, picture, slot: slots - slots_left });
            slots_left -= 1;
            at += len;
        }
        if slots_left == 0 { Ok(input) } else { Err("has no placeholders for all frames".to_owned()) }
    }

    /// Puts text behind it: ids without a placeholder.
    pub fn push_text(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
    }

    /// Token ids, placeholders expanded.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Where pictures stand, in order; every placeholder token is in exactly one span.
    pub fn spans(&self) -> &[ImageSpan] {
        &self.spans
    }

    /// The pictures and videos, in order of appearance.
    pub fn pictures(&self) -> &[PictureInput] {
        &self.pictures
    }

    /// Pictures and videos that the processor left out, because the prompt would have been too long with them.
    pub fn dropped_pictures(&self) -> usize {
        self.dropped_pictures
    }
}
