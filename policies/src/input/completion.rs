//! What follows a prompt: sampled tokens, and between them what was put in, such as the result of a tool.

use super::prompt::{ImageSpan, PictureInput, PolicyInput};

/// The tokens after a prompt, turn by turn: those that the policy sampled, which a loss is taken over, and those that
/// were put in, which are context alone and may hold pictures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    ids: Vec<u32>,
    sampled: Vec<bool>,
    spans: Vec<ImageSpan>,
    pictures: Vec<PictureInput>,
}

impl Completion {
    /// One turn of text, all of it sampled (or demonstrated).
    pub fn of_sampled(ids: Vec<u32>) -> Self {
        let sampled = vec![true; ids.len()];
        Self { ids, sampled, spans: Vec::new(), pictures: Vec::new() }
    }

    /// Puts sampled tokens behind it.
    pub fn push_sampled(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.sampled.resize(self.ids.len(), true);
    }

    /// Puts tokens behind it that the policy did not sample, with their pictures.
    pub fn push_injected(&mut self, input: &PolicyInput) {
        let (start, first) = (self.ids.len(), self.pictures.len());
        let shifted =
            |span: &ImageSpan| ImageSpan { start: start + span.start, picture: first + span.picture, ..*span };
        self.spans.extend(input.spans.iter().map(shifted));
        self.pictures.extend_from_slice(&input.pictures);
        self.ids.extend_from_slice(&input.ids);
        self.sampled.resize(self.ids.len(), false);
    }

    /// Token ids, placeholders expanded.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// For each token whether the policy sampled it: the loss mask.
    pub fn sampled(&self) -> &[bool] {
        &self.sampled
    }

    /// Number of sampled tokens.
    pub fn sampled_count(&self) -> usize {
        self.sampled.iter().filter(|sampled| **sampled).count()
    }

    /// Rows that it takes in a batch: one for each token up to the last sampled one. What was put in behind that is
    /// seen by no token that a loss is taken over.
    pub fn rows(&self) -> usize {
        // Later rows would be computed for nobody: tokens look back, and only sampled ones are predicted.
        self.sampled.iter().rposition(|sampled| *sampled).map_or(0, |last| last + 1)
    }

    /// The pictures and videos that were put in, in order of appearance.
    pub fn pictures(&self) -> &[PictureInput] {
        &self.pictures
    }

    /// Where they stand, `start` counted from the first token of this completion and `picture` in
    /// [`Completion::pictures`].
    pub fn spans(&self) -> &[ImageSpan] {
        &self.spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injected() -> PolicyInput {
        let picture = PictureInput { pixels: vec![0.0; 8].into(), grid: [1, 2, 2] };
        let span = ImageSpan { start: 1, len: 1, picture: 0, slot: 0 };
        PolicyInput { ids: vec![7, 9, 8], spans: vec![span], pictures: vec![picture], dropped_pictures: 0 }
    }

    #[test]
    fn turns_stand_one_behind_the_other() {
        let mut completion = Completion::of_sampled(vec![1, 2]);
        completion.push_injected(&injected());
        completion.push_sampled(&[3]);
        completion.push_injected(&injected());
        assert_eq!(completion.ids(), [1, 2, 7, 9, 8, 3, 7, 9, 8]);
        assert_eq!(completion.sampled(), [true, true, false, false, false, true, false, false, false]);
        assert_eq!((completion.sampled_count(), completion.rows()), (3, 6));
        let places: Vec<(usize, usize)> = completion.spans().iter().map(|span| (span.start, span.picture)).collect();
        assert_eq!((places.as_slice(), completion.pictures().len()), (&[(3, 0), (7, 1)][..], 2));
        let mut in_pieces = Completion::default();
        in_pieces.push_sampled(&[1]);
        in_pieces.push_sampled(&[2]);
        assert_eq!(in_pieces, Completion::of_sampled(vec![1, 2]));
        assert_eq!(Completion::default().rows(), 0);
    }
}
