//! Plugins: rewards that other programs compute, in processes or behind a URL. They may hang, die or give nonsense:
//! only the items that are to blame fail, and none of them gets 0 for it.

mod bisect;
mod pictures;
mod pool;
mod process;
mod protocol;
mod queue;
mod remote;
pub mod schema;
mod worker;

use std::sync::{Arc, OnceLock};

use sapo_datasets::hex;
use sha2::{Digest, Sha256};

use crate::error::{Result, RewardError};
use crate::kind::{Endpoints, Example, Kind};
use crate::reward::{Item, Reward, RewardSpec, Scoring};
use crate::score::{FailureKind, PartScore};
use pictures::PictureFolder;
use pool::{Place, Pool};
pub use process::ProcessConfig;
use protocol::ReplyFault;
pub use protocol::VERSION;
use queue::{Queue, Queued};
pub use remote::HttpConfig;
use remote::Sender;
pub use worker::CHANNEL_VARIABLE;

/// A reward that another program computes. Its first worker starts when it is prepared, the others with the first items.
pub struct Plugin {
    spec: RewardSpec,
    queue: Arc<Queue>,
    threads: OnceLock<std::result::Result<(), String>>,
    side: Side,
}

/// Who computes it.
enum Side {
    Process { config: Box<ProcessConfig>, pool: Arc<Pool>, folder: OnceLock<Arc<PictureFolder>> },
    Http(Arc<HttpConfig>),
}

impl Plugin {
    /// A reward of processes; none is started yet.
    ///
    /// # Errors
    /// When an option makes no sense, the Python file cannot be read, or a variable is not in the environment.
    pub fn process(name: &str, config: &ProcessConfig) -> Result<Self> {
        let (launch, version) = config.launch().map_err(|reason| RewardError::reward(name, reason))?;
        let pool = Arc::new(Pool::new(launch, config.limits()));
        let side = Side::Process { config: Box::new(config.clone()), pool, folder: OnceLock::new() };
        let spec = RewardSpec {
            range: config.range.into(),
            needs_pictures: config.pictures,
            role: config.role,
            ..RewardSpec::rule(name, &format!("process/{VERSION} {version}"))
        };
        Ok(Self::new(spec, side))
    }

    /// A reward behind a URL; nothing is sent yet.
    ///
    /// # Errors
    /// When an option makes no sense, or the key is not in the environment.
    pub fn http(name: &str, config: &HttpConfig) -> Result<Self> {
        drop(config.poster().map_err(|reason| RewardError::reward(name, reason))?);
        let digest = Sha256::digest(config.url.as_bytes());
        let version = hex(&digest[..6]);
        let side = Side::Http(Arc::new(config.clone()));
        let spec = RewardSpec {
            range: config.range.into(),
            role: config.role,
            ..RewardSpec::rule(name, &format!("http/{VERSION} {version}"))
        };
        Ok(Self::new(spec, side))
    }

    fn new(spec: RewardSpec, side: Side) -> Self {
        Self { spec, queue: Arc::default(), threads: OnceLock::new(), side }
    }

    /// A value outside the range is a failure that names the option.
    fn within(&self, score: PartScore) -> PartScore {
        let (least, greatest) = self.spec.range;
        match score.outcome.value() {
            Some(value) if !(least..=greatest).contains(&value) => PartScore::failed(
                FailureKind::Invalid,
                format!(
                    "`{}` gave {value}, outside its range {least}..{greatest}; say what it may give: `range = [least, \
                     greatest]` of the reward, or `--option range=[least,greatest]` beside --reward",
                    self.spec.name
                ),
            ),
            _ => score,
        }
    }

    /// Starts the threads that talk to the workers.
    fn start(&self) -> std::result::Result<(), String> {
        let no_thread = |error: std::io::Error| format!("no thread for a reward: {error}");
        match &self.side {
            Side::Process { config, pool, folder: kept } => {
                let folder = config.pictures.then(PictureFolder::new).transpose();
                let folder = folder.map_err(|error| format!("no folder for pictures: {error}"))?.map(Arc::new);
                if let Some(folder) = &folder {
                    drop(kept.set(Arc::clone(folder)));
                }
                for _ in 0..config.workers {
                    let (folder, mut place) = (folder.clone(), Place::new(Arc::clone(pool)));
                    let score = move |asked| with_pictures(folder.as_deref(), asked, &mut place);
                    self.queue.work(config.batch_size, score).map_err(no_thread)?;
                }
            }
            Side::Http(config) => {
                for _ in 0..config.workers {
                    let mut sender = Sender::new(Arc::clone(config))?;
                    let score = move |asked: Vec<Queued>| {
                        sender.score(&asked.into_iter().map(|asked| asked.item).collect::<Vec<_>>())
                    };
                    self.queue.work(config.batch_size, score).map_err(no_thread)?;
                }
            }
        }
        Ok(())
    }
}

