//! Where patches are: frames of equal size, rows and columns, and their places in the table of learned positions.

use crate::input::PictureInput;

/// Neighbouring frames with equally many patches: attention runs over them in one product.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameRun {
    /// The first patch.
    pub(super) start: usize,
    pub(super) frames: usize,
    pub(super) patches_per_frame: usize,
}

/// The runs of frames of `pictures`, in order.
pub(super) fn frame_runs(pictures: &[&PictureInput]) -> Vec<FrameRun> {
    let mut runs: Vec<FrameRun> = Vec::new();
    let mut start = 0;
    for picture in pictures {
        let [slots, height, width] = picture.grid;
        match runs.last_mut() {
            Some(run) if run.patches_per_frame == height * width => run.frames += slots,
            _ => runs.push(FrameRun { start, frames: slots, patches_per_frame: height * width }),
        }
        start += picture.patches();
    }
    runs
}

/// Row and column of every patch of a picture, in merge-block order.
pub(super) fn block_coordinates(grid: [usize; 3], merge: usize) -> Vec<[usize; 2]> {
    let [slots, height, width] = grid;
    let mut frame = Vec::with_capacity(height * width);
    for block_row in 0..height / merge {
        for block_column in 0..width / merge {
            for row in 0..merge {
                for column in 0..merge {
                    frame.push([block_row * merge + row, block_column * merge + column]);
                }
            }
        }
    }
    frame.repeat(slots)
}

/// The four neighbours of a patch in the position table, and their weights: bilinear with aligned corners.
pub(super) fn table_neighbours(
    [row, column]: [usize; 2],
    [_, height, width]: [usize; 3],
    side: usize,
) -> [(i64, f32); 4] {
    let sample = |index: usize, size: usize| {
        let at = if size > 1 { index as f32 * (side - 1) as f32 / (size - 1) as f32 } else { 0.0 };
        let low = (at.floor() as usize).min(side - 1);
        (low, (low + 1).min(side - 1), at - low as f32)
    };
    let (top, bottom, down) = sample(row, height);
    let (left, right, across) = sample(column, width);
    let cell = |r: usize, c: usize, weight: f32| ((r * side + c) as i64, weight);
    [
        cell(top, left, (1.0 - down) * (1.0 - across)),
        cell(top, right, (1.0 - down) * across),
        cell(bottom, left, down * (1.0 - across)),
        cell(bottom, right, down * across),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_come_in_merge_blocks() {
        let cells = block_coordinates([1, 2, 4], 2);
        assert_eq!(cells, [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2], [0, 3], [1, 2], [1, 3]]);
    }

    #[test]
    fn the_corners_of_a_picture_are_the_corners_of_the_table() {
        let heaviest = |cell| {
            let mut four = table_neighbours(cell, [1, 3, 5], 8);
            four.sort_by(|a, b| b.1.total_cmp(&a.1));
            four[0]
        };
        assert_eq!(heaviest([0, 0]), (0, 1.0));
        assert_eq!(heaviest([0, 4]), (7, 1.0));
        assert_eq!(heaviest([2, 4]), (63, 1.0));
    }
}
