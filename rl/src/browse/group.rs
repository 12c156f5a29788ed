//! The answers to one query, of one file or of two evaluations: what is so of them, and how a page shows them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use sapo_policies::processor::Tokenizer;
use sapo_rewards::judge::RULE;
use serde_json::{Value, json};

use super::tokens::tokens;

/// What may be so of a group, as filters name it.
pub(crate) const MARKS: [&str; 8] =
    ["changed", "mixed", "right", "wrong", "truncated", "unscored", "no_answer", "disagree"];
/// From where on a part of a score says right.
const RIGHT: f64 = 0.5;

/// The answers to a query, as lines of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// The query.
    pub(crate) id: String,
    /// The answers.
    pub(crate) lines: Vec<Value>,
    /// Those of an earlier evaluation, where two stand side by side.
    pub(crate) before: Option<Vec<Value>>,
}

/// Groups in the order in which their queries come first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups(pub(crate) Vec<Group>);

impl Groups {
    /// Reads a file; lines that are none, such as one that is being written, are passed over.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let (mut groups, mut places): (Vec<Group>, BTreeMap<String, usize>) = Default::default();
        for line in BufReader::new(File::open(path).ok()?).split(b'\n').map_while(Result::ok) {
            let Ok(line) = serde_json::from_slice::<Value>(&line) else { continue };
            let Some(id) = line["query_id"].as_str() else { continue };
            let place = *places.entry(id.to_owned()).or_insert(groups.len());
            if place == groups.len() {
                groups.push(Group { id: id.to_owned(), ..Group::default() });
            }
            groups[place].lines.push(line);
        }
        Some(Self(groups))
    }

    /// The queries that both evaluations asked, those first whose pass rate, or else reward, changed most.
    pub(crate) fn between(before: &Path, after: &Path) -> Option<Self> {
        let before = Self::read(before)?.0.into_iter().map(|group| (group.id, group.lines));
        let mut before: BTreeMap<String, Vec<Value>> = before.collect();
        let paired = Self::read(after)?.0.into_iter().filter_map(|group| {
            let before = before.remove(&group.id)?;
            Some(Group { before: Some(before), ..group })
        });
        let mut groups: Vec<Group> = paired.collect();
        let size = |group: &Group| group.change().map_or(-1.0, f64::abs);
        let reward = |group: &Group| group.reward_change().map_or(-1.0, f64::abs);
        groups.sort_by(|one, other| {
            size(other).total_cmp(&size(one)).then_with(|| reward(other).total_cmp(&reward(one)))
        });
        Some(Self(groups))
    }
}

impl Group {
    /// Everything of [`MARKS`] that is so.
    pub(crate) fn marks(&self) -> Vec<&'static str> {
        let (passed, failed) = verdicts(&self.lines);
        let any = |is_so: fn(&Value) -> bool| self.lines.iter().any(is_so);
        let changed = || self.change().is_some_and(|by| by != 0.0) || self.reward_change().is_some_and(|by| by != 0.0);
        let is_so = |mark: &str| match mark {
            "changed" => changed(),
            "mixed" => passed > 0 && failed > 0,
            "right" => passed > 0 && failed == 0,
            "wrong" => passed == 0 && failed > 0,
            "truncated" => any(|line| line["stop"] == "length"),
            "unscored" => any(|line| line["score"]["passed"].is_null()),
            "no_answer" => any(finds_none),
            _ => any(disagrees),
        };
        MARKS.into_iter().filter(|mark| is_so(mark)).collect()
    }

    /// The share of the sampled answers that pass; of the greedy one where none was sampled.
    pub(crate) fn rate(&self) -> Option<f64> {
        rate(&self.lines)
    }

    /// The mean reward.
    pub(crate) fn reward(&self) -> Option<f64> {
        reward(&self.lines)
    }

    /// By how much the pass rate changed; the reward where one of both has no verdict.
    pub(crate) fn change(&self) -> Option<f64> {
        let before = self.before.as_ref()?;
        rate(before).zip(self.rate()).map(|(then, now)| now - then).or_else(|| self.reward_change())
    }

    fn reward_change(&self) -> Option<f64> {
        Some(self.reward()? - reward(self.before.as_ref()?)?)
    }

    /// The task of its query.
    pub(crate) fn task(&self) -> &str {
        self.lines.first().and_then(|line| line["task"].as_str()).unwrap_or_default()
    }

    /// Whether the query's id or an answer holds these words, which are in lower case.
    pub(crate) fn holds(&self, words: &str) -> bool {
        let lines = self.lines.iter().chain(self.before.iter().flatten());
        self.id.to_lowercase().contains(words)
            || lines.into_iter().any(|line| said(line).to_lowercase().contains(words))
    }

    /// What a page shows of it; `query` is as the run recorded it, if it did.
    pub(crate) fn shown(&self, query: Option<&Value>, tokenizer: Option<&Tokenizer>) -> Value {
        let own =
            |line: &Value| json!({"question": line["question"], "truth": line["truth"], "images": line["images"]});
        let query = query.cloned().or_else(|| self.lines.first().map(own)).unwrap_or_default();
        let answers = |lines: &[Value]| lines.iter().map(|line| answer(line, tokenizer)).collect::<Vec<_>>();
        json!({"query_id": self.id, "task": self.task(), "query": query, "answers": answers(&self.lines),
            "before": self.before.as_deref().map(answers), "rate": self.rate(), "reward": self.reward(),
            "rate_before": self.before.as_deref().and_then(rate), "change": self.change(), "marks": self.marks()})
    }
}

