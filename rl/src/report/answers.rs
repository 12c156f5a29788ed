//! Answers in records: how they are read, and which held-out queries a report shows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::{AnswerView, PartView, SampledQuery, TaskSamples};
use crate::stats::QueryOutcomes;

/// Characters of a text that the page shows at most.
const TEXT_CHARS: usize = 1500;
/// Answers of a query and stage that the page shows at most.
const ANSWERS: usize = 9;

/// Why queries are chosen: its name, how many, and whether the rates before and after fit.
type Kind = (&'static str, usize, fn(f64, f64) -> bool);

/// Every answer of one evaluation, by task and query.
pub(super) type Answers = BTreeMap<String, BTreeMap<String, Vec<AnswerView>>>;

/// The held-out queries that tell most, per task: those that changed, both ways, and those that did not.
pub(super) fn choose(before: Option<(&str, &Answers)>, after: (&str, &Answers)) -> Vec<TaskSamples> {
    let (after_name, after) = after;
    let mut tasks: Vec<&String> = after.keys().collect();
    tasks.sort_by_key(|task| (place_of(task), (*task).clone()));
    let choose_task = |task: &String| {
        let earlier = before.and_then(|(_, answers)| answers.get(task));
        TaskSamples {
            task: task.clone(),
            before: before.map(|(name, _)| name.to_owned()).unwrap_or_default(),
            after: after_name.to_owned(),
            queries: choose_queries(earlier, &after[task]),
        }
    };
    tasks.into_iter().map(choose_task).collect()
}

fn choose_queries(
    before: Option<&BTreeMap<String, Vec<AnswerView>>>,
    after: &BTreeMap<String, Vec<AnswerView>>,
) -> Vec<SampledQuery> {
    let rated = after.iter().filter_map(|(id, now)| {
        let now = rate(now)?;
        let then = before.map_or(Some(now), |before| before.get(id).and_then(|then| rate(then)))?;
        Some((id, then, now))
    });
    let mut rated: Vec<(&String, f64, f64)> = rated.collect();
    // The largest change first; among equals one whose greedy answer changed too, then the order of the ids.
    let greedy = |answers: &Vec<AnswerView>| answers.first().filter(|one| one.greedy).and_then(|one| one.passed);
    let change = |(id, then, now): &(&String, f64, f64)| {
        let earlier = before.and_then(|before| before.get(*id)).and_then(greedy);
        let of_greedy = earlier.zip(greedy(&after[*id])).map_or(0, |(then, now)| i8::from(now) - i8::from(then));
        (now - then) + 1e-6 * f64::from(of_greedy)
    };
    rated.sort_by(|left, right| change(right).total_cmp(&change(left)));
    let kinds: [Kind; 4] = if before.is_some() {
        [
            ("gained", 2, |then, now| now > then),
            ("lost", 1, |then, now| now < then),
            ("still wrong", 1, |then, now| then <= now && now == 0.0),
            ("right before and after", 1, |then, now| then == 1.0 && now == 1.0),
        ]
    } else {
        [
            ("right", 2, |_, now| now == 1.0),
            ("sometimes right", 1, |_, now| now > 0.0 && now < 1.0),
            ("wrong", 2, |_, now| now == 0.0),
            ("", 0, |_, _| false),
        ]
    };
    let mut chosen = Vec::new();
    for (kind, count, fits) in kinds {
        let mut fitting: Vec<_> = rated.iter().filter(|(_, then, now)| fits(*then, *now)).collect();
        match kind {
            "lost" => fitting.reverse(),
            "gained" => {}
            // What did not change at temperature 1 should not have changed greedily either.
            _ => fitting.sort_by(|left, right| change(left).abs().total_cmp(&change(right).abs())),
        }
        for (id, _, _) in fitting.into_iter().take(count) {
            let shown = |answers: &Vec<AnswerView>| answers.iter().take(ANSWERS).cloned().collect::<Vec<_>>();
            chosen.push(SampledQuery {
                query_id: (*id).clone(),
                kind: kind.to_owned(),
                before: before.and_then(|before| before.get(*id)).map(shown).unwrap_or_default(),
                after: shown(&after[*id]),
                ..SampledQuery::default()
            });
        }
    }
    chosen
}

/// Share of the sampled answers that pass; of the greedy one where nothing was sampled.
fn rate(answers: &[AnswerView]) -> Option<f64> {
    let share = |greedy: bool| {
        let verdicts: Vec<bool> =
            answers.iter().filter(|answer| answer.greedy == greedy).filter_map(|answer| answer.passed).collect();
        let passed = verdicts.iter().filter(|passed| **passed).count();
        (!verdicts.is_empty()).then(|| passed as f64 / verdicts.len() as f64)
    };
    share(false).or_else(|| share(true))
}

/// The order of tasks in tables: reasoning tasks as they are taught, `all` first, others last.
pub(super) fn place_of(task: &str) -> usize {
    let order = ["all", "arith", "count", "clock", "digits", "locate", "logic", "describe", "provoke", "judge"];
    order.iter().position(|known| *known == task).unwrap_or(order.len())
}

/// The answers as outcomes, sampled or greedy ones.
pub(super) fn outcomes(answers: &Answers, greedy: bool) -> Vec<QueryOutcomes> {
    let queries =
        answers.iter().flat_map(|(task, queries)| queries.iter().map(move |(id, answers)| (task, id, answers)));
    queries
        .map(|(task, query_id, answers)| QueryOutcomes {
            query_id: query_id.clone(),
            task: task.clone(),
            passes: answers.iter().filter(|answer| answer.greedy == greedy).map(|answer| answer.passed).collect(),
        })
        .collect()
}

/// Adds a line of `samples.jsonl`; greedy answers come first.
pub(super) fn add(answers: &mut Answers, line: &Value) {
    let (Some(task), Some(id)) = (line["task"].as_str(), line["query_id"].as_str()) else { return };
    let answer = AnswerView {
        greedy: line["greedy"].as_bool().unwrap_or(false),
        ..answer_view(line["text"].as_str().unwrap_or_default(), line)
    };
    let list = answers.entry(task.to_owned()).or_default().entry(id.to_owned()).or_default();
    if answer.greedy { list.insert(0, answer) } else { list.push(answer) }
}

/// The answer of a line of `rollouts/`.
pub(super) fn of_rollout(line: &Value) -> AnswerView {
    let turns = line["turns"].as_array().into_iter().flatten();
    let texts: Vec<&str> = turns.filter_map(|turn| turn["text"].as_str()).collect();
    answer_view(&texts.join("\n"), line)
}

fn answer_view(text: &str, line: &Value) -> AnswerView {
    let (working, answer) = match text.rsplit_once("</think>") {
        Some((working, answer)) => (working, Some(answer)),
        None => (text, None),
    };
    let score = &line["score"];
    AnswerView {
        greedy: false,
        working: shortened(working.strip_prefix("<think>").unwrap_or(working)),
        answer: answer.map(shortened),
        stop: line["stop"].as_str().unwrap_or_default().to_owned(),
        passed: score["passed"].as_bool(),
        total: score["total"].as_f64(),
        advantage: line["advantage"].as_f64(),
        parts: parts(&score["parts"]),
    }
}

/// Parts of a score, written as a list with names or as a map by name.
fn parts(parts: &Value) -> Vec<PartView> {
    match parts {
        Value::Array(list) => list.iter().map(|part| part_view(part["name"].as_str().unwrap_or("?"), part)).collect(),
        Value::Object(map) => map.iter().map(|(name, part)| part_view(name, part)).collect(),
        _ => Vec::new(),
    }
}

fn part_view(name: &str, part: &Value) -> PartView {
    let said = |key: &str| part[key].as_str().filter(|text| !text.is_empty()).map(shortened);
    let failed = match &part["failed"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        fault => Some([&fault["kind"], &fault["message"]].map(|part| part.as_str().unwrap_or_default()).join(": ")),
    };
    let note = said("evidence")
        .or_else(|| part["skip"].as_str().map(|why| format!("skipped: {why}")))
        .or_else(|| failed.map(|why| format!("failed: {}", shortened(&why))))
        .or_else(|| said("extracted").map(|text| format!("found: {text}")));
    PartView {
        name: name.to_owned(),
        value: part["value"].as_f64(),
        weight: part["weight"].as_f64(),
        note: note.unwrap_or_default(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{} [... {} more bytes]", &text[..end], text.len() - end),
    }
}

impl AnswerView {
    /// Whether a penalty of this name was taken off; `None` when the rubric has no such penalty.
    pub(super) fn strays(&self, penalty: &str) -> Option<bool> {
        let part = self.parts.iter().find(|part| part.name == penalty)?;
        let is_penalty = part.weight.is_some_and(|weight| weight < 0.0);
        part.value.filter(|_| is_penalty).map(|value| value > 0.0)
    }
}
