//! What a command tells while it goes on. Nothing here may slow it down or end it.

/// Somebody who is told.
pub trait Progress: Sync {
    /// A part of the work with so many units begins, `from` of which were done earlier.
    fn begin(&self, name: &str, units: u64, from: u64);
    /// So many units of it are done; `note` holds a few live numbers.
    fn done(&self, units: u64, note: &str);
    /// Within a unit, so many of its rollouts have ended.
    fn rollouts(&self, ended: usize, of: usize);
    /// Something worth a line.
    fn say(&self, text: &str);
}

/// Nobody is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str, _: u64, _: u64) {}
    fn done(&self, _: u64, _: &str) {}
    fn rollouts(&self, _: usize, _: usize) {}
    fn say(&self, _: &str) {}
}