impl Reward for Plugin {
    fn spec(&self) -> &RewardSpec {
        &self.spec
    }

    fn prepare(&self) -> std::result::Result<Option<String>, String> {
        let Side::Process { pool, .. } = &self.side else { return Ok(None) };
        let called = pool.prepare()?;
        Ok(called.map(|called| format!("rewards.{}: the function is called {called}", self.spec.name)))
    }

    fn score<'a>(&'a self, items: &'a [Item<'a>]) -> Scoring<'a> {
        Box::pin(async move {
            if let Err(reason) = self.threads.get_or_init(|| self.start()) {
                return vec![PartScore::failed(FailureKind::Unavailable, reason.clone()); items.len()];
            }
            let waiting: Vec<_> = items
                .iter()
                .map(|item| {
                    let pictures = if self.spec.needs_pictures { item.query.images.clone() } else { Vec::new() };
                    self.queue.push(Queued { item: protocol::describe(item), pictures })
                })
                .collect();
            let mut scores = Vec::with_capacity(waiting.len());
            for score in waiting {
                let ended = |_| PartScore::failed(FailureKind::Unavailable, "the plugin was ended");
                scores.push(self.within(score.await.unwrap_or_else(ended)));
            }
            scores
        })
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.queue.close();
        if let Side::Process { pool, folder, .. } = &self.side {
            pool.close();
            if let Some(folder) = folder.get() {
                folder.remove();
            }
        }
    }
}

impl Kind for ProcessConfig {
    fn build(&self, name: &str, _: &Endpoints) -> Result<Arc<dyn Reward>> {
        Ok(Arc::new(Plugin::process(name, self)?))
    }

    fn example() -> Example {
        Example::unscored(85, "85")
    }
}

impl Kind for HttpConfig {
    fn build(&self, name: &str, _: &Endpoints) -> Result<Arc<dyn Reward>> {
        Ok(Arc::new(Plugin::http(name, self)?))
    }

    fn example() -> Example {
        Example::unscored(85, "85")
    }
}

/// Scores items after their pictures were written; an item whose pictures cannot be written fails alone.
fn with_pictures(folder: Option<&PictureFolder>, asked: Vec<Queued>, place: &mut Place) -> Vec<PartScore> {
    let Some(folder) = folder else {
        return place.score(&asked.into_iter().map(|asked| asked.item).collect::<Vec<_>>());
    };
    let mut items = Vec::with_capacity(asked.len());
    let mut faults = Vec::with_capacity(asked.len());
    for Queued { mut item, pictures } in asked {
        let paths: std::io::Result<Vec<String>> = pictures.iter().map(|picture| folder.path(picture)).collect();
        faults.push(match paths {
            Ok(paths) => {
                item["images"] = paths.into();
                items.push(item);
                None
            }
            Err(error) => Some(format!("its pictures cannot be written for the plugin: {error}")),
        });
    }
    let mut scores = place.score(&items).into_iter();
    let none = || PartScore::failed(FailureKind::Protocol, "no score");
    let scored = |fault: Option<String>| match fault {
        Some(reason) => PartScore::failed(FailureKind::Engine, reason),
        None => scores.next().unwrap_or_else(none),
    };
    faults.into_iter().map(scored).collect()
}

fn check_secs(key: &str, secs: f64) -> std::result::Result<(), String> {
    if secs > 0.0 && secs <= 86_400.0 {
        return Ok(());
    }
    Err(format!("{key} = {secs}: it must be above 0 and at most a day"))
}

fn check_counts(workers: usize, batch_size: usize) -> std::result::Result<(), String> {
    if !(1..=256).contains(&workers) {
        return Err(format!("workers = {workers}: it must be in 1..256"));
    }
    if !(1..=65_536).contains(&batch_size) {
        return Err(format!("batch_size = {batch_size}: it must be in 1..65536"));
    }
    Ok(())
}

fn check_range([least, greatest]: [f64; 2]) -> std::result::Result<(), String> {
    if least.is_finite() && greatest.is_finite() && least < greatest {
        return Ok(());
    }
    Err(format!("range = [{least}, {greatest}]: it must be [least, greatest], both finite"))
}

/// What a reply to request `id` gives for `count` items: for programs that speak the protocol to try their replies on.
///
/// # Errors
/// Why the reply as a whole is worth nothing.
pub fn check_reply(reply: &str, id: u64, count: usize) -> std::result::Result<Vec<PartScore>, String> {
    protocol::read_reply(reply, id, count).map_err(|fault| match fault {
        ReplyFault::Refused(reason) | ReplyFault::Broken(reason) => reason,
    })
}

#[cfg(test)]
mod tests;
