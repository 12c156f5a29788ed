//! The mounts of a namespace of its own: everything is read-only, also to `chmod`, `utime` and `setxattr`, but the work
//! folder, which is memory of a bounded size, so that files that have lost their names count as well.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount};

use super::folder::MOST_ENTRIES;

/// A file of the work folder: its name, its content, and who may do what with it.
type Kept = (PathBuf, Vec<u8>, fs::Permissions);

/// Puts a work folder of at most `bytes` over the one on the disk, with the same files, and makes all else read-only;
/// without a bound the work folder is the one on the disk.
///
/// # Errors
/// When the kernel does not allow it; what was done until then does no harm.
pub(super) fn seal(folder: &Path, bytes: Option<u64>) -> io::Result<()> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    if let Some(bytes) = bytes {
        let kept = files(folder)?;
        // One file more than are allowed, so that too many are noticed.
        let data = CString::new(format!("size={bytes},nr_inodes={},mode=0700", MOST_ENTRIES + 2))?;
        mount("tmpfs", folder, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, data.as_c_str())?;
        for (path, content, permissions) in kept {
            fs::write(&path, content)?;
            fs::set_permissions(&path, permissions)?;
        }
    } else {
        mount_bind(folder, folder)?;
    }
    for (path, flags) in others(&fs::read("/proc/self/mountinfo")?, folder) {
        match mount_remount(&path, MountFlags::BIND | MountFlags::RDONLY | flags, "") {
            // Hidden below another mount, or out of reach: then out of reach for the program as well.
            Ok(()) | Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The files that lie in a folder; a work folder begins without folders in it.
fn files(folder: &Path) -> io::Result<Vec<Kept>> {
    let kept = fs::read_dir(folder)?.map(|entry| {
        let entry = entry?;
        Ok((entry.path(), fs::read(entry.path())?, fs::Permissions::from_mode(entry.metadata()?.permissions().mode())))
    });
    kept.collect()
}

/// Every mount but that of the folder, and what it allows; read-only ones are left out.
fn others(mounts: &[u8], folder: &Path) -> Vec<(PathBuf, MountFlags)> {
    let mut found = Vec::new();
    for line in mounts.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ').skip(4);
        let (Some(path), Some(options)) = (fields.next(), fields.next()) else { continue };
        let path = unescaped(path);
        let options: Vec<&[u8]> = options.split(|byte| *byte == b',').collect();
        if path == folder || options.contains(&b"ro".as_slice()) {
            continue;
        }
        // What a mount of another namespace forbids must stay forbidden.
        let known = [
            ("nosuid", MountFlags::NOSUID),
            ("nodev", MountFlags::NODEV),
            ("noexec", MountFlags::NOEXEC),
            ("noatime", MountFlags::NOATIME),
            ("nodiratime", MountFlags::NODIRATIME),
            ("relatime", MountFlags::RELATIME),
        ];
        let flags = known.iter().filter(|(name, _)| options.contains(&name.as_bytes())).map(|(_, flag)| *flag);
        found.push((path, flags.fold(MountFlags::empty(), |all, flag| all | flag)));
    }
    found
}

/// A path of `mountinfo`, where spaces and the like are written as three octal digits behind a backslash.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let digits = field.get(at + 1..at + 4).filter(|_| field[at] == b'\\');
        let code = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        path.push(code.unwrap_or(field[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    PathBuf::from(OsString::from_vec(path))
}

/// Bytes and files that lie in a folder of its own mount, also those that have lost their names.
pub(super) fn used(folder: &Path) -> io::Result<(u64, u64)> {
    let about = rustix::fs::statvfs(folder)?;
    let bytes = about.f_blocks.saturating_sub(about.f_bfree).saturating_mul(about.f_frsize);
    Ok((bytes, about.f_files.saturating_sub(about.f_ffree)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_what_they_forbid() {
        let lines = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
            28 27 0:25 / /a\\040b rw,nosuid,nodev,noexec,relatime shared:1 - tmpfs x rw\n\
            29 27 0:26 / /ro ro,relatime - tmpfs x rw\n30 27 0:27 / /work rw - tmpfs x rw\nshort\n";
        let found = others(lines, Path::new("/work"));
        let closed = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME;
        assert_eq!(found, [(PathBuf::from("/"), MountFlags::RELATIME), (PathBuf::from("/a b"), closed)], "{found:?}");
    }
}
