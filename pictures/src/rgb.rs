//! Decoded pixels as 8-bit RGB, in the ways of Pillow.

use image::{DynamicImage, Rgb, RgbImage, Rgba};

use crate::{Format, PictureError, Result};

/// What an alpha channel means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alpha {
    /// White shows behind the pixels.
    White,
    /// Nothing: the decoder made it of a colour that a PNG calls transparent, and Pillow looks at that only in some.
    Nothing,
}

/// What an alpha channel of this file means. PNG of RGB, and of grey values of 16 bits, have none of their own.
pub(crate) fn sees_through(bytes: &[u8], format: Format) -> Alpha {
    // The depth and the kind of colour stand behind the signature, the head of the first chunk, width and height.
    match (format, bytes.get(24..26)) {
        (Format::Png, Some([_, 2] | [16, 0])) => Alpha::Nothing,
        _ => Alpha::White,
    }
}

/// 8-bit RGB of what a decoder gives.
pub(crate) fn of(picture: DynamicImage, alpha: Alpha) -> Result<RgbImage> {
    use DynamicImage as D;
    Ok(match (picture, alpha) {
        (D::ImageRgb8(pixels), _) => pixels,
        (picture @ D::ImageLuma8(_), _) => picture.into_rgb8(),
        (picture @ (D::ImageLumaA8(_) | D::ImageRgba8(_)), Alpha::White) => over_white(&picture.into_rgba8()),
        (picture @ (D::ImageLumaA8(_) | D::ImageRgba8(_)), Alpha::Nothing) => picture.into_rgb8(),
        (D::ImageLuma16(pixels), _) => mapped(&pixels, |pixel: &image::Luma<u16>| clipped(pixel.0[0])),
        (D::ImageLumaA16(pixels), Alpha::Nothing) => mapped(&pixels, |pixel: &image::LumaA<u16>| clipped(pixel.0[0])),
        (D::ImageLumaA16(pixels), Alpha::White) => mapped(&pixels, |pixel: &image::LumaA<u16>| {
            let [grey, alpha] = pixel.0.map(high);
            mixed([grey; 3], alpha)
        }),
        (D::ImageRgb16(pixels), _) => mapped(&pixels, |pixel: &Rgb<u16>| Rgb(pixel.0.map(high))),
        (D::ImageRgba16(pixels), alpha) => mapped(&pixels, |pixel: &Rgba<u16>| {
            let [red, green, blue, value] = pixel.0.map(high);
            match alpha {
                Alpha::White => mixed([red, green, blue], value),
                Alpha::Nothing => Rgb([red, green, blue]),
            }
        }),
        (other, _) => {
            let reason = format!("pixels of the kind {:?} are not taken; write it with 8 bits", other.color());
            return Err(PictureError::Damaged(reason));
        }
    })
}

/// White shown behind what is transparent.
pub fn over_white(picture: &image::RgbaImage) -> RgbImage {
    mapped(picture, |Rgba([red, green, blue, alpha])| mixed([*red, *green, *blue], *alpha))
}

fn mapped<P: image::Pixel>(picture: &image::ImageBuffer<P, Vec<P::Subpixel>>, of: impl Fn(&P) -> Rgb<u8>) -> RgbImage {
    let mut out = RgbImage::new(picture.width(), picture.height());
    out.pixels_mut().zip(picture.pixels()).for_each(|(out, pixel)| *out = of(pixel));
    out
}

fn high(value: u16) -> u8 {
    value.to_be_bytes()[0]
}

/// A single grey value of 16 bits: what is above white is white.
fn clipped(value: u16) -> Rgb<u8> {
    Rgb([u8::try_from(value).unwrap_or(u8::MAX); 3])
}

fn mixed(colours: [u8; 3], alpha: u8) -> Rgb<u8> {
    let alpha = u32::from(alpha);
    Rgb(colours.map(|colour| ((u32::from(colour) * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
}
