//! How a configuration is put together: files merged left to right, paths in them, then `key=value` overrides.

use std::path::Path;

use toml::{Table, Value};

use super::fault::{ConfigError, fault};
use super::origin::Origins;

/// Reads a file; paths in it that lie beside it become whole paths, and `origins` learns where its keys stand.
///
/// # Errors
/// When it cannot be read or is not TOML.
pub(super) fn read(file: &Path, origins: &mut Origins) -> Result<Table, ConfigError> {
    let place = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| fault(&place, format!("cannot be read: {error}")))?;
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| fault(&place, error.to_string()))?;
    origins.add_file(file, &text);
    let folder = file.parent().unwrap_or(Path::new(""));
    // What a run has written may be of the version before.
    if folder.join("run.json").is_file() {
        super::upgrade::upgrade(&mut table);
    }
    anchor(&mut table, folder);
    Ok(table)
}

/// Keys that hold paths: the table, then the keys of each of its entries.
const PATHS: [(&str, &[&str]); 2] = [("data", &["source", "prompt"]), ("rewards", &["python"])];

/// Keys of a phase that hold a path: records of earlier runs, and models, which without a separator are presets.
const PHASE_PATHS: [&[&str]; 5] = [
    &["by", "record"],
    &["by", "model"],
    &["drop", "stronger"],
    &["without_pictures", "by", "record"],
    &["without_pictures", "by", "model"],
];

/// Makes paths whole, so that a configuration that is saved elsewhere means the same. A path is looked for beside its file
/// first, then where the command runs; what lies in neither place is left as it stands.
pub(super) fn anchor(table: &mut Table, folder: &Path) {
    for (name, keys) in PATHS {
        let Some(Value::Table(entries)) = table.get_mut(name) else { continue };
        for (_, entry) in entries.iter_mut() {
            for key in keys {
                if let Some(Value::String(text)) = entry.get_mut(*key) {
                    anchored(text, folder);
                }
            }
        }
    }
    let rewards = table.get_mut("rewards").and_then(Value::as_table_mut).into_iter().flatten();
    for (_, reward) in rewards {
        anchor_reward(reward, folder);
    }
    let phases = table.get_mut("phases").and_then(Value::as_table_mut).into_iter().flatten();
    for (_, phase) in phases {
        for path in PHASE_PATHS {
            let place = path.iter().try_fold(&mut *phase, |place, key| place.get_mut(*key));
            if let Some(Value::String(text)) = place
                && (path.ends_with(&["record"]) || text.contains('/') || path.ends_with(&["stronger"]))
            {
                anchored(text, folder);
            }
        }
    }
    // A model without a separator in its name is a preset.
    match table.get_mut("policy").and_then(|policy| policy.get_mut("model")) {
        Some(Value::String(model)) if model.contains('/') => anchored(model, folder),
        _ => {}
    }
}

/// What a reward reads beside its function: the interpreter, unless it is a name, files for a sandbox, labelled items.
fn anchor_reward(reward: &mut Value, folder: &Path) {
    if let Some(Value::String(text)) = reward.get_mut("interpreter")
        && text.contains('/')
    {
        anchored(text, folder);
    }
    if let Some(Value::String(text)) = reward.get_mut("calibration").and_then(|items| items.get_mut("data")) {
        anchored(text, folder);
    }
    for path in reward.get_mut("read").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::String(text) = path {
            anchored(text, folder);
        }
    }
}

fn anchored(text: &mut String, folder: &Path) {
    if text.contains('\n') || text.starts_with("synthetic:") || Path::new(text.as_str()).is_absolute() {
        return;
    }
    // What follows the path (`@split`, a slice, a function's name, a pattern) is no part of what must be there.
    let end = text.find(['@', '[', '*', '?', ':']).unwrap_or(text.len());
    let is_pattern = text[end..].starts_with(['*', '?']);
    for base in [folder, Path::new("")] {
        let place = base.join(&text[..end]);
        let found = match is_pattern {
            true => place.parent().is_some_and(|parent| parent.is_dir()),
            false => end > 0 && place.exists(),
        };
        if let (true, Ok(whole)) = (found, std::path::absolute(base.join(text.as_str()))) {
            *text = whole.display().to_string();
            return;
        }
    }
}

/// Tables merge by key; everything else, arrays too, is replaced.
pub(super) fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => _ = into.insert(key, value),
        }
    }
}

/// An override: the parts of its key, and its value, which is TOML, else a plain string.
///
/// # Errors
/// When it is not `key=value`, or the key is not one of TOML.
pub(crate) fn override_of(text: &str) -> Result<(Vec<String>, Value), ConfigError> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, _)| !key.trim().is_empty())
        .ok_or_else(|| fault(format!("override {text}"), "is neither a configuration file nor `key=value`"))?;
    let value = format!("value = {value}").parse::<Table>().ok().and_then(|mut table| table.remove("value"));
    let value = value.unwrap_or_else(|| Value::String(text[key.len() + 1..].to_owned()));
    // The key is read by TOML itself, so that quoted parts may hold dots.
    let mut table = format!("{key} = 0")
        .parse::<Table>()
        .map_err(|error| fault(format!("override {text}"), error.message().to_owned()))?;
    let mut path = Vec::new();
    while let Some((part, inner)) = std::mem::take(&mut table).into_iter().next() {
        path.push(part);
        if let Value::Table(inner) = inner {
            table = inner;
        }
    }
    Ok((path, value))
}

/// Sets what an override says, in place of whatever was there.
///
/// # Errors
/// Names the part of the key that is not a table.
pub(crate) fn set(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    match path {
        [] => Ok(()),
        [last] => {
            table.insert(last.clone(), value);
            Ok(())
        }
        [first, rest @ ..] => match table.entry(first).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => set(inner, rest, value),
            _ => Err(format!("`{first}` is not a table")),
        },
    }
}
