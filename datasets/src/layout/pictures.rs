//! Pictures and videos as rows name them: bytes, base64, data URLs, hashes, paths beside the file.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sapo_pictures::{Format, file};
use serde_json::Value;

use crate::error::{DatasetError, Fault, Result};
use crate::picture::{MAX_ENCODED_BYTES, Picture};
use crate::table::RawPicture;
use crate::video::Video;

/// How base64 of a PNG, JPEG, WebP, GIF, TIFF (of either order of bytes) or BMP file starts.
const ENCODED_STARTS: [&str; 10] =
    ["iVBORw0KGgo", "/9j/", "UklGR", "R0lGOD", "SUkqA", "TU0AK", "Qk0", "Qk1", "Qk2", "Qk3"];

/// A picture of a row of `file`; `place` names row, column and number in errors.
pub(super) fn picture(raw: RawPicture, file: &Path, place: &str) -> Result<Picture> {
    match raw {
        RawPicture::Bytes(bytes) => Picture::from_bytes(bytes, place),
        RawPicture::Text(text) => named_picture(&text, file, place),
    }
}

fn named_picture(text: &str, file: &Path, place: &str) -> Result<Picture> {
    let damaged = |reason: &str| DatasetError::row(place, reason).because(Fault::PictureDamaged);
    if let Some(rest) = text.strip_prefix("data:") {
        let encoded = rest.split_once(";base64,").and_then(|(_, encoded)| decoded(encoded));
        let bytes = encoded.ok_or_else(|| damaged("a data URL that is not base64 (data:image/png;base64,...)"))?;
        return Picture::from_bytes(bytes, place);
    }
    let encoded = ENCODED_STARTS.iter().any(|start| text.starts_with(start));
    if encoded && let Some(bytes) = decoded(text) {
        return Picture::from_bytes(bytes, place);
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        let reason = format!("{text} is not fetched; download it first and name the file");
        return Err(DatasetError::row(place, reason).because(Fault::PictureMissing));
    }
    let path = path_of(text, file);
    if encoded && !path.exists() {
        return Err(damaged("begins as a picture in base64, and is none: it is cut, or holds other letters"));
    }
    let bytes = read(&path, place)?;
    Picture::from_bytes(bytes, &format!("{place}, {}", path.display()))
}

/// The bytes of a picture's file.
fn read(path: &Path, place: &str) -> Result<Vec<u8>> {
    file::read(path, MAX_ENCODED_BYTES as u64).map_err(|error| {
        let fault = match error.kind() {
            ErrorKind::FileTooLarge => Fault::PictureTooLarge,
            ErrorKind::UnexpectedEof => Fault::PictureDamaged,
            _ => Fault::PictureMissing,
        };
        DatasetError::row(place, format!("cannot read the picture {}: {error}", path.display())).because(fault)
    })
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    // Some writers break the lines of base64.
    let text: String = text.split_ascii_whitespace().collect();
    BASE64.decode(text).ok()
}

/// A path relative to the file; a hash names a picture in the folder `images` beside it.
fn path_of(text: &str, file: &Path) -> PathBuf {
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let named = |format: Format| folder.join("images").join(format!("{text}.{}", format.extension()));
        if let Some(path) = Format::ALL.map(named).into_iter().find(|path| path.exists()) {
            return path;
        }
    }
    folder.join(text.strip_prefix("file://").unwrap_or(text))
}

/// A picture as a data URL.
pub(crate) fn data_url(picture: &Picture) -> String {
    format!("data:{};base64,{}", picture.media_type(), BASE64.encode(picture.bytes()))
}

/// The videos of a cell: a path, `{path, fps}`, `{frames, fps}`, or a list of these.
pub(super) fn videos(value: Value, file: &Path, place: &str) -> Result<Vec<Video>> {
    let values = match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values,
        value => vec![value],
    };
    values.iter().map(|value| video(value, file, place)).collect()
}

fn video(value: &Value, file: &Path, place: &str) -> Result<Video> {
    let wrong = || {
        let wanted = "a path, a list of frames, {path, fps} or {frames, fps} is wanted";
        DatasetError::row(place, format!("holds {value}; {wanted}"))
    };
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let fps = match &value["fps"] {
        Value::Null => None,
        fps => Some(fps.as_f64().ok_or_else(|| {
            DatasetError::row(place, format!("`fps` is {fps}; frames a second must be a number above 0"))
        })?),
    };
    let frames = value.as_array().or_else(|| value["frames"].as_array());
    if let Some(frames) = frames {
        let frames: Option<Vec<PathBuf>> =
            frames.iter().map(|frame| frame.as_str().map(|path| folder.join(path))).collect();
        return Video::of_frames(&frames.ok_or_else(wrong)?, fps, place);
    }
    let path = value.as_str().or_else(|| value["path"].as_str()).ok_or_else(wrong)?;
    Video::open(&folder.join(path), fps, place)
}
