//! What parent, supervisor and stage say to each other: one JSON message with its length, and descriptors beside it.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::sandbox::{Ended, Limits};

/// A longer message is a fault.
const LONGEST_MESSAGE_BYTES: usize = 64 << 20;
/// Descriptors that one message can carry.
const MOST_DESCRIPTORS: usize = 3;

/// What the launcher must do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    /// Whether there are namespaces.
    pub(super) namespaces: bool,
    /// Whether there are Landlock and seccomp.
    pub(super) walls: bool,
    /// Whether mounts keep everything but the work folder as it is; the supervisor finds out.
    pub(super) sealed: bool,
    /// The user that root becomes.
    pub(super) user: Option<u32>,
    pub(super) limits: Limits,
    pub(super) program: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) folder: PathBuf,
    /// Where the program begins.
    pub(super) begins: PathBuf,
    pub(super) read: Vec<PathBuf>,
}

/// What the supervisor says at the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    /// The sandbox failed: nothing is known about the program.
    pub(super) fault: Option<String>,
    pub(super) ended: Ended,
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) cpu_secs: f64,
    pub(super) peak_bytes: u64,
}

impl Report {
    pub(super) fn fault(reason: String) -> Self {
        Self { fault: Some(reason), ended: Ended::Itself, code: None, signal: None, cpu_secs: 0.0, peak_bytes: 0 }
    }
}

/// Sends a message with descriptors.
pub(super) fn send<T: Serialize>(mut to: &UnixStream, message: &T, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?.to_le_bytes();
    if descriptors.is_empty() {
        to.write_all(&length)?;
    } else {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors"));
        }
        let sent = sendmsg(to.as_fd(), &[io::IoSlice::new(&length)], &mut beside, SendFlags::NOSIGNAL)?;
        to.write_all(&length[sent..])?;
    }
    to.write_all(&text)
}

/// Waits for a message; `None` when the other side has gone without one.
pub(super) fn receive<T: DeserializeOwned>(mut from: &UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(from.as_fd(), &mut [io::IoSliceMut::new(&mut length)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = message {
            descriptors.extend(given);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[got.bytes..])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST_MESSAGE_BYTES {
        return Err(io::Error::other("a message is too long"));
    }
    let mut text = vec![0; length];
    from.read_exact(&mut text)?;
    Ok(Some((serde_json::from_slice(&text)?, descriptors)))
}
