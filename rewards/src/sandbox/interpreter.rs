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

/// The folders of an installation of Python, which may lie anywhere.
pub(crate) fn python_folders(path: &Path) -> Vec<PathBuf> {
    let told = Command::new(path)
        .args(["-I", "-c", "import sys; print(*{sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}, sep='\\n')"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    told.lines().map(PathBuf::from).filter(|path| path.is_absolute() && path.parent().is_some()).collect()
}
