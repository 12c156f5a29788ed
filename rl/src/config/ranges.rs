//! Every number of a configuration has a range: a test that walks the schema, so that a new key without one fails it.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use toml::{Table, Value};

use super::Config;
use super::schema::json_schema;

/// Keys where any number that their type holds is right.
const ANY: [(&str, &str); 6] = [
    ("run.seed", "a seed"),
    ("eval.heldout.seed", "a seed"),
    ("rewards.judge.seed", "a seed"),
    ("rewards.judge.calibration.seed", "a seed"),
    ("rewards.judge.budget.calls", "a limit on what is spent; the largest number is none"),
    ("rewards.judge.budget.tokens", "a limit on what is spent; the largest number is none"),
];
/// Keys that may be infinite.
const INFINITE: [(&str, &str); 5] = [
    ("run.warn.length_times", "`inf` never warns"),
    ("run.warn.grad_norm_times", "`inf` never warns"),
    ("phases.sft.optimizer.clip_norm", "`inf` never clips"),
    ("phases.rl.optimizer.clip_norm", "`inf` never clips"),
    ("phases.distill.optimizer.clip_norm", "`inf` never clips"),
];

/// A configuration in which every table stands, of each choice at least one. Sections are named by their kind.
fn whole() -> Table {
    let text = include_str!("ranges.toml");
    let mut table: Table = text.parse().unwrap();
    // One phase for each algorithm, and one reward for each kind.
    let schema = json_schema();
    let kinds = |name: &str| -> Vec<String> {
        let choices = schema["$defs"][name]["oneOf"].as_array().unwrap().clone();
        choices.iter().map(kind_of).collect()
    };
    let phases = table["phases"].as_table_mut().unwrap();
    for kind in kinds("AlgorithmConfig") {
        let mut phase = phases["rl"].clone();
        let tokens = if kind == "dr_grpo" { "divisor_tokens = 8" } else { "" };
        let text = format!("kind = \"{kind}\"\n{tokens}");
        phase.as_table_mut().unwrap().insert("algorithm".to_owned(), Value::Table(text.parse().unwrap()));
        phases.insert(format!("rl_{kind}"), phase);
    }
    let names: Vec<Value> = phases.keys().map(|name| Value::from(name.as_str())).collect();
    table["run"].as_table_mut().unwrap().insert("phases".to_owned(), Value::Array(names));
    let rewards = table["rewards"].as_table_mut().unwrap();
    for kind in kinds("RewardConfig").into_iter().filter(|kind| kind != "custom") {
        let more = match kind.as_str() {
            "length" => "buffer_tokens = 4",
            "process" => "command = [\"cat\"]",
            "http" => "url = \"http://127.0.0.1:9\"",
            "code" => "command = [\"sh\"]",
            _ => "",
        };
        let text = format!("kind = \"{kind}\"\n{more}");
        rewards.entry(kind).or_insert_with(|| Value::Table(text.parse().unwrap()));
    }
    table
}

fn kind_of(choice: &Json) -> String {
    choice["properties"]["kind"]["const"].as_str().unwrap_or_else(|| panic!("{choice}")).to_owned()
}

/// What a walk has found: numbers by their path, whether they are whole, and tables that are not there.
#[derive(Default)]
struct Found {
    numbers: Vec<(Vec<String>, bool)>,
    missing: Vec<String>,
}

fn resolved<'a>(root: &'a Json, schema: &'a Json) -> &'a Json {
    match schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/")) {
        Some(name) => resolved(root, &root["$defs"][name]),
        None => schema,
    }
}

