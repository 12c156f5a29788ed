//! The policy on disk, where servers load it from.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use sapo_policies::{Policy, WeightFormat};

use super::dialect::Weights;

/// Versions that stay on disk: the one that servers have, and the one before.
const KEPT: usize = 2;
/// What the folder of a version is called, with the version.
const VERSION: &str = "version-";
/// What an adapter is called, with its version.
const ADAPTER: &str = "sapo-";

/// A folder of versions, which one run holds.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    format: WeightFormat,
    lora: bool,
    /// Held as long as the engine lives.
    _lock: File,
}

impl Store {
    /// Opens a folder, and makes it if need be.
    ///
    /// # Errors
    /// When it cannot be made, or another run has it.
    pub(super) fn open(folder: &Path, format: WeightFormat, lora: bool) -> Result<Self, String> {
        let place = |error: std::io::Error| format!("engine.weights_dir: {}: {error}", folder.display());
        std::fs::create_dir_all(folder).map_err(place)?;
        // Servers run elsewhere: they are given whole paths.
        let folder = std::path::absolute(folder).map_err(place)?;
        let lock = File::create(folder.join(".lock")).map_err(place)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder, format, lora, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "engine.weights_dir: {} belongs to a run that is going on; name another folder",
                folder.display()
            )),
            Err(TryLockError::Error(error)) => Err(place(error)),
        }
    }

    /// Why a policy cannot be written so, if it cannot.
    pub(super) fn fault(&self, policy: &Policy) -> Option<&'static str> {
        match (self.lora, policy.adapter.is_some()) {
            (true, false) => {
                Some("engine.lora: the policy has no adapter; set it to false, or train one by policy.lora")
            }
            (false, true) => {
                Some("engine.lora: the policy is a model with an adapter; set it to true, so that servers load that")
            }
            _ => None,
        }
    }

    /// Writes a version, aside first and then renamed, and deletes the oldest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, policy: &Policy, version: u64) -> Result<Weights, String> {
        if let Some(reason) = self.fault(policy) {
            return Err(reason.to_owned());
        }
        let folder = self.folder.join(format!("{VERSION}{version:08}"));
        let fault =
            |error: &dyn std::fmt::Display| format!("{}: the weights cannot be written: {error}", folder.display());
        // What a run before has left is not this one's.
        remove(&folder).map_err(|error| fault(&error))?;
        if self.lora {
            policy.save_adapter(&folder).map_err(|error| fault(&error))?;
        } else {
            let aside = folder.with_extension("tmp");
            remove(&aside).and_then(|()| std::fs::create_dir_all(&aside)).map_err(|error| fault(&error))?;
            policy.save(&aside, self.format).map_err(|error| fault(&error))?;
            std::fs::rename(&aside, &folder).map_err(|error| fault(&error))?;
        }
        let earlier = self.earlier(&folder);
        for outdated in earlier.iter().rev().skip(KEPT - 1) {
            remove(outdated).map_err(|error| fault(&error))?;
        }
        let name = |folder: &PathBuf| -> Option<String> {
            let version: u64 = folder.file_name()?.to_str()?.strip_prefix(VERSION)?.parse().ok()?;
            Some(format!("{ADAPTER}{version}"))
        };
        let adapter = self.lora.then(|| format!("{ADAPTER}{version}"));
        let outdated = if self.lora { earlier.iter().filter_map(name).collect() } else { Vec::new() };
        Ok(Weights { version, folder, adapter, outdated })
    }

    /// The folders of other versions, by version.
    fn earlier(&self, current: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_version = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(VERSION) && path != current
        };
        let mut folders: Vec<PathBuf> = entries.filter(is_version).collect();
        folders.sort();
        folders
    }
}

fn remove(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use sapo_policies::Model;

    use super::*;

    #[test]
    fn versions_are_whole_and_few_and_one_run_holds_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = Model::open("tiny", 1, &Device::flex()).expect("a preset");
        let store = Store::open(folder.path(), WeightFormat::F32, false).expect("a store");
        assert!(
            Store::open(folder.path(), WeightFormat::F32, false).expect_err("it is held").contains("another folder")
        );
        for version in 0..4 {
            let weights = store.write(&model.policy, version).expect("written");
            let again = Policy::load(&weights.folder, &Device::flex()).expect("a whole checkpoint");
            assert_eq!(again.weights_sha256(), model.policy.weights_sha256());
            assert_eq!((weights.version, weights.adapter, weights.outdated.len()), (version, None, 0));
        }
        let left = store.earlier(Path::new(""));
        let names: Vec<_> = left.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(names, ["version-00000002", "version-00000003"]);
        drop(store);
        let store = Store::open(folder.path(), WeightFormat::F32, true).expect("it is free again");
        assert!(store.write(&model.policy, 0).expect_err("no adapter").contains("engine.lora"));
    }
}
