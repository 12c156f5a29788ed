//! What a picture looks like, small: a 64-bit difference hash, the mean grey of 16 by 16 cells and the mean colour of 8 by
//! 8, which survive another encoding or size.

use image::RgbImage;

/// Cells along each side.
const SIDE: usize = 16;
/// Cells of colour along each side.
const COLOURED: usize = 8;
/// Cells of two pictures that look alike differ by so many of 255 levels at most.
const MOST_LEVELS: u8 = 4;
/// So many in each colour, which encoders keep less well.
const MOST_COLOUR_LEVELS: u8 = 6;
/// Bits of their hashes that may differ: where neighbours are equally grey, noise decides.
const MOST_BITS: u32 = 10;
/// Their ratios of width to height differ by this factor at most.
const MOST_STRETCH: f32 = 1.03;
/// Pixels are averaged on a grid of so many along a side of a cell at most.
const SAMPLES: u32 = 16;
/// Runs of so many pixels of a row that a wide cell is looked at in.
const MOST_RUNS: u32 = 4;
/// Bytes of such a run.
const RUN_BYTES: usize = SAMPLES as usize * 3;

/// A small view of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    hash: u64,
    cells: [u8; SIDE * SIDE],
    colours: [[u8; 3]; COLOURED * COLOURED],
    /// Width over height.
    ratio: f32,
}

impl Look {
    /// Looks at decoded pixels. An empty picture looks like nothing, which is black.
    pub fn of(picture: &RgbImage) -> Self {
        let (width, height) = picture.dimensions();
        let mut means = [[0; 3]; SIDE * SIDE];
        if width > 0 && height > 0 {
            let (columns, rows) = (spans(width), spans(height));
            for (at, mean) in means.iter_mut().enumerate() {
                *mean = mean_of(picture, columns[at % SIDE], rows[at / SIDE]);
            }
        }
        let cells = means.map(grey);
        let colours = std::array::from_fn(|at| {
            let first = at / COLOURED * 2 * SIDE + at % COLOURED * 2;
            let four = [first, first + 1, first + SIDE, first + SIDE + 1].map(|cell| means[cell]);
            std::array::from_fn(|colour| (four.iter().map(|mean| u16::from(mean[colour])).sum::<u16>() / 4) as u8)
        });
        let ratio = width.max(1) as f32 / height.max(1) as f32;
        Self { hash: difference_hash(&cells), cells, colours, ratio }
    }

    /// Whether two pictures look alike.
    pub fn is_near(&self, other: &Self) -> bool {
        let stretch = (self.ratio / other.ratio).max(other.ratio / self.ratio);
        (self.hash ^ other.hash).count_ones() <= MOST_BITS
            && stretch <= MOST_STRETCH
            && self.cells.iter().zip(&other.cells).all(|(one, other)| one.abs_diff(*other) <= MOST_LEVELS)
            && self
                .colours
                .as_flattened()
                .iter()
                .zip(other.colours.as_flattened())
                .all(|(one, other)| one.abs_diff(*other) <= MOST_COLOUR_LEVELS)
    }

    /// The mean grey of a quarter of a quarter: 4 by 4 cells in reading order.
    pub(super) fn quarter(&self, index: usize) -> u16 {
        let (row, column) = (index / 4 * 4, index % 4 * 4);
        let inside = (0..16).map(|at| u16::from(self.cells[(row + at / 4) * SIDE + column + at % 4]));
        inside.sum::<u16>() / 16
    }
}

/// The first pixel and the number of pixels of each cell; cells of a small picture share pixels.
fn spans(length: u32) -> [(u32, u32); SIDE] {
    std::array::from_fn(|index| {
        let at = |index: usize| (u64::from(length) * index as u64 / SIDE as u64) as u32;
        let start = at(index).min(length - 1);
        (start, (at(index + 1).max(start + 1) - start).min(length - start))
    })
}

