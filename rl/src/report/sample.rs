//! The sample of answers that a report carries, to be filtered in the page: groups of some steps, and what changed between
//! evaluations. Chosen by rule; `sapo view` opens all.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::model::Sample;
use crate::browse::{Change, Group, Groups, MARKS, Recorded, changes, evaluations, files, queries, tokenizer};

/// Groups of a report at most.
const GROUPS: usize = 200;
/// What their texts and numbers may weigh together as JSON, in bytes.
const BYTES: usize = 2_200_000;
/// Steps that groups are taken from.
const STEPS: usize = 10;
/// Groups of a step at most.
const OF_STEP: usize = 12;
/// Groups of all evaluations together, about.
const OF_EVALUATIONS: usize = 80;
/// Answers of a group, characters of an answer and of a word on it, and tokens of an answer that are carried at most.
const ANSWERS: usize = 16;
const TEXT_CHARS: usize = 1500;
const EVIDENCE_CHARS: usize = 300;
const TOKENS: usize = 400;

/// Where groups come from: a step, or evaluations.
struct Origin {
    /// What the page calls all that are alike.
    source: String,
    /// What is said of each group.
    place: Option<String>,
    /// What both sides are called.
    sides: Option<[String; 2]>,
    groups: Vec<Group>,
}

/// The sample of a run or of an evaluation; beside the last evaluations of another folder, if one is named.
pub(super) fn sample(folder: &Path, other: Option<&Path>) -> Sample {
    let (recorded, steps) = of_steps(folder);
    let evaluated = of_evaluations(folder, other);
    let mut said = Vec::new();
    if !steps.is_empty() {
        said.push(format!(
            "up to {OF_STEP} groups of each of {} of the {recorded} recorded steps of training, evenly spaced",
            steps.len()
        ));
    }
    if !evaluated.is_empty() {
        said.push(
            "of each set of held-out queries those that changed most between two evaluations, and others".to_owned(),
        );
    }
    let mut sample = taken(folder, steps.into_iter().chain(evaluated).collect());
    if !sample.groups.is_empty() {
        let (groups, answers) = (sample.groups.len(), sample.groups.iter().map(answers).sum::<usize>());
        let said = said.join("; ");
        sample.said = format!(
            "A sample of {groups} groups with {answers} answers, chosen by rule: {said}. What the filters name comes first. \
             `sapo view` opens all that are on disk."
        );
    }
    sample
}

fn answers(group: &Value) -> usize {
    [&group["answers"], &group["before"]].into_iter().filter_map(Value::as_array).map(Vec::len).sum()
}

/// How many steps are recorded, and groups of some of them.
fn of_steps(folder: &Path) -> (usize, Vec<Origin>) {
    let mut steps: Vec<Recorded> = files(folder).into_iter().filter(|one| one.set.is_none()).collect();
    steps.reverse();
    let count = steps.len();
    let places: BTreeSet<usize> = match count {
        0 => BTreeSet::new(),
        _ => (0..STEPS.min(count)).map(|at| at * (count - 1) / (STEPS.min(count) - 1).max(1)).collect(),
    };
    let origin = |step: &Recorded| {
        let stem = Path::new(&step.file).file_stem()?.to_str()?;
        let phase = stem.rsplit_once('-').map_or(stem, |(phase, _)| phase);
        let groups = telling(Groups::read(&folder.join(&step.file))?.0, OF_STEP);
        let place = format!("{phase}, step {}", step.step.unwrap_or(0));
        Some(Origin { source: "training".to_owned(), place: Some(place), sides: None, groups })
    };
    (count, places.into_iter().filter_map(|place| origin(&steps[place])).collect())
}

fn of_evaluations(folder: &Path, other: Option<&Path>) -> Vec<Origin> {
    let others: Vec<(String, PathBuf)> = other.map(|other| (name(other), other.to_owned())).into_iter().collect();
    let changes = changes(folder, &others);
    // Sets that were evaluated once have nothing that they could be beside.
    let alone = evaluations(folder)
        .into_iter()
        .filter(|one| !changes.iter().any(|change| Some(&change.set) == one.set.as_ref()));
    let alone: Vec<Recorded> = alone.collect();
    let most = (OF_EVALUATIONS / (changes.len() + alone.len()).max(1)).max(8);
    let changed = |Change { set, before, after, .. }: Change| {
        let groups = Groups::between(&before.0, &after.0)?.0;
        let (mut chosen, rest): (Vec<Group>, Vec<Group>) =
            groups.into_iter().partition(|group| group.marks().contains(&MARKS[0]));
        // Three of four are those that changed most; what did not is there to be compared.
        chosen.truncate(most * 3 / 4);
        chosen.extend(telling(rest, most - chosen.len()));
        let source = format!("{set}: {} \u{2192} {}", before.1, after.1);
        Some(Origin { source, place: None, sides: Some([before.1, after.1]), groups: chosen })
    };
    let single = |one: &Recorded| {
        let groups = telling(Groups::read(&folder.join(&one.file))?.0, most);
        Some(Origin { source: one.set.clone()?, place: None, sides: None, groups })
    };
    let found: Vec<Origin> = changes.into_iter().filter_map(changed).collect();
    found.into_iter().chain(alone.iter().filter_map(single)).filter(|origin| !origin.groups.is_empty()).collect()
}

