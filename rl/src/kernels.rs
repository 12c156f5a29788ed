//! Kernels of a GPU: those that were compiled are kept on disk between processes, and counted.

use serde::{Deserialize, Serialize};

/// What a process has spent on kernels so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// Kernels that were compiled.
    pub compiled: u64,
    /// Kernels that were read from disk, where an earlier process had left them.
    pub loaded: u64,
    /// Seconds that both took.
    pub secs: f64,
}

impl Spent {
    /// What was spent since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            compiled: self.compiled.saturating_sub(before.compiled),
            loaded: self.loaded.saturating_sub(before.loaded),
            secs: (self.secs - before.secs).max(0.0),
        }
    }
}

#[cfg(not(feature = "gpu"))]
mod kept {
    use super::Spent;

    pub(super) fn spent() -> Option<Spent> {
        None
    }
}

#[cfg(feature = "gpu")]
pub(crate) mod kept {
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;
    use std::time::Duration;

    use burn::cubecl::config::cache::CacheConfig;
    use burn::cubecl::config::environment::EnvironmentConfig;
    use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
    use burn::cubecl::records::{Record, RecordEffect, Records, SessionId, write};
    use cubecl_environment::persistence::Database;
    use cubecl_environment::stream::StreamPolicy;
    use serde::{Deserialize, Serialize};

    use super::Spent;
    use crate::metrics::sha256;

    /// Processes whose records are kept beside their kernels.
    const SESSIONS: u32 = 8;

    /// Where this process's records are.
    struct Book {
        database: Database,
        session: SessionId,
    }

    /// The book, once a GPU was opened; empty where the disk does not take it.
    static BOOK: OnceLock<Option<Book>> = OnceLock::new();

    /// Says that a process computes here. With it the library keeps what it records of this process.
    #[derive(Serialize)]
    struct Computing {
        version: &'static str,
    }

    impl Record for Computing {
        const KIND: &'static str = "sapo";
    }

    /// What is read of the library's own record of one kernel.
    #[derive(Deserialize)]
    struct Made {
        outcome: Outcome,
        duration: Duration,
    }

    #[derive(Deserialize)]
    enum Outcome {
        Compiled,
        Loaded,
        Rekeyed,
    }

    impl Record for Made {
        const KIND: &'static str = "compilation";
    }

    /// Before a device is opened for the first time: kernels are kept, this process's are counted, and all threads hand their
    /// work to one stream. What else a `cubecl.toml` says, or the library's environment variables, stays as it is.
    pub(crate) fn keep(device: &str) {
        BOOK.get_or_init(|| {
            let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
            config.compilation.cache = true;
            // A stream for each thread lets one thread read what another has yet to write into the same tensor.
            config.streaming.policy = StreamPolicy::Single;
            config.environment.records.keep_sessions.get_or_insert(SESSIONS);
            let EnvironmentConfig { name, path, .. } = &mut config.environment;
            if let (CacheConfig::Target, Some(folder)) = (&path, folder()) {
                *path = CacheConfig::Directory(folder);
            }
            if *name == EnvironmentConfig::default().name {
                *name = named(device, Path::new("/"));
            }
            CubeClRuntimeConfig::try_set(config);
            let computing = Computing { version: env!("CARGO_PKG_VERSION") };
            let stamp = write(RecordEffect::Changed, &computing)?;
            Some(Book { database: Database::open_active()?, session: stamp.session })
        });
    }

    /// Where the user's caches are.
    fn folder() -> Option<PathBuf> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let caches = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        Some(caches?.join("sapo/kernels"))
    }

    /// What belongs together: a kind of device and its driver. The library itself tells builds and GPUs apart.
    fn named(device: &str, root: &Path) -> String {
        let kind = device.split(':').next().unwrap_or(device);
        let driver = std::fs::read(root.join("proc/driver/nvidia/version")).unwrap_or_default();
        format!("{kind}-{}", &sha256(&driver)[..8])
    }

    pub(super) fn spent() -> Option<Spent> {
        let book = BOOK.get()?.as_ref()?;
        let mut spent = Spent::default();
        let made = Records::new(&book.database).read::<Made>();
        for one in made.into_iter().filter(|one| one.stamp.session == book.session) {
            match one.record.outcome {
                Outcome::Compiled => spent.compiled += 1,
                Outcome::Loaded | Outcome::Rekeyed => spent.loaded += 1,
            }
            spent.secs += one.record.duration.as_secs_f64();
        }
        Some(spent)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_driver_has_kernels_of_its_own() {
            let root = tempfile::tempdir().unwrap();
            let file = root.path().join("proc/driver/nvidia/version");
            let before = named("cuda:0", root.path());
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "NVRM version: 580.95").unwrap();
            let after = named("cuda:1", root.path());
            assert!(before != after && after.starts_with("cuda-"), "{before} {after}");
            assert_eq!(after, named("cuda:0", root.path()));
        }
    }
}

/// What this process has spent on kernels so far; `None` on a CPU, and where that cannot be told.
pub fn spent() -> Option<Spent> {
    kept::spent()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_spent_is_a_difference() {
        let before = Spent { compiled: 3, loaded: 1, secs: 2.0 };
        let after = Spent { compiled: 5, loaded: 1, secs: 2.5 };
        assert_eq!(after.since(before), Spent { compiled: 2, loaded: 0, secs: 0.5 });
        assert_eq!(before.since(before), Spent::default());
    }
}
