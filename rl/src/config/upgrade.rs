//! The configuration of a run of the version before, put into today's shape: such runs can be repeated, scored again and
//! evaluated. Files that people write are not translated: there, an old key is an error that says the new one.

use toml::{Table, Value};

use super::renamed::KEEP;

/// Translates a table of the version before; one of today is left as it is.
pub(super) fn upgrade(table: &mut Table) {
    let mut tasks: Vec<String> = Vec::new();
    let mut evaluated: Vec<Value> = Vec::new();
    if let Some(Value::Table(phases)) = table.get_mut("phases") {
        for (name, phase) in phases.iter_mut() {
            let Value::Table(phase) = phase else { continue };
            tasks.extend(upgrade_phase(phase));
            if phase.remove("eval_after").is_some() {
                evaluated.push(name.as_str().into());
            }
        }
    }
    tasks.extend(upgrade_eval(table, evaluated));
    if let Some(check) = table.get_mut("run").and_then(|run| run.get_mut("reward_check")).and_then(Value::as_table_mut)
    {
        rename(check, "rows_per_task", "rows_per_source");
    }
    if let Some(run) = table.get_mut("run").and_then(Value::as_table_mut) {
        upgrade_keep(run);
    }
    if tasks.is_empty() {
        return;
    }
    let data = table.entry("data").or_insert_with(|| Value::Table(Table::new()));
    let Value::Table(data) = data else { return };
    for task in tasks {
        let source = Table::from_iter([("source".to_owned(), Value::from(format!("synthetic:{task}")))]);
        data.entry(task).or_insert(Value::Table(source));
    }
}

/// What is kept was said by keys of the run itself.
fn upgrade_keep(run: &mut Table) {
    let moved: Vec<(String, Value)> =
        KEEP.into_iter().filter_map(|(old, new)| Some((new.to_owned(), run.remove(old)?))).collect();
    if let (false, Value::Table(keep)) =
        (moved.is_empty(), run.entry("keep").or_insert_with(|| Value::Table(Table::new())))
    {
        keep.extend(moved);
    }
}

fn rename(table: &mut Table, old: &str, new: &str) {
    if let Some(value) = table.remove(old) {
        table.insert(new.to_owned(), value);
    }
}

fn names(value: Option<Value>) -> Vec<String> {
    let list = value.and_then(|value| value.as_array().cloned()).unwrap_or_default();
    list.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Gives the tasks that the phase uses.
fn upgrade_phase(phase: &mut Table) -> Vec<String> {
    let hasty = phase.remove("hasty");
    if let Some(never) = phase.remove("drop_never_solved") {
        phase.insert("drop".to_owned(), Value::Table(Table::from_iter([("never_solved".to_owned(), never)])));
    }
    if let Some(Value::Array(entries)) = phase.get_mut("data") {
        let mut tasks = Vec::new();
        for entry in entries.iter_mut().filter_map(Value::as_table_mut) {
            if let Some(Value::String(task)) = entry.remove("task") {
                entry.insert("use".to_owned(), task.as_str().into());
                entry.extend(hasty.clone().map(|hasty| ("hasty".to_owned(), hasty)));
                tasks.push(task);
            }
        }
        return tasks;
    }
    let tasks = names(phase.remove("tasks"));
    if tasks.is_empty() {
        return tasks;
    }
    let rubrics = phase.remove("rubrics").and_then(|rubrics| rubrics.as_table().cloned()).unwrap_or_default();
    let used = |task: &String| {
        let mut entry = Table::from_iter([("use".to_owned(), Value::from(task.as_str()))]);
        entry.extend(rubrics.get(task).map(|rubric| ("rubric".to_owned(), rubric.clone())));
        Value::Table(entry)
    };
    phase.insert("data".to_owned(), Value::Array(tasks.iter().map(used).collect()));
    rename(phase, "queries_per_task", "queries_per_source");
    if let Some(Value::Integer(prompts)) = phase.remove("prompts_per_task") {
        phase.insert("prompts_per_step".to_owned(), Value::Integer(prompts * tasks.len() as i64));
    }
    if let Some(live) = phase.remove("filter_live") {
        phase.insert("filter".to_owned(), Value::Table(Table::from_iter([("live".to_owned(), live)])));
    }
    let spread = phase.remove("spread");
    if let (Some(spread), Some(Value::Table(algorithm))) = (spread, phase.get_mut("algorithm")) {
        algorithm.insert("advantage_norm".to_owned(), spread);
    }
    tasks
}

/// Gives the tasks that the evaluation uses.
fn upgrade_eval(table: &mut Table, after: Vec<Value>) -> Vec<String> {
    let Some(Value::Table(eval)) = table.get_mut("eval") else { return Vec::new() };
    if !eval.get("tasks").is_some_and(Value::is_array) {
        return Vec::new();
    }
    let mut tasks = names(eval.remove("tasks"));
    let apart = names(eval.remove("apart"));
    tasks.extend(apart.iter().cloned());
    eval.insert("data".to_owned(), Value::Array(tasks.iter().map(|task| task.as_str().into()).collect()));
    eval.insert("unaveraged".to_owned(), Value::Array(apart.into_iter().map(Value::from).collect()));
    eval.insert("after".to_owned(), Value::Array(after));
    rename(eval, "queries_per_task", "queries_per_source");
    let heldout = std::mem::take(eval);
    eval.insert("heldout".to_owned(), Value::Table(heldout));
    tasks
}