fn name(folder: &Path) -> String {
    folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// So many groups, those first that have the most to say: one of every kind that a filter names, the worst, the best, then others
/// in their order.
fn telling(groups: Vec<Group>, most: usize) -> Vec<Group> {
    let marks: Vec<Vec<&str>> = groups.iter().map(Group::marks).collect();
    let mut order: Vec<usize> = Vec::new();
    for mark in MARKS.iter().rev() {
        order.extend(marks.iter().position(|marks| marks.contains(mark)));
    }
    let reward = |at: &usize| groups[*at].reward().unwrap_or(0.0);
    let ends = || (0..groups.len()).filter(|at| groups[*at].reward().is_some());
    order.extend(ends().min_by(|one, other| reward(one).total_cmp(&reward(other))));
    order.extend(ends().max_by(|one, other| reward(one).total_cmp(&reward(other))));
    order.extend(0..groups.len());
    let mut groups: Vec<Option<Group>> = groups.into_iter().map(Some).collect();
    order.into_iter().filter_map(|at| groups[at].take()).take(most).collect()
}

/// Groups of all origins by turns, as long as there is room for them.
fn taken(folder: &Path, mut origins: Vec<Origin>) -> Sample {
    let ids: BTreeSet<String> =
        origins.iter().flat_map(|origin| &origin.groups).map(|group| group.id.clone()).collect();
    let queries = queries(folder, &ids.iter().map(String::as_str).collect());
    let tokenizer = tokenizer(folder);
    let mut sample = Sample::default();
    let mut bytes = 0;
    let deepest = origins.iter().map(|origin| origin.groups.len()).max().unwrap_or(0);
    for rank in 0..deepest {
        for origin in &mut origins {
            let Some(group) = origin.groups.get(rank) else { continue };
            let mut shown = group.shown(queries.get(&group.id), tokenizer.as_ref());
            shorten(&mut shown);
            shown["source"] = json!(origin.source);
            shown["place"] = json!(origin.place);
            shown["sides"] = json!(origin.sides);
            let size = shown.to_string().len();
            if sample.groups.len() < GROUPS && bytes + size <= BYTES {
                bytes += size;
                sample.groups.push(shown);
            }
        }
    }
    for origin in origins {
        if !sample.sources.contains(&origin.source)
            && sample.groups.iter().any(|group| group["source"] == origin.source.as_str())
        {
            sample.sources.push(origin.source);
        }
    }
    sample
}

/// Takes away what makes a group heavy: answers beyond so many, the ends of long texts, the tokens of long answers.
fn shorten(group: &mut Value) {
    for side in ["answers", "before"] {
        let Some(answers) = group[side].as_array_mut() else { continue };
        answers.truncate(ANSWERS);
        for answer in answers {
            let tokens = answer["tokens"].as_array().map_or(0, Vec::len);
            let cut = shortened(&mut answer["text"], TEXT_CHARS) || tokens > TOKENS;
            for part in answer["score"]["parts"].as_object_mut().into_iter().flat_map(|parts| parts.values_mut()) {
                for key in ["evidence", "extracted"] {
                    part.get_mut(key).map(|text| shortened(text, EVIDENCE_CHARS));
                }
            }
            if cut
                && let Some(answer) = answer.as_object_mut()
                && answer.remove("tokens").is_some()
            {
                answer.insert("tokens_left_out".to_owned(), Value::Bool(true));
            }
        }
    }
}

fn shortened(text: &mut Value, most: usize) -> bool {
    let Value::String(text) = text else { return false };
    let Some((end, _)) = text.char_indices().nth(most) else { return false };
    let more = text.len() - end;
    text.truncate(end);
    text.push_str(&format!(" [... {more} more bytes]"));
    true
}
