//! Bytes of picture files as the 8-bit RGB that the reference sees: upright, over white, whole or not at all.
//!
//! What a file says is read as Pillow reads it and as the reference's image processor turns it into RGB; the pictures in
//! `tests/fixtures/pictures` hold it to that.

pub mod file;
mod jpeg;
mod rgb;
mod upright;

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

pub use rgb::over_white;

/// The largest picture that is decoded, in pixels (width times height).
pub const MAX_PIXELS: u64 = 100_000_000;
/// What a picture may take as its file stores it, decoded: 16-bit pixels take twice as much.
const MAX_DECODED_BYTES: u64 = 512 << 20;
/// The formats that are read, in words.
pub const FORMATS: &str = "PNG, JPEG, WebP, GIF, BMP or TIFF";

/// A format that is read; of GIF, animated PNG and WebP the first frame, of TIFF the first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    WebP,
    /// GIF.
    Gif,
    /// BMP.
    Bmp,
    /// TIFF.
    Tiff,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Png, Self::Jpeg, Self::WebP, Self::Gif, Self::Bmp, Self::Tiff];

    /// Recognises a format by the first bytes of a file.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match image::guess_format(bytes).ok()? {
            ImageFormat::Png => Some(Self::Png),
            ImageFormat::Jpeg => Some(Self::Jpeg),
            ImageFormat::WebP => Some(Self::WebP),
            ImageFormat::Gif => Some(Self::Gif),
            ImageFormat::Bmp => Some(Self::Bmp),
            ImageFormat::Tiff => Some(Self::Tiff),
            _ => None,
        }
    }

    /// The file name extension that fits.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
        }
    }

    /// The media type, as used in data URIs.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
        }
    }

    fn decoded_by(self) -> ImageFormat {
        match self {
            Self::Png => ImageFormat::Png,
            Self::Jpeg => ImageFormat::Jpeg,
            Self::WebP => ImageFormat::WebP,
            Self::Gif => ImageFormat::Gif,
            Self::Bmp => ImageFormat::Bmp,
            Self::Tiff => ImageFormat::Tiff,
        }
    }
}

/// Why a picture cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// It is of no known format.
    #[error("not a {FORMATS} picture")]
    Unknown,
    /// It has more pixels than are decoded.
    #[error("{0}; scale it down first")]
    TooLarge(String),
    /// It is cut or damaged, or of a kind that is not decoded.
    #[error("cannot be decoded: {0}")]
    Damaged(String),
}

/// What this crate gives.
pub type Result<T> = std::result::Result<T, PictureError>;

/// Width and height of a picture as [`decode`] gives it, by its head alone.
///
/// # Errors
/// When the head cannot be read, or says more pixels than are decoded, or none.
pub fn size(bytes: &[u8]) -> Result<(u32, u32)> {
    let (width, height, orientation) = match Format::of(bytes).ok_or(PictureError::Unknown)? {
        Format::Jpeg => jpeg::head(bytes)?,
        format => {
            let mut decoder = decoder(bytes, format)?;
            let orientation = upright::orientation(&mut decoder);
            let (width, height) = decoder.dimensions();
            (width, height, orientation)
        }
    };
    use Orientation as O;
    match orientation {
        O::Rotate90 | O::Rotate270 | O::Rotate90FlipH | O::Rotate270FlipH => Ok((height, width)),
        _ => Ok((width, height)),
    }
}

/// Decodes a picture: turned as its EXIF says, grey repeated, white behind what is transparent, 16-bit values by their
/// high bytes. As Pillow has it, single grey values of 16 bits are clipped instead, and a colour of an RGB picture that is
/// called transparent is not.
///
/// # Errors
/// When it is of no known format, cut, damaged or too large. The size is looked at before anything is decoded.
pub fn decode(bytes: &[u8]) -> Result<RgbImage> {
    let format = Format::of(bytes).ok_or(PictureError::Unknown)?;
    let (mut picture, orientation) = match format {
        Format::Jpeg => jpeg::decode(bytes)?,
        format => {
            if format == Format::WebP && !is_whole_webp(bytes) {
                return Err(damaged("the file is cut: it says that it is longer"));
            }
            let mut decoder = decoder(bytes, format)?;
            let orientation = upright::orientation(&mut decoder);
            (DynamicImage::from_decoder(decoder).map_err(damaged)?, orientation)
        }
    };
    picture.apply_orientation(orientation);
    rgb::of(picture, rgb::sees_through(bytes, format))
}

/// Whether all is there that the head of a WebP file counts: its EXIF stands behind the pixels, and would not be missed.
fn is_whole_webp(bytes: &[u8]) -> bool {
    let length = bytes.get(4..8).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
    length.is_some_and(|length| bytes.len() as u64 >= u64::from(length) + 8)
}

/// The decoder of a picture that may be decoded as far as its head says.
fn decoder(bytes: &[u8], format: Format) -> Result<impl ImageDecoder + '_> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.decoded_by());
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height, decoder.total_bytes())?;
    Ok(decoder)
}

/// That a picture of this size, and of so many bytes as it is stored, is decoded.
fn check_size(width: u32, height: u32, bytes: u64) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        return Err(PictureError::TooLarge(format!("{width} x {height} is more than {MAX_PIXELS} pixels")));
    }
    if bytes > MAX_DECODED_BYTES {
        let mebibytes = MAX_DECODED_BYTES >> 20;
        let reason = format!("{width} x {height} takes more than {mebibytes} MiB at the depth that it is stored with");
        return Err(PictureError::TooLarge(reason));
    }
    if pixels == 0 {
        return Err(PictureError::Damaged("it has no pixels".to_owned()));
    }
    Ok(())
}

fn damaged(error: impl std::fmt::Display) -> PictureError {
    PictureError::Damaged(error.to_string())
}
