//! Rolling back: what a run recorded after a checkpoint is taken out of its files and put into `aside/`, which has a bound.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, GROWING, entries, folder_of, remove, step_of, steps};
use super::keep::BEST;
use super::record::CURATION;
use crate::error::{Result, RunError};
use crate::head::Head;
use crate::run_dir::EVENTS;

/// The folder of what was taken back.
const ASIDE: &str = "aside";
/// What the names of its folders begin with; a number follows.
const BEFORE: &str = "before-resume-";
/// So many of them are kept.
const KEPT: usize = 3;

/// What a run recorded after a checkpoint, on its way out.
pub(super) struct RollBack<'a> {
    /// The run's folder.
    pub(super) run: &'a Path,
    /// Where it goes on from.
    pub(super) checkpoint: &'a Checkpoint,
    /// The phases whose curations stay.
    pub(super) curated: &'a [String],
    /// Where everything else goes.
    aside: PathBuf,
}

impl<'a> RollBack<'a> {
    /// The way back to a checkpoint.
    pub(super) fn new(run: &'a Path, checkpoint: &'a Checkpoint, curated: &'a [String]) -> Self {
        let next = numbered(run).last().map_or(0, |(number, _)| number + 1);
        Self { run, checkpoint, curated, aside: run.join(ASIDE).join(format!("{BEFORE}{next}")) }
    }

    /// Takes it. Where it was stopped, it can be taken again.
    ///
    /// # Errors
    /// When a file cannot be moved or cut, or is shorter than it was.
    pub(super) fn take(&self) -> Result<()> {
        let Self { run, checkpoint, .. } = *self;
        self.set_altered_view_aside()?;
        for name in GROWING {
            self.cut(name, checkpoint.length(name))?;
        }
        let state = &checkpoint.state;
        self.later("rollouts", &|name| step_of(name).is_some_and(|step| step < state.step))?;
        self.later("eval", &|name| state.evaluated.iter().any(|kept| kept == name))?;
        let phase = |name: &str| name.rsplit_once('.').map_or(String::new(), |(phase, _)| phase.to_owned());
        self.later(CURATION, &|name| self.curated.contains(&phase(name)))?;
        // What others have put beside the checkpoints is theirs.
        let later: Vec<PathBuf> =
            steps(run).into_iter().filter(|step| *step > state.step).map(|step| folder_of(run, step)).collect();
        let is_later = |name: &str| later.iter().any(|path| path.ends_with(name));
        self.later("checkpoints", &|name| name == BEST || !is_later(name))?;
        // What a run leaves at its end.
        for name in ["summary.json", "report.html", "report.json", "export"].map(|name| run.join(name)) {
            if name.exists() {
                move_into(&name, &self.aside)?;
            }
        }
        Ok(())
    }

    /// Moves what is not kept of a folder.
    fn later(&self, folder: &str, keep: &dyn Fn(&str) -> bool) -> Result<()> {
        for name in entries(&self.run.join(folder)).iter().filter(|name| !keep(name)) {
            move_into(&self.run.join(folder).join(name), &self.aside.join(folder))?;
        }
        Ok(())
    }

    /// A view that is not what was written goes aside as a whole: it is made again from the metrics.
    fn set_altered_view_aside(&self) -> Result<()> {
        let path = self.run.join(EVENTS);
        let known = self.checkpoint.record().find(|(name, ..)| *name == EVENTS);
        let Some((_, length, hash)) = known.filter(|_| path.exists()) else { return Ok(()) };
        let head = Head::read(&path, length).map_err(|source| RunError::io(&path, source))?;
        if head.bytes() == length && hash.is_none_or(|hash| hash == head.sha256()) {
            return Ok(());
        }
        move_into(&path, &self.aside.join(EVENTS).parent().map_or_else(|| self.aside.clone(), Path::to_owned))
    }

    /// Cuts a file that grows; what is cut off is kept.
    fn cut(&self, name: &str, length: u64) -> Result<()> {
        let path = self.run.join(name);
        let io = |source| RunError::io(&path, source);
        let mut file = match File::options().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io(error)),
        };
        let bytes = file.metadata().map_err(io)?.len();
        if bytes < length {
            let reason =
                "is shorter than at the checkpoint: lines were lost, so the run cannot be continued faithfully";
            return Err(RunError::User(format!("{} {reason}", path.display())));
        }
        if bytes > length {
            let kept = self.aside.join(name);
            let parent = kept.parent().unwrap_or(&self.aside);
            std::fs::create_dir_all(parent).map_err(|source| RunError::io(parent, source))?;
            file.seek(SeekFrom::Start(length)).map_err(io)?;
            let copied = File::create(&kept).and_then(|mut kept| {
                std::io::copy(&mut file, &mut kept)?;
                kept.sync_all()
            });
            copied.map_err(|source| RunError::io(&kept, source))?;
            file.set_len(length).and_then(|()| file.sync_all()).map_err(io)?;
        }
        Ok(())
    }
}

/// Removes what was put aside long ago: the last few are kept, and the checkpoints of the last alone. Gives what is gone.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn bound(run: &Path) -> Result<Vec<PathBuf>> {
    let all: Vec<PathBuf> = numbered(run).into_iter().map(|(_, path)| path).collect();
    let (old, kept) = all.split_at(all.len().saturating_sub(KEPT));
    let before = kept.split_last().map_or(&[][..], |(_, before)| before);
    let heavy = before.iter().map(|path| path.join("checkpoints")).filter(|path| path.exists());
    let gone: Vec<PathBuf> = old.iter().cloned().chain(heavy).collect();
    gone.iter().try_for_each(|path| remove(path))?;
    Ok(gone)
}

/// What was put aside, by its numbers in rising order.
fn numbered(run: &Path) -> Vec<(u64, PathBuf)> {
    let folder = run.join(ASIDE);
    let number = |name: &String| name.strip_prefix(BEFORE)?.parse().ok();
    let mut all: Vec<(u64, PathBuf)> =
        entries(&folder).iter().filter_map(|name| Some((number(name)?, folder.join(name)))).collect();
    all.sort();
    all
}

fn move_into(path: &Path, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|source| RunError::io(folder, source))?;
    let place = folder.join(path.file_name().unwrap_or_default());
    std::fs::rename(path, &place).map_err(|source| RunError::io(path, source))?;
    // Both folders have to be on the disk, or the file is in neither after a crash.
    let synced = sapo_datasets::sync_folder(&place).and_then(|()| sapo_datasets::sync_folder(path));
    synced.map_err(|source| RunError::io(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_aside_has_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        assert!(bound(run).unwrap().is_empty());
        for number in [0, 1, 9, 10, 11] {
            let path = run.join(ASIDE).join(format!("{BEFORE}{number}/checkpoints/step-000001"));
            std::fs::create_dir_all(&path).unwrap();
        }
        std::fs::create_dir(run.join(ASIDE).join("mine")).unwrap();
        let gone = bound(run).unwrap();
        assert!(gone[0].ends_with("before-resume-0") && gone[3].ends_with("before-resume-10/checkpoints"), "{gone:?}");
        assert_eq!(entries(&run.join(ASIDE)), ["before-resume-10", "before-resume-11", "before-resume-9", "mine"]);
        let kept = |number: u32| run.join(ASIDE).join(format!("{BEFORE}{number}/checkpoints")).exists();
        assert_eq!([9, 10, 11].map(kept), [false, false, true]);
        let none = Checkpoint::none();
        assert!(RollBack::new(run, &none, &[]).aside.ends_with("before-resume-12"));
    }
}