/// The mean colour of a cell: of all its columns, or of four runs of them where it is wide, in at most 16 of its rows.
fn mean_of(picture: &RgbImage, (left, width): (u32, u32), (top, height): (u32, u32)) -> [u8; 3] {
    let stride = picture.width() as usize * 3;
    let down = height.min(SAMPLES);
    let lines = (0..down).map(|row| {
        let y = (top + row * height / down) as usize;
        &picture.as_raw()[y * stride..(y + 1) * stride]
    });
    // Colours are summed side by side as they lie, and told apart at the end: a byte at a time would cost a tenth of what
    // decoding does.
    let runs = (width / SAMPLES).min(MOST_RUNS);
    let all = width <= SAMPLES * MOST_RUNS;
    let step = if all { SAMPLES } else { (width - SAMPLES) / (runs - 1).max(1) };
    let rest = if all { runs * SAMPLES..width } else { 0..0 };
    let across = runs * SAMPLES + rest.len() as u32;
    let (mut sums, mut lanes) = ([0_u32; 3], [0_u32; RUN_BYTES]);
    for line in lines {
        let cell = &line[left as usize * 3..];
        for bytes in (0..runs).filter_map(|run| cell[(run * step) as usize * 3..].first_chunk::<RUN_BYTES>()) {
            lanes.iter_mut().zip(bytes).for_each(|(sum, byte)| *sum += u32::from(*byte));
        }
        for pixel in cell[rest.start as usize * 3..rest.end as usize * 3].as_chunks::<3>().0 {
            sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u32::from(*value));
        }
    }
    for pixel in lanes.as_chunks::<3>().0 {
        sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
    }
    sums.map(|sum| (sum / (across * down)) as u8)
}

/// Grey by the weights of ITU-R 601, in parts of 256.
fn grey([red, green, blue]: [u8; 3]) -> u8 {
    ((77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue)) / 256) as u8
}

/// Whether each of 8 by 8 cells is darker than its neighbour at the right, on every second row and column.
fn difference_hash(cells: &[u8; SIDE * SIDE]) -> u64 {
    let bit = |at: usize| {
        let here = at / 8 * 2 * SIDE + at % 8 * 2;
        u64::from(cells[here] < cells[here + 1]) << at
    };
    (0..64).map(bit).sum()
}

#[cfg(test)]
mod tests {
    use image::imageops::{FilterType, resize};
    use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
    use proptest::prelude::*;

    use super::*;
    use crate::split::Split;
    use crate::synthetic::{Task, query};

    fn photo(seed: u32) -> RgbImage {
        let wave = |x: u32, y: u32, step: u32| {
            (127.0 + 120.0 * f64::from(x * (seed % 7 + 1) + y * step).mul_add(0.011, f64::from(seed)).sin()) as u8
        };
        RgbImage::from_fn(320, 240, |x, y| Rgb([wave(x, y, 1), wave(x, y, 2), wave(y, x, 3)]))
    }

    fn as_jpeg(picture: &RgbImage) -> RgbImage {
        let mut bytes = std::io::Cursor::new(Vec::new());
        DynamicImage::from(picture.clone()).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
        image::load_from_memory(bytes.get_ref()).unwrap().into_rgb8()
    }

    #[test]
    fn another_encoding_or_size_looks_alike() {
        for seed in 0..8 {
            let picture = photo(seed);
            let look = Look::of(&picture);
            assert!(look.is_near(&Look::of(&as_jpeg(&picture))), "{seed} as JPEG");
            for (width, height) in [(160, 120), (240, 180), (640, 480)] {
                let other = resize(&picture, width, height, FilterType::Triangle);
                assert!(look.is_near(&Look::of(&other)), "{seed} at {width}");
            }
            assert!(!look.is_near(&Look::of(&photo(seed + 1))), "{seed} and the next");
        }
    }

    #[test]
    fn drawings_of_one_kind_are_told_apart() {
        for task in [Task::Clock, Task::Count, Task::Digits, Task::Locate] {
            let looks: Vec<Look> = (0..200)
                .map(|index| Look::of(&query(task, Split::Train, 3, index).images[0].decode().unwrap()))
                .collect();
            let alike = |at: usize| looks[..at].iter().filter(|other| other.is_near(&looks[at])).count();
            let pairs: usize = (0..looks.len()).map(alike).sum();
            assert!(pairs <= 40, "{task}: {pairs} pairs of 19,900 look alike");
        }
    }

    proptest! {
        #[test]
        fn every_size_has_a_look(width in 0_u32..70, height in 0_u32..70, level: u8) {
            let look = Look::of(&RgbImage::from_pixel(width, height, Rgb([level; 3])));
            prop_assert!(look.is_near(&look));
            prop_assert!(width == 0 || height == 0 || look.cells.iter().all(|cell| cell.abs_diff(level) <= 1));
        }
    }
}
