//! The files of a checkpoint beside its weights: read whole, and carried over unchanged when it is saved.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{PolicyError, Result};
use crate::file::{read_bytes, write_synced};

/// The longest file that is carried.
const MAX_BYTES: u64 = 256 << 20;
/// Endings of what belongs to tokenizers, processors, templates, generation and the people who made the model.
const ENDINGS: [&str; 7] = ["json", "jinja", "txt", "model", "tiktoken", "md", "py"];
/// Folders with more templates.
const FOLDERS: [&str; 2] = ["additional_chat_templates", "chat_templates"];

/// The files of `folder` that are carried over, by name: not the weights and their index, nor `config.json`.
pub(crate) fn read(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    read_into(folder, "", &mut files)?;
    for name in FOLDERS {
        if folder.join(name).is_dir() {
            read_into(&folder.join(name), &format!("{name}/"), &mut files)?;
        }
    }
    Ok(files)
}

fn read_into(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let io = |source| PolicyError::io(folder, source);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        // A name that is no UTF-8 is none of a checkpoint's.
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.is_file() && is_carried(name) {
            files.insert(format!("{prefix}{name}"), read_bytes(&path, MAX_BYTES)?);
        }
    }
    Ok(())
}

fn is_carried(name: &str) -> bool {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let weights = name == "config.json" || name.ends_with(".index.json") || name.starts_with("adapter_");
    !weights && (ENDINGS.contains(&ending) || name.starts_with("LICENSE") || name == "NOTICE")
}

/// Writes carried files into `folder`.
pub(crate) fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    for (name, bytes) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|source| PolicyError::io(parent, source))?;
        }
        write_synced(&path, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_weights_is_carried() {
        let names =
            ["tokenizer.json", "merges.txt", "added_tokens.json", "chat_template.jinja", "LICENSE", "README.md"];
        assert!(names.into_iter().all(is_carried));
        let others = [
            "config.json",
            "model.safetensors",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "adapter_config.json",
            ".gitattributes",
        ];
        assert!(!others.into_iter().any(is_carried));
    }
}