fn verdicts(lines: &[Value]) -> (usize, usize) {
    let count = |wanted: bool| lines.iter().filter(|line| line["score"]["passed"] == wanted).count();
    (count(true), count(false))
}

fn rate(lines: &[Value]) -> Option<f64> {
    let of = |greedy: bool| {
        let passed: Vec<bool> = lines
            .iter()
            .filter(|line| (line["greedy"] == true) == greedy)
            .filter_map(|line| line["score"]["passed"].as_bool())
            .collect();
        let count = passed.iter().filter(|passed| **passed).count();
        (!passed.is_empty()).then(|| count as f64 / passed.len() as f64)
    };
    of(false).or_else(|| of(true))
}

fn reward(lines: &[Value]) -> Option<f64> {
    let totals: Vec<f64> = lines.iter().filter_map(|line| line["score"]["total"].as_f64()).collect();
    (!totals.is_empty()).then(|| totals.iter().sum::<f64>() / totals.len() as f64)
}

/// Whether what decides right or wrong found no answer in the text.
fn finds_none(line: &Value) -> bool {
    let part = &line["score"]["parts"]["correct"];
    part["value"].as_f64().is_some_and(|value| value < RIGHT) && part["extracted"].is_null()
}

/// Whether a judge and a rule say different things of an answer: two parts that tell right from wrong, or a judged part and the
/// exact rule beside it.
fn disagrees(line: &Value) -> bool {
    let parts = line["score"]["parts"].as_object().into_iter().flatten();
    let told = parts.filter(|(_, part)| part["weight"].as_f64().is_some_and(|weight| weight >= 0.0));
    let verdicts = told.flat_map(|(_, part)| [&part["value"], &part["metrics"][RULE]]);
    let verdicts: Vec<bool> = verdicts.filter_map(Value::as_f64).map(|value| value >= RIGHT).collect();
    verdicts.contains(&true) && verdicts.contains(&false)
}

/// The text of an answer, turn by turn.
fn said(line: &Value) -> String {
    let turns = line["turns"].as_array().into_iter().flatten();
    let of_turns = || turns.filter_map(|turn| turn["text"].as_str()).collect::<Vec<_>>().join("\n");
    line["text"].as_str().map_or_else(of_turns, str::to_owned)
}

