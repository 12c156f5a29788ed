//! Answers in records: how they are read, and which held-out queries a report shows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::model::{AnswerView, PartView, SampledQuery, Stage, TaskSamples, TurnView};
use crate::stats::QueryOutcomes;

/// Characters of a text that the page shows at most.
const TEXT_CHARS: usize = 1500;
/// Answers of a query and stage that the page shows at most.
const ANSWERS: usize = 9;
/// Queries of a set that the page shows at most, shared out among its tasks; each task has at least one.
const QUERIES: usize = 60;
/// Queries of a task that the page shows at most.
const QUERIES_OF_TASK: usize = 5;

/// Why queries are chosen: its name, how many, and whether the rates before and after fit.
type Kind = (&'static str, usize, fn(f64, f64) -> bool);

/// What is chosen where there is an evaluation to compare with, the most telling first.
const COMPARED: [Kind; 4] = [
    ("gained", 2, |then, now| now > then),
    ("lost", 1, |then, now| now < then),
    ("still wrong", 1, |then, now| then <= now && now == 0.0),
    ("right before and after", 1, |then, now| then == 1.0 && now == 1.0),
];
/// What is chosen of a single evaluation.
const ALONE: [Kind; 3] = [
    ("right", 2, |_, now| now == 1.0),
    ("sometimes right", 1, |_, now| now > 0.0 && now < 1.0),
    ("wrong", 2, |_, now| now == 0.0),
];

/// Every answer to the queries of one task, by id.
pub(super) type Queries = BTreeMap<String, Vec<AnswerView>>;
/// Every answer of one evaluation, by task.
pub(super) type Answers = BTreeMap<String, Queries>;

/// The held-out queries that tell most, per task: those that changed, both ways, and those that did not. Tasks stand in
/// the given order, others behind them.
pub(super) fn choose(
    before: Option<(&str, &Answers)>,
    (after_name, after): (&str, &Answers),
    order: &[&str],
) -> Vec<TaskSamples> {
    let place = |task: &str| order.iter().position(|known| *known == task).unwrap_or(order.len());
    let mut tasks: Vec<&String> = after.keys().collect();
    tasks.sort_by_key(|task| place(task));
    let most = (QUERIES / tasks.len().max(1)).clamp(1, QUERIES_OF_TASK);
    let choose_task = |task: &String| {
        let earlier = before.and_then(|(_, answers)| answers.get(task));
        let mut queries = choose_queries(earlier, &after[task]);
        queries.truncate(most);
        TaskSamples {
            task: task.clone(),
            before: before.map(|(name, _)| name.to_owned()).unwrap_or_default(),
            after: after_name.to_owned(),
            queries,
        }
    };
    tasks.into_iter().map(choose_task).collect()
}

fn choose_queries(before: Option<&Queries>, after: &Queries) -> Vec<SampledQuery> {
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
    let kinds = if before.is_some() { &COMPARED[..] } else { &ALONE[..] };
    let mut chosen = Vec::new();
    for (kind, count, fits) in kinds {
        let mut fitting: Vec<_> = rated.iter().filter(|(_, then, now)| fits(*then, *now)).collect();
        match *kind {
            "lost" => fitting.reverse(),
            "gained" => {}
            // What did not change at temperature 1 should not have changed greedily either.
            _ => fitting.sort_by(|left, right| change(left).abs().total_cmp(&change(right).abs())),
        }
        for (id, _, _) in fitting.into_iter().take(*count) {
            let shown = |answers: &Vec<AnswerView>| answers.iter().take(ANSWERS).cloned().collect::<Vec<_>>();
            chosen.push(SampledQuery {
                query_id: (*id).clone(),
                kind: (*kind).to_owned(),
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

/// The answers of a task, or of those that are part of `all`.
pub(super) fn of_tasks<'a>(answers: &'a Answers, task: &str, stage: &Stage) -> Vec<(&'a String, &'a Queries)> {
    let fits = |name: &str| name == task || (task == "all" && stage.averages(name));
    answers.iter().filter(|(name, _)| fits(name)).collect()
}

/// What is so of each answer, query by query; of the sampled or of the greedy answers.
pub(super) fn outcomes(
    tasks: &[(&String, &Queries)],
    greedy: bool,
    is_so: fn(&AnswerView) -> Option<bool>,
) -> Vec<QueryOutcomes> {
    let queries = tasks.iter().flat_map(|(task, queries)| queries.iter().map(move |(id, answers)| (task, id, answers)));
    queries
        .map(|(task, query_id, answers)| QueryOutcomes {
            query_id: query_id.clone(),
            task: (*task).clone(),
            passes: answers.iter().filter(|answer| answer.greedy == greedy).map(is_so).collect(),
        })
        .collect()
}

/// Whether an answer passes; `None` where its score failed.
pub(super) fn passed(answer: &AnswerView) -> Option<bool> {
    answer.passed
}

/// Whether an answer has reasoning before it.
pub(super) fn reasoned(answer: &AnswerView) -> Option<bool> {
    Some(answer.reasons())
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

/// The answer of a line of `rollouts/`: the last turn of the policy, behind the turns before it. Lines of version 1 have
/// one turn; since version 2 there may be several, and each says whether it was sampled.
pub(super) fn of_rollout(line: &Value) -> AnswerView {
    let turns: Vec<&Value> = line["turns"].as_array().into_iter().flatten().collect();
    let of_the_policy = |turn: &&Value| turn["sampled"].as_bool().unwrap_or(turn["role"] == "assistant");
    let last = turns.iter().rposition(of_the_policy).unwrap_or(0);
    let text = |turn: &Value| turn["text"].as_str().unwrap_or_default().to_owned();
    let view = |turn: &&Value| TurnView {
        role: turn["role"].as_str().unwrap_or("?").to_owned(),
        text: shortened(&text(turn)),
    };
    AnswerView {
        turns: turns.iter().take(last).map(view).collect(),
        ..answer_view(&turns.get(last).map(|turn| text(turn)).unwrap_or_default(), line)
    }
}

fn answer_view(text: &str, line: &Value) -> AnswerView {
    // Lines that do not say whether the prompt opened the thinking are older than models without it.
    let open = line["thinking_open"].as_bool().unwrap_or(true) || text.contains("<think>");
    let (reasoning, answer) = match text.rsplit_once("</think>") {
        Some((reasoning, answer)) => (reasoning, Some(answer)),
        None if open => (text, None),
        None => ("", Some(text)),
    };
    let score = &line["score"];
    AnswerView {
        greedy: false,
        turns: Vec::new(),
        reasoning: shortened(reasoning.strip_prefix("<think>").unwrap_or(reasoning)),
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
    /// Whether there is reasoning before the answer.
    pub(super) fn reasons(&self) -> bool {
        !self.reasoning.trim().is_empty()
    }

    /// Whether a penalty of this name was taken off; `None` when the rubric has no such penalty.
    pub(super) fn strays(&self, penalty: &str) -> Option<bool> {
        let part = self.parts.iter().find(|part| part.name == penalty)?;
        let is_penalty = part.weight.is_some_and(|weight| weight < 0.0);
        part.value.filter(|_| is_penalty).map(|value| value > 0.0)
    }
}
