//! A contact sheet: the pictures of many queries in one, numbered.

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use crate::error::{DatasetError, Result};
use crate::picture::Picture;
use crate::query::Query;
use crate::synthetic::number_label;

const LABEL_PIXELS: u32 = 9;
const MARGIN_PIXELS: u32 = 4;
/// Pictures with a longer side are scaled down to it.
const LONGEST_SIDE_PIXELS: u32 = 192;
const PAPER: Rgb<u8> = Rgb([245, 245, 245]);

/// Draws the pictures of `queries` in rows of `per_row`, each under the number (from 0) of its query.
/// Queries without a picture leave no cell.
///
/// # Errors
/// When there is no picture at all, or one cannot be decoded.
pub fn contact_sheet(queries: &[Query], per_row: usize) -> Result<Picture> {
    let mut cells: Vec<(usize, RgbImage)> = Vec::new();
    for (number, query) in queries.iter().enumerate() {
        for picture in &query.images {
            cells.push((number, shrunk(picture.decode()?)));
        }
    }
    if cells.is_empty() {
        return Err(DatasetError::Request("none of these queries has a picture, so there is no sheet".to_owned()));
    }
    let per_row = per_row.clamp(1, cells.len());
    let width = cells.iter().map(|cell| cell.1.width()).fold(0, u32::max) + 2 * MARGIN_PIXELS;
    let height = cells.iter().map(|cell| cell.1.height()).fold(0, u32::max) + 2 * MARGIN_PIXELS + LABEL_PIXELS + 4;
    let rows = cells.len().div_ceil(per_row);
    let mut sheet = RgbImage::from_pixel(width * per_row as u32, height * rows as u32, PAPER);
    for (place, (number, picture)) in cells.iter().enumerate() {
        let left = i64::from((place % per_row) as u32 * width + MARGIN_PIXELS);
        let top = i64::from((place / per_row) as u32 * height + MARGIN_PIXELS);
        imageops::replace(&mut sheet, &number_label(*number, LABEL_PIXELS), left, top);
        imageops::replace(&mut sheet, picture, left, top + i64::from(LABEL_PIXELS + 4));
    }
    Picture::from_rgb(&sheet)
}

fn shrunk(picture: RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if longest <= LONGEST_SIDE_PIXELS {
        return picture;
    }
    let scaled = |side: u32| (side * LONGEST_SIDE_PIXELS / longest).max(1);
    imageops::resize(&picture, scaled(width), scaled(height), FilterType::Triangle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::Split;
    use crate::synthetic::{Task, query};

    #[test]
    fn pictures_stand_in_a_grid() {
        let queries: Vec<Query> = (0..5).map(|index| query(Task::Clock, Split::Train, 1, index)).collect();
        let sheet = contact_sheet(&queries, 3).unwrap().decode().unwrap();
        assert_eq!(sheet.dimensions(), (3 * 72, 2 * 85));
        let fourth = queries[3].images[0].decode().unwrap();
        assert_eq!(sheet.get_pixel(4 + 32, 85 + 4 + 13 + 32), fourth.get_pixel(32, 32));
        assert_eq!(*sheet.get_pixel(2 * 72 + 10, 85 + 60), PAPER, "the sixth cell is empty");
    }

    #[test]
    fn large_pictures_are_scaled_down() {
        let mut large = query(Task::Clock, Split::Train, 1, 0);
        large.images = vec![Picture::from_rgb(&RgbImage::new(1000, 10)).unwrap()];
        let sheet = contact_sheet(&[large], 4).unwrap().decode().unwrap();
        assert_eq!(sheet.width(), 200);
    }

    #[test]
    fn a_sheet_needs_pictures() {
        assert!(contact_sheet(&[query(Task::Arith, Split::Train, 1, 0)], 3).is_err());
    }
}
