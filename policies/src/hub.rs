//! Models of the Hugging Face hub that are in its local cache already; nothing is fetched.

use std::path::{Path, PathBuf};

use crate::error::PolicyError;

/// The longest name of a revision that is read.
const LONGEST_REVISION: usize = 200;

/// Whether a name has the form of a hub id, `ORGANISATION/NAME`, and is no path here.
pub fn is_hub_id(name: &str) -> bool {
    let plain = |part: &str| {
        let letters = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.chars().all(letters)
    };
    // What begins with a folder that is here is a path in it.
    name.split_once('/')
        .is_some_and(|(organisation, model)| plain(organisation) && plain(model) && !Path::new(organisation).exists())
}

/// The folder that the cache lies in, as `hf` chooses it: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else in
/// `~/.cache/huggingface`.
pub fn cache() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("HF_HUB_CACHE")
        .or_else(|| variable("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/huggingface/hub")))
}

/// The folder of a model in a cache: the snapshot that `main` names.
pub fn cached(cache: &Path, id: &str) -> Option<PathBuf> {
    let model = cache.join(format!("models--{}", id.replace('/', "--")));
    let revision = std::fs::read_to_string(model.join("refs/main")).ok()?;
    let revision = revision.trim();
    let plain = revision.len() <= LONGEST_REVISION && revision.chars().all(|letter| letter.is_ascii_alphanumeric());
    let snapshot = model.join("snapshots").join(revision);
    (plain && snapshot.join("config.json").is_file()).then_some(snapshot)
}

/// The folder of a hub id in the local cache.
///
/// # Errors
/// When it is not there, with the command that fetches it; `None` where the name is no hub id.
pub fn snapshot(name: &str) -> Option<Result<PathBuf, PolicyError>> {
    if !is_hub_id(name) {
        return None;
    }
    let cache = cache();
    let found = cache.as_ref().and_then(|cache| cached(cache, name));
    Some(found.ok_or_else(|| {
        let place = cache.map_or(String::new(), |cache| format!(" ({})", cache.display()));
        PolicyError::input(format!(
            "there is no model `{name}`: neither a folder here, nor in the local Hugging Face cache{place}. Fetch it with \
             `hf download {name}`, or name the folder of a checkpoint"
        ))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_snapshot_of_main_is_found() {
        let cache = tempfile::tempdir().expect("a folder");
        let model = cache.path().join("models--Qwen--Qwen3-VL-2B-Instruct");
        let snapshot = model.join("snapshots/89abc0123");
        std::fs::create_dir_all(&snapshot).expect("a folder");
        std::fs::create_dir_all(model.join("refs")).expect("a folder");
        let found = || cached(cache.path(), "Qwen/Qwen3-VL-2B-Instruct");
        assert_eq!(found(), None, "no reference yet");
        std::fs::write(model.join("refs/main"), "89abc0123\n").expect("a file");
        assert_eq!(found(), None, "a download that was broken off");
        std::fs::write(snapshot.join("config.json"), "{}").expect("a file");
        assert_eq!(found(), Some(snapshot));
        std::fs::write(model.join("refs/main"), "../../x").expect("a file");
        assert_eq!(found(), None, "a revision is a name, not a path");
    }

    #[test]
    fn a_hub_id_has_two_plain_parts() {
        for (name, is_id) in [
            ("Qwen/Qwen3-VL-2B-Instruct", true),
            ("./Qwen3-VL-2B-Instruct", false),
            ("runs/a/checkpoints", false),
            ("tiny", false),
            ("../model", false),
            ("/model", false),
        ] {
            assert_eq!(is_hub_id(name), is_id, "{name}");
        }
    }
}