/// Walks a schema beside a value of it.
fn walk(root: &Json, schema: &Json, value: Option<&Value>, path: &mut Vec<String>, found: &mut Found) {
    let schema = resolved(root, schema);
    let is = |name: &str| schema["type"] == name || schema["type"].as_array().is_some_and(|all| all[0] == name);
    if is("number") || is("integer") {
        found.numbers.push((path.clone(), is("integer")));
    } else if let Some(choices) = schema.get("oneOf").or(schema.get("anyOf")).and_then(Json::as_array) {
        walk_choices(root, choices, value, path, found);
    } else if let Some(properties) = schema["properties"].as_object() {
        let Some(Value::Table(table)) = value else { return found.missing.push(path.join(".")) };
        for (key, own) in properties {
            path.push(key.clone());
            walk(root, own, table.get(key), path, found);
            path.pop();
        }
    } else if schema["additionalProperties"].is_object() {
        let entries = value.and_then(Value::as_table).into_iter().flatten();
        for (name, entry) in entries {
            path.push(name.clone());
            walk(root, &schema["additionalProperties"], Some(entry), path, found);
            path.pop();
        }
    } else if is("array") && schema["items"].is_object() {
        let first = value.and_then(Value::as_array).and_then(|items| items.first());
        path.push("[0]".to_owned());
        walk(root, &schema["items"], first, path, found);
        path.pop();
    }
}

fn walk_choices(root: &Json, choices: &[Json], value: Option<&Value>, path: &mut Vec<String>, found: &mut Found) {
    let kind = value.and_then(|value| value.get("kind")).and_then(Value::as_str);
    for choice in choices.iter().map(|choice| resolved(root, choice)).filter(|choice| choice["type"] != "null") {
        let own = choice["properties"]["kind"]["const"].as_str();
        match own {
            Some(own) if Some(own) == kind => {
                let Some(properties) = choice["properties"].as_object() else { continue };
                for (key, own) in properties.iter().filter(|(key, _)| *key != "kind") {
                    path.push(key.clone());
                    walk(root, own, value.and_then(|value| value.get(key)), path, found);
                    path.pop();
                }
            }
            Some(_) => {}
            // A choice by its only key, or an optional value.
            None if choices.len() > 1 && choice["type"] == "object" && choice["required"].is_array() => {
                let key = choice["required"][0].as_str().unwrap_or_default();
                if value.is_some_and(|value| value.get(key).is_some()) || choices.len() == 2 {
                    walk(root, choice, value, path, found);
                }
            }
            None => walk(root, choice, value, path, found),
        }
    }
}

/// A value in place of the one at a path, whose last part may be the items of a list.
fn with(table: &Table, path: &[String], value: &Value) -> Table {
    fn set(at: &mut Value, path: &[String], value: &Value) {
        match path {
            [] => *at = value.clone(),
            [first, ..] if first == "[0]" => match at {
                Value::Array(items) if !items.is_empty() => set(&mut items[0], &path[1..], value),
                _ => *at = Value::Array(vec![value.clone(); 2]),
            },
            [first, rest @ ..] => {
                let table = at.as_table_mut().expect("a table");
                set(table.entry(first).or_insert_with(|| Value::Array(Vec::new())), rest, value);
            }
        }
    }
    let mut whole = Value::Table(table.clone());
    set(&mut whole, path, value);
    whole.as_table().expect("a table").clone()
}

/// What is said of a value at a path, if it is refused with its key.
fn refusal(table: &Table, path: &[String], value: &Value) -> Result<String, String> {
    let error = match Config::of(&with(table, path, value)) {
        Ok(_) => return Err(format!("{} = {value} is taken", path.join("."))),
        Err(error) => error.to_string(),
    };
    let keys: Vec<&String> = path.iter().filter(|key| *key != "[0]").collect();
    let section = keys[..keys.len().min(2)].iter().map(|key| key.as_str()).collect::<Vec<_>>().join(".");
    match error.contains(&section) && error.contains(keys[keys.len() - 1].as_str()) {
        true => Ok(error),
        false => Err(format!("{} = {value} is refused without its key: {error}", path.join("."))),
    }
}

