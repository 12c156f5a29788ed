//! How a picture is to be turned: by its EXIF, else by its XMP, as Pillow's `exif_transpose` has it.

use image::ImageDecoder;
use image::metadata::Orientation;

/// How XMP names the orientation; `="N"` or `>N<` follows.
const NAME: &[u8] = b"tiff:Orientation";

/// How the picture of a decoder is to be turned.
pub(crate) fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    // Metadata that cannot be read turns nothing; whether the picture itself is whole is seen when it is decoded.
    match decoder.orientation() {
        Ok(Orientation::NoTransforms) | Err(_) => {
            let exif = decoder.exif_metadata().unwrap_or_default();
            let xmp = decoder.xmp_metadata().unwrap_or_default();
            of_metadata(exif.as_deref(), xmp.as_deref())
        }
        Ok(orientation) => orientation,
    }
}

/// How a picture with these is to be turned.
pub(crate) fn of_metadata(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let of_exif = exif.and_then(Orientation::from_exif_chunk);
    of_exif.or_else(|| xmp.and_then(of_xmp)).unwrap_or(Orientation::NoTransforms)
}

fn of_xmp(xmp: &[u8]) -> Option<Orientation> {
    let at = xmp.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let rest = xmp.get(at..)?;
    let digit = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?.first()?;
    Orientation::from_exif(digit.checked_sub(b'0')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xmp_serves_where_exif_says_nothing() {
        let turned = Some(Orientation::Rotate90);
        assert_eq!(of_xmp(b"<a tiff:Orientation=\"6\"/>"), turned);
        assert_eq!(of_xmp(b"<tiff:Orientation>6</tiff:Orientation>"), turned);
        for none in [&b"tiff:Orientation"[..], b"tiff:Orientation=\"", b"tiff:Orientation=\"x\"", b"Orientation=\"6\""]
        {
            assert_eq!(of_xmp(none), None);
        }
    }
}
