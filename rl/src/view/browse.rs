//! Every answer that a run has on disk, by groups: which files there are, and a page of one of them, or of two evaluations side by
//! side, filtered and sorted.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::run::Run;
use crate::browse::{Change, Group, Groups, changes, files, queries, tokenizer};

/// Groups on a page.
const PAGE: usize = 20;
/// The filter that needs two evaluations.
const CHANGED: &str = "changed";

/// Which groups are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// A file, or a name of two evaluations, of [`listed`].
    pub(super) file: String,
    /// `all`, or what must be so of a group; see [`crate::browse::MARKS`].
    pub(super) filter: String,
    /// `file`, `best`, `worst` or `mixed`.
    pub(super) sort: String,
    /// A task; all where it is empty.
    pub(super) task: String,
    /// Words that the query's id or an answer holds; all where it is empty.
    pub(super) words: String,
    /// What tokens are coloured by; they are left out where it is empty.
    pub(super) colour: String,
    /// The page, from 0.
    pub(super) page: usize,
}

/// The files of rollouts and of samples, the newest first, then what stands side by side.
pub(super) fn listed(runs: &[Run], number: usize) -> Option<Value> {
    let run = runs.get(number)?;
    let file = |recorded: crate::browse::Recorded| {
        let kind = if recorded.set.is_some() { "evaluation" } else { "training" };
        json!({"file": recorded.file, "kind": kind, "step": recorded.step})
    };
    let change = |change: Change| {
        let label = format!("{}: {} \u{2192} {}", change.set, change.before.1, change.after.1);
        json!({"file": change.name, "kind": "change", "label": label})
    };
    let found = files(&run.folder).into_iter().map(file);
    let all: Vec<Value> = found.chain(changes_of(runs, number).into_iter().map(change)).collect();
    Some(json!({"name": run.name, "files": all}))
}

fn changes_of(runs: &[Run], number: usize) -> Vec<Change> {
    let others = runs.iter().enumerate().filter(|(at, _)| *at != number);
    let others: Vec<(String, PathBuf)> = others.map(|(_, run)| (run.name.clone(), run.folder.clone())).collect();
    changes(&runs[number].folder, &others)
}

/// What a page is made of: its name among the files, the groups, and what both sides are called.
struct Opened {
    name: String,
    groups: Groups,
    sides: Option<[String; 2]>,
}

/// Opens what is asked for. "Most changed" needs two evaluations: those of the set that is asked for, or else of any.
fn opened(runs: &[Run], number: usize, asked: &Asked) -> Option<Opened> {
    let recorded = files(&runs[number].folder).into_iter().find(|recorded| recorded.file == asked.file);
    let changes = changes_of(runs, number);
    let set = recorded.as_ref().and_then(|recorded| recorded.set.clone());
    let named = changes.iter().find(|change| change.name == asked.file);
    let of_set = || changes.iter().find(|change| Some(&change.set) == set.as_ref()).or(changes.first());
    let wanted = named.or_else(|| of_set().filter(|_| asked.filter == CHANGED));
    if let Some(change) = wanted {
        let groups = Groups::between(&change.before.0, &change.after.0)?;
        let sides = [change.before.1.clone(), change.after.1.clone()];
        return Some(Opened { name: change.name.clone(), groups, sides: Some(sides) });
    }
    let name = recorded?.file;
    Some(Opened { groups: Groups::read(&runs[number].folder.join(&name))?, name, sides: None })
}

/// A page of the groups of a file; `None` when the run has no such file.
pub(super) fn groups(runs: &[Run], number: usize, asked: &Asked) -> Option<Value> {
    let run = runs.get(number)?;
    let Opened { name, groups: Groups(mut chosen), sides } = opened(runs, number, asked)?;
    let tasks: BTreeSet<String> = chosen.iter().map(|group| group.task().to_owned()).collect();
    let all = chosen.len();
    chosen.retain(|group| fits(asked, group));
    match asked.sort.as_str() {
        "best" => by(&mut chosen, |group| group.reward().map(|reward| -reward)),
        "worst" => by(&mut chosen, Group::reward),
        "mixed" => by(&mut chosen, |group| group.rate().map(|rate| (rate - 0.5).abs())),
        _ => {}
    }
    let fitting = chosen.len();
    let shown: Vec<Group> = chosen.into_iter().skip(asked.page.saturating_mul(PAGE)).take(PAGE).collect();
    let ids: BTreeSet<&str> = shown.iter().map(|group| group.id.as_str()).collect();
    let queries = queries(&run.folder, &ids);
    let tokenizer = tokenizer(&run.folder).filter(|_| !asked.colour.is_empty());
    let view = |group: &Group| group.shown(queries.get(&group.id), tokenizer.as_ref());
    let note = match &sides {
        None if asked.filter == CHANGED => Some("There are no two evaluations of the same queries to compare."),
        Some(_) if all == 0 => Some("No query is in both evaluations."),
        Some(_) => Some("Both evaluations side by side, the largest change first."),
        None => None,
    };
    Some(json!({"groups": shown.iter().map(view).collect::<Vec<_>>(), "fitting": fitting, "all": all,
        "page": asked.page, "pages": fitting.div_ceil(PAGE), "tasks": tasks, "file": name, "sides": sides, "note": note}))
}

/// The least first; those without a number come last.
fn by(groups: &mut [Group], key: impl Fn(&Group) -> Option<f64>) {
    groups.sort_by(|one, other| {
        let [one, other] = [one, other].map(|group| key(group).unwrap_or(f64::INFINITY));
        one.total_cmp(&other)
    });
}

fn fits(asked: &Asked, group: &Group) -> bool {
    let unfiltered = asked.filter.is_empty() || asked.filter == "all";
    let of_task = asked.task.is_empty() || group.task() == asked.task;
    let words = asked.words.to_lowercase();
    of_task
        && (unfiltered || group.marks().contains(&asked.filter.as_str()))
        && (words.is_empty() || group.holds(&words))
}