#[test]
fn every_number_has_a_range() {
    let (root, table) = (json_schema(), whole());
    Config::of(&table).unwrap();
    let mut found = Found::default();
    walk(&root, &root, Some(&Value::Table(table.clone())), &mut Vec::new(), &mut found);
    assert_eq!(found.missing, Vec::<String>::new(), "add these tables to ranges.toml, so that their numbers are tried");
    assert!(found.numbers.len() > 150, "{} numbers", found.numbers.len());
    let mut faults = Vec::new();
    let mut named = BTreeSet::new();
    for (path, whole_number) in &found.numbers {
        let key = path.join(".");
        let is_named = |list: &[(&'static str, &str)], key: &str| list.iter().any(|(name, _)| *name == key);
        if is_named(&ANY, &key) {
            named.insert(key);
            continue;
        }
        let infinite = is_named(&INFINITE, &key) || key.ends_with("optimizer.clip_norm");
        let bad: Vec<Value> = match whole_number {
            true => vec![Value::Integer(i64::MAX), Value::Integer(-1)],
            false if infinite => vec![Value::Float(f64::NAN), Value::Float(-1.0)],
            // What a reward measures may have any unit.
            false if key.starts_with("rewards.") => vec![Value::Float(f64::NAN), Value::Float(f64::INFINITY)],
            false => vec![Value::Float(f64::NAN), Value::Float(f64::INFINITY), Value::Float(1e20)],
        };
        faults.extend(bad.iter().filter_map(|value| refusal(&table, path, value).err()));
        named.insert(key);
    }
    let unknown = ANY.iter().chain(&INFINITE).map(|(name, _)| *name).filter(|name| !named.contains(*name));
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&str>::new(), "named here, but no key");
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn keys_are_told_with_their_lines_and_overrides() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.toml");
    std::fs::write(&file, include_str!("ranges.toml")).unwrap();
    let text = include_str!("ranges.toml");
    let line = |start: &str| 1 + text.lines().position(|line| line.starts_with(start)).unwrap();
    let error = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        std::fs::write(&file, text.replacen(from, to, 1)).unwrap();
        Config::compose(std::slice::from_ref(&file), &[]).unwrap_err().to_string()
    };
    let place = |line: usize| format!("{}:{line}: ", file.display());
    let seed = error("seed = 1 #", "sead = 1 #");
    assert!(seed.starts_with(&format!("{}run.sead: ", place(line("seed = 1 #")))), "{seed}");
    assert!(seed.contains("did you mean `seed`"), "{seed}");
    // Within a choice by its kind, where serde knows no keys.
    let steps = error("steps = 3 # rl", "steps = 1e3");
    assert!(steps.starts_with(&format!("{}phases.rl.steps: ", place(line("steps = 3 # rl")))), "{steps}");
    assert!(steps.contains("a whole number"), "{steps}");
    let lr = error("lr = 1e-3 # rl", "lr = \"fast\"");
    assert!(lr.contains("phases.rl.optimizer.lr: ") && lr.contains("a number"), "{lr}");
    let missing = error("lr = 1e-3 # rl", "eps = 1e-8");
    assert!(missing.contains("phases.rl.optimizer: the key `lr` is missing"), "{missing}");
    let share = error("{ use = \"rows\", share = 1 } # rl", "{ use = \"rows\", shaer = 1 }");
    assert!(share.contains("phases.rl.data[0].shaer: ") && share.contains("did you mean `share`"), "{share}");
    let kind = error("kind = \"sapo\" # rl", "kind = \"spao\"");
    assert!(kind.contains("phases.rl.algorithm.kind: ") && kind.contains("did you mean `sapo`"), "{kind}");
    let judge = error("timeout_secs = 60", "timeout_secs = -60");
    assert!(judge.starts_with(&format!("{}rewards.judge.timeout_secs: ", place(line("timeout_secs = 60")))), "{judge}");
    std::fs::write(&file, text).unwrap();
    let over = |text: &str| Config::compose(std::slice::from_ref(&file), &[text.to_owned()]).unwrap_err().to_string();
    assert!(over("run.sede=2").starts_with("override run.sede=2: there is no such key"), "{}", over("run.sede=2"));
    assert!(
        over("phases.rl.steps=1e3").starts_with("override phases.rl.steps=1e3: "),
        "{}",
        over("phases.rl.steps=1e3")
    );
}
