//! Where interpreters lie, and what they need to read.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where a program lies.
pub(crate) fn found(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return std::path::absolute(name).ok().filter(|path| runs(path));
    }
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| runs(path) && path.is_absolute())
}

#[cfg(unix)]
fn runs(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn runs(path: &Path) -> bool {
    path.is_file()
}

/// An installation of Python, which may lie anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Python {
    /// The interpreter itself: what was found by its name may be a script that looks for one.
    pub(crate) executable: PathBuf,
    /// The folders that it reads.
    pub(crate) folders: Vec<PathBuf>,
}

/// The installation that an interpreter belongs to, in its own words.
pub(crate) fn python(path: &Path) -> Python {
    let told = Command::new(path)
        .args([
            "-I",
            "-c",
            "import sys; print(sys.executable, *{sys.prefix, sys.base_prefix, sys.exec_prefix}, sep='\\n')",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let mut paths = told.lines().map(PathBuf::from).filter(|path| path.is_absolute() && path.parent().is_some());
    let executable = paths.next().filter(|path| runs(path)).unwrap_or_else(|| path.to_owned());
    let mut folders: Vec<PathBuf> = paths.collect();
    folders.push(executable.clone());
    folders.extend(executable.canonicalize());
    Python { executable, folders }
}
