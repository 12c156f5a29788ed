//! A picture as it came: encoded bytes and the hash that names it everywhere.

use std::fmt;
use std::sync::Arc;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use sha2::{Digest, Sha256};

use crate::error::{DatasetError, Fault, Result};

/// The largest encoded picture that is accepted, in bytes.
pub const MAX_ENCODED_BYTES: usize = 64 << 20;
/// The largest picture that is decoded, in pixels (width times height).
pub const MAX_PIXELS: u64 = 100_000_000;

/// An encoded picture (PNG, JPEG or WebP) and the SHA-256 of its bytes; cheap to clone.
#[derive(Clone)]
pub struct Picture {
    bytes: Arc<[u8]>,
    sha256: Arc<str>,
    format: ImageFormat,
}

impl Picture {
    /// Takes encoded bytes; the format is recognised by its first bytes.
    ///
    /// # Errors
    /// When the bytes are no PNG, JPEG or WebP file, or more than [`MAX_ENCODED_BYTES`]. `place` names
    /// where they came from in the message.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>, place: &str) -> Result<Self> {
        let bytes: Arc<[u8]> = bytes.into();
        if bytes.len() > MAX_ENCODED_BYTES {
            return Err(DatasetError::picture(
                place,
                format!("{} bytes are more than the {MAX_ENCODED_BYTES} that are accepted", bytes.len()),
            )
            .because(Fault::PictureTooLarge));
        }
        let format = image::guess_format(&bytes)
            .map_err(|_| DatasetError::picture(place, "not a PNG, JPEG or WebP picture".to_owned()))?;
        if !matches!(format, ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP) {
            return Err(DatasetError::picture(place, format!("{format:?} is not supported (PNG, JPEG and WebP are)")));
        }
        let sha256 = hex(&Sha256::digest(&bytes)).into();
        Ok(Self { bytes, sha256, format })
    }

    /// Encodes pixels as PNG.
    ///
    /// # Errors
    /// When the encoder refuses the picture (an empty one).
    pub fn from_rgb(pixels: &RgbImage) -> Result<Self> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        pixels
            .write_to(&mut bytes, ImageFormat::Png)
            .map_err(|error| DatasetError::picture("a drawn picture", error.to_string()))?;
        Self::from_bytes(bytes.into_inner(), "a drawn picture")
    }

    /// Decodes to 8-bit RGB; grey is repeated, what is transparent shows white behind it.
    ///
    /// # Errors
    /// When the file is truncated or corrupt, or larger than [`MAX_PIXELS`].
    pub fn decode(&self) -> Result<RgbImage> {
        let place = &format!("picture {}", &self.sha256[..12]);
        let reader = || image::ImageReader::with_format(std::io::Cursor::new(&self.bytes[..]), self.format);
        let (width, height) =
            reader().into_dimensions().map_err(|error| DatasetError::picture(place, error.to_string()))?;
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(DatasetError::picture(
                place,
                format!("{width} x {height} is more than {MAX_PIXELS} pixels; scale it down first"),
            )
            .because(Fault::PictureTooLarge));
        }
        let decoded = reader().decode().map_err(|error| DatasetError::picture(place, error.to_string()))?;
        Ok(opaque(decoded))
    }

    /// The encoded bytes, as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Lower-case hexadecimal SHA-256 of [`Picture::bytes`].
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The file name extension that fits the encoding: `png`, `jpg` or `webp`.
    pub fn extension(&self) -> &'static str {
        match self.format {
            ImageFormat::Jpeg => "jpg",
            ImageFormat::WebP => "webp",
            _ => "png",
        }
    }

    /// The media type that fits the encoding, as used in data URIs.
    pub fn media_type(&self) -> &'static str {
        match self.format {
            ImageFormat::Jpeg => "image/jpeg",
            ImageFormat::WebP => "image/webp",
            _ => "image/png",
        }
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}, {} bytes)", &self.sha256[..12], self.bytes.len())
    }
}

impl PartialEq for Picture {
    fn eq(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
    }
}

impl Eq for Picture {}

/// 8-bit RGB over white, as the reference image processor converts.
fn opaque(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let pixels = picture.into_rgba8();
    let mix = |colour: u8, alpha: u8| {
        let (colour, alpha) = (u32::from(colour), u32::from(alpha));
        ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    RgbImage::from_fn(pixels.width(), pixels.height(), |x, y| {
        let [red, green, blue, alpha] = pixels.get_pixel(x, y).0;
        Rgb([mix(red, alpha), mix(green, alpha), mix(blue, alpha)])
    })
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}
