//! A picture as it came: encoded bytes and the hash that names it everywhere.

use std::fmt;
use std::sync::Arc;

use image::{ImageFormat, RgbImage};
use sapo_pictures::{Format, PictureError};
use sha2::{Digest, Sha256};

use crate::error::{DatasetError, Fault, Result};

/// The largest encoded picture that is accepted, in bytes.
pub const MAX_ENCODED_BYTES: usize = 64 << 20;

/// An encoded picture (PNG, JPEG, WebP, GIF, BMP or TIFF) and the SHA-256 of its bytes; cheap to clone.
#[derive(Clone)]
pub struct Picture {
    bytes: Arc<[u8]>,
    sha256: Arc<str>,
    format: Format,
}

impl Picture {
    /// Takes encoded bytes; the format is recognised by its first bytes.
    ///
    /// # Errors
    /// When the bytes are of no format that is read, or more than [`MAX_ENCODED_BYTES`]. `place` names
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
        let format =
            Format::of(&bytes).ok_or_else(|| DatasetError::picture(place, PictureError::Unknown.to_string()))?;
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

    /// Decodes to 8-bit RGB, as [`sapo_pictures::decode`] reads it.
    ///
    /// # Errors
    /// When the file is truncated or corrupt, or larger than [`sapo_pictures::MAX_PIXELS`].
    pub fn decode(&self) -> Result<RgbImage> {
        sapo_pictures::decode(&self.bytes).map_err(|error| self.fault(&error))
    }

    /// Width and height of what [`Picture::decode`] gives, by the file's head alone.
    ///
    /// # Errors
    /// When the head cannot be read, or says more than [`sapo_pictures::MAX_PIXELS`].
    pub fn size(&self) -> Result<(u32, u32)> {
        sapo_pictures::size(&self.bytes).map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &PictureError) -> DatasetError {
        let fault = match error {
            PictureError::TooLarge(_) => Fault::PictureTooLarge,
            PictureError::Unknown | PictureError::Damaged(_) => Fault::PictureDamaged,
        };
        DatasetError::picture(&format!("picture {}", &self.sha256[..12]), error.to_string()).because(fault)
    }

    /// The encoded bytes, as they came.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Lower-case hexadecimal SHA-256 of [`Picture::bytes`].
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The extensions of the files that pictures are kept in.
    pub fn extensions() -> impl Iterator<Item = &'static str> {
        Format::ALL.into_iter().map(Format::extension)
    }

    /// The same picture as a browser shows it: TIFF is encoded anew, all others are as they came.
    ///
    /// # Errors
    /// As [`Picture::decode`].
    pub fn for_browsers(&self) -> Result<Self> {
        match self.format {
            Format::Tiff => Self::from_rgb(&self.decode()?),
            _ => Ok(self.clone()),
        }
    }

    /// The file name extension that fits the encoding, such as `png`.
    pub fn extension(&self) -> &'static str {
        self.format.extension()
    }

    /// The media type that fits the encoding, as used in data URIs.
    pub fn media_type(&self) -> &'static str {
        self.format.media_type()
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

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}
