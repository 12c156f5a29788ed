//! Where the pictures of a chat come from: its own body, or a folder that the server was given.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sapo_datasets::Picture;
use serde_json::Value;
use url::Url;

use super::MOST_BYTES;
use super::fault::Fault;
use super::fields::wrong;
use crate::error::{Result as RunResult, RunError};

/// What may be shown.
#[derive(Clone, Debug, Default)]
pub(super) struct PictureSource {
    /// The folder whose files may be named, without symbolic links.
    folder: Option<PathBuf>,
}

impl PictureSource {
    /// Pictures in requests, and those in `folder`, if one is given.
    ///
    /// # Errors
    /// When there is no such folder.
    pub(super) fn new(folder: Option<&Path>) -> RunResult<Self> {
        let Some(folder) = folder else { return Ok(Self::default()) };
        let canonical = folder.canonicalize().ok().filter(|folder| folder.is_dir()).ok_or_else(|| {
            RunError::User(format!("--allow-local-images {}: there is no such folder", folder.display()))
        })?;
        Ok(Self { folder: Some(canonical) })
    }

    /// The picture that a URL holds or names.
    pub(super) fn read(&self, value: &Value, place: &str) -> Result<Picture, Fault> {
        let bytes = match value.as_str().and_then(|url| Some((url, url.split_once(':')?.0.to_ascii_lowercase()))) {
            Some((url, scheme)) if scheme == "data" => in_url(url, value, place)?,
            Some((url, scheme)) if scheme == "file" => self.in_folder(url, place)?,
            Some((_, scheme)) if scheme == "http" || scheme == "https" => {
                return Err(Fault::field(place, format!("pictures are not fetched; {}", wanted())));
            }
            _ => return Err(wrong(place, value, wanted())),
        };
        Picture::from_bytes(bytes, "the picture").map_err(|error| Fault::field(place, error.to_string()))
    }

    fn in_folder(&self, url: &str, place: &str) -> Result<Vec<u8>, Fault> {
        let Some(folder) = &self.folder else {
            let reason = "files of the server are not shown unless it is started with --allow-local-images DIR";
            return Err(Fault::field(place, format!("{reason}; {}", wanted())));
        };
        // What lies outside is said to be missing, so that nobody learns what there is.
        let missing = || Fault::field(place, "is no file in the folder that --allow-local-images names");
        let path = Url::parse(url).ok().and_then(|url| url.to_file_path().ok()).ok_or_else(missing)?;
        let path = path.canonicalize().map_err(|_| missing())?;
        if !path.starts_with(folder) || !path.is_file() {
            return Err(missing());
        }
        let mut bytes = Vec::new();
        let most = MOST_BYTES as u64;
        File::open(&path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)).map_err(|_| missing())?;
        if bytes.len() > MOST_BYTES {
            return Err(Fault::field(place, format!("has more than {MOST_BYTES} bytes; scale it down first")));
        }
        Ok(bytes)
    }
}

fn wanted() -> &'static str {
    "a URL that holds the picture itself is wanted: \"data:image/png;base64,...\""
}

/// The bytes that a data URL holds.
fn in_url(url: &str, value: &Value, place: &str) -> Result<Vec<u8>, Fault> {
    let data = url.split_once(',').and_then(|(kind, data)| {
        let kind = kind.to_ascii_lowercase();
        (kind.starts_with("data:image/") && kind.ends_with(";base64")).then_some(data)
    });
    let data = data.ok_or_else(|| wrong(place, value, wanted()))?;
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoded = GeneralPurpose::new(&STANDARD, lenient).decode(data);
    decoded.map_err(|error| Fault::field(place, format!("is not base64: {error}")))
}

#[cfg(test)]
mod tests {
    use sapo_datasets::{Split, Task, synthetic};
    use serde_json::json;

    use super::*;

    fn file_url(path: &Path) -> Value {
        json!(Url::from_file_path(path).unwrap().to_string())
    }

    #[cfg(unix)]
    #[test]
    fn nothing_outside_the_folder_is_shown() {
        let home = tempfile::tempdir().unwrap();
        let allowed = home.path().join("allowed");
        std::fs::create_dir(&allowed).unwrap();
        let picture = synthetic::query(Task::Clock, Split::Train, 1, 0).images.remove(0);
        let (inside, outside) = (allowed.join("a b%20.png"), home.path().join("secret.png"));
        for path in [&inside, &outside] {
            std::fs::write(path, picture.bytes()).unwrap();
        }
        std::os::unix::fs::symlink(&outside, allowed.join("link.png")).unwrap();
        std::os::unix::fs::symlink(&inside, home.path().join("back.png")).unwrap();
        let source = PictureSource::new(Some(&allowed)).unwrap();
        assert_eq!(source.read(&file_url(&inside), "p").unwrap().sha256(), picture.sha256());
        assert!(source.read(&file_url(&home.path().join("back.png")), "p").is_ok(), "it is that file");
        let dots = json!(format!("file://{}/allowed/../secret.png", home.path().display()));
        let encoded = json!(format!("file://{}/allowed/%2e%2e/secret.png", home.path().display()));
        for wrong in [
            file_url(&outside),
            file_url(&allowed.join("link.png")),
            file_url(&allowed),
            file_url(&allowed.join("missing.png")),
            dots,
            encoded,
            json!("file://example.org/etc/passwd"),
            json!("file:///etc/passwd"),
        ] {
            let fault = format!("{:?}", source.read(&wrong, "p").unwrap_err());
            assert!(fault.contains("is no file in the folder"), "{wrong}: {fault}");
        }
        let closed = format!("{:?}", PictureSource::default().read(&file_url(&inside), "p").unwrap_err());
        assert!(closed.contains("--allow-local-images"), "{closed}");
        assert!(PictureSource::new(Some(&home.path().join("none"))).is_err());
    }
}
