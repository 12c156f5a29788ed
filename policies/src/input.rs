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

/// One prompt. Spans, grids and pixels agree by construction: only the processor makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyInput {
    /// Token ids, placeholders expanded.
    pub ids: Vec<u32>,
    /// Where pictures stand, in order; every placeholder token is in exactly one span.
    pub spans: Vec<ImageSpan>,
    /// The pictures, in order of appearance.
    pub pictures: Vec<PictureInput>,
}