/// What an answer shows: what was said, its verdict and parts, and its tokens with their numbers.
fn answer(line: &Value, tokenizer: Option<&Tokenizer>) -> Value {
    let mut shown = json!({"text": said(line)});
    if let Some(tokens) = tokenizer.and_then(|tokenizer| tokens(line, tokenizer)) {
        shown["tokens"] = Value::Array(tokens);
    }
    for key in ["sample", "greedy", "stop", "score", "advantage", "in_loss"] {
        if !line[key].is_null() {
            shown[key] = line[key].clone();
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, total: f64, passed: Option<bool>, parts: Value) -> Value {
        json!({"query_id": id, "task": "t", "text": "Said", "stop": "eos", "score": {"total": total, "passed": passed, "parts": parts}})
    }

    fn group(lines: Vec<Value>) -> Group {
        Group { id: "q".to_owned(), lines, before: None }
    }

    #[test]
    fn every_mark_is_made_by_what_it_names() {
        let right = line("q", 1.0, Some(true), json!({"correct": {"value": 1.0, "weight": 1.0, "extracted": "5"}}));
        let wrong = line("q", 0.0, Some(false), json!({"correct": {"value": 0.0, "weight": 1.0, "extracted": "6"}}));
        let empty = line("q", 0.0, Some(false), json!({"correct": {"value": 0.0, "weight": 1.0}}));
        let mut cut = wrong.clone();
        cut["stop"] = json!("length");
        let judged =
            json!({"correct": {"value": 0.0, "weight": 1.0, "extracted": "6"}, "judge": {"value": 0.8, "weight": 0.0}});
        let penalty = json!({"correct": {"value": 1.0, "weight": 1.0}, "language": {"value": 0.0, "weight": -0.5}});
        let ruled = json!({"correct": {"value": 1.0, "weight": 1.0, "extracted": "6", "metrics": {"rule": 0.0}}});
        for (lines, marks) in [
            (vec![right.clone(), wrong.clone()], vec!["mixed"]),
            (vec![right.clone()], vec!["right"]),
            (vec![wrong.clone()], vec!["wrong"]),
            (vec![cut], vec!["wrong", "truncated"]),
            (vec![line("q", 0.0, None, json!({}))], vec!["unscored"]),
            (vec![empty], vec!["wrong", "no_answer"]),
            (vec![line("q", 0.0, Some(false), judged)], vec!["wrong", "disagree"]),
            (vec![line("q", 1.0, Some(true), ruled)], vec!["right", "disagree"]),
            (vec![line("q", 1.0, Some(true), penalty)], vec!["right"]),
        ] {
            assert_eq!(group(lines.clone()).marks(), marks, "{lines:?}");
        }
        assert!(group(vec![right.clone()]).holds("sai") && !group(vec![right]).holds("passed"));
    }

    #[test]
    fn what_changed_most_comes_first_and_what_only_one_has_does_not_come() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, lines: &[Value]| {
            let path = folder.path().join(name);
            std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
            path
        };
        let of =
            |id: &str, passes: [bool; 2], total: f64| passes.map(|passed| line(id, total, Some(passed), json!({})));
        let lines = |all: &[[Value; 2]]| all.concat();
        let before = write(
            "a.jsonl",
            &lines(&[
                of("same", [true; 2], 1.0),
                of("half", [false; 2], 0.0),
                of("whole", [true; 2], 1.0),
                of("reward", [true; 2], 1.0),
                of("gone", [true; 2], 1.0),
            ]),
        );
        let after = write(
            "b.jsonl",
            &lines(&[
                of("same", [true; 2], 1.0),
                of("reward", [true; 2], 0.5),
                of("half", [true, false], 0.0),
                of("whole", [false; 2], 0.0),
                of("new", [true; 2], 1.0),
            ]),
        );
        let groups = Groups::between(&before, &after).unwrap().0;
        let found: Vec<_> = groups.iter().map(|group| (group.id.as_str(), group.change().unwrap())).collect();
        assert_eq!(found, [("whole", -1.0), ("half", 0.5), ("reward", 0.0), ("same", 0.0)]);
        let changed: Vec<bool> = groups.iter().map(|group| group.marks().contains(&"changed")).collect();
        assert_eq!(changed, [true, true, true, false]);
        let shown = groups[0].shown(None, None);
        assert_eq!((shown["before"].as_array().map(Vec::len), &shown["rate_before"]), (Some(2), &json!(1.0)));
    }
}
