//! JPEG, whole or not at all: a decoder that fills what is missing with grey is told not to, and the end must be there.

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use crate::{PictureError, Result, check_size, damaged, upright};

type Decoder<'a> = JpegDecoder<ZCursor<&'a [u8]>>;

/// Width and height as stored, and how it is to be turned.
pub(crate) fn head(bytes: &[u8]) -> Result<(u32, u32, Orientation)> {
    let decoder = opened(bytes)?;
    let (width, height) = checked_size(&decoder)?;
    let xmp = decoder.xmp().map(Vec::as_slice);
    let orientation = upright::of_metadata(decoder.exif().map(Vec::as_slice), xmp);
    Ok((width, height, orientation))
}

/// The pixels as stored, and how they are to be turned.
pub(crate) fn decode(bytes: &[u8]) -> Result<(DynamicImage, Orientation)> {
    let (width, height, orientation) = head(bytes)?;
    if !is_whole(bytes) {
        return Err(PictureError::Damaged("the file is cut: its end is missing".to_owned()));
    }
    let mut decoder = opened(bytes)?;
    let is_grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let wanted = if is_grey { ColorSpace::Luma } else { ColorSpace::RGB };
    let options = decoder.options().jpeg_set_out_colorspace(wanted);
    decoder.set_options(options);
    let pixels = decoder.decode().map_err(damaged)?;
    let picture = match is_grey {
        true => GrayImage::from_raw(width, height, pixels).map(DynamicImage::ImageLuma8),
        false => RgbImage::from_raw(width, height, pixels).map(DynamicImage::ImageRgb8),
    };
    Ok((picture.ok_or_else(|| damaged("its pixels do not fill its size"))?, orientation))
}

fn opened(bytes: &[u8]) -> Result<Decoder<'_>> {
    let side = usize::from(u16::MAX);
    let options = DecoderOptions::default().set_strict_mode(true).set_max_width(side).set_max_height(side);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(damaged)?;
    Ok(decoder)
}

fn checked_size(decoder: &Decoder<'_>) -> Result<(u32, u32)> {
    let (width, height) = decoder.dimensions().ok_or_else(|| damaged("it says no size"))?;
    let (width, height) = (u32::try_from(width).map_err(damaged)?, u32::try_from(height).map_err(damaged)?);
    check_size(width, height, u64::from(width) * u64::from(height) * 3)?;
    Ok((width, height))
}

/// Whether the marker that ends a picture stands behind its data. What stands within a segment (a preview in EXIF has an
/// end of its own) does not count, and within entropy-coded data the marker cannot stand.
fn is_whole(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[first, kind]) = bytes.get(at..at + 2) {
        match (first, kind) {
            (0xFF, 0xD9) => return true,
            // Filled up, stuffed, or a restart: data goes on.
            (0xFF, 0xFF) => at += 1,
            (0xFF, 0x00 | 0x01 | 0xD0..=0xD8) => at += 2,
            (0xFF, _) => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
            }
            _ => at += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_preview_is_not_the_end_of_the_picture() {
        let preview = [0xFF, 0xE1, 0x00, 0x06, 0xFF, 0xD8, 0xFF, 0xD9];
        let data = [0xFF, 0xDA, 0x00, 0x02, 1, 2, 0xFF, 0x00, 0xFF, 0xD3, 3, 0xFF, 0xFF];
        let cut = [&[0xFF, 0xD8][..], &preview, &data].concat();
        assert!(!is_whole(&cut));
        assert!(is_whole(&[&cut[..], &[0xD9]].concat()));
        assert!(!is_whole(&[]) && !is_whole(&[0xFF, 0xD8, 0xFF, 0xE1, 0xFF]));
    }
}
