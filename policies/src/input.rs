//! A prompt as the policy takes it: token ids, typed picture spans, patches and grids.

use std::sync::Arc;

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
    /// Index of the picture in [`PolicyInput::pictures`].
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
}

impl PolicyInput {
    /// A prompt of text alone: ids without a placeholder.
    pub fn of_text(ids: Vec<u32>) -> Self {
        Self { ids, spans: Vec::new(), pictures: Vec::new() }
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
}
