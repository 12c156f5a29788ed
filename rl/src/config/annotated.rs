//! A configuration with every key that it could have: value, default and doc, as TOML that means the same.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value as Json, json};
use toml::Value;

use super::Config;
use super::fault::{ConfigError, fault};
use super::schema::{json_schema, resolved};

/// The widest comment, in characters.
const WIDTH: usize = 110;

/// A key of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Key {
    /// Its whole path.
    pub key: String,
    /// Its value; `None` where it has none, or is a table.
    pub value: Option<Json>,
    /// What it is where nothing is said; `None` where it must be said, or is nothing then.
    pub default: Option<Json>,
    /// Whether it must be said.
    pub required: bool,
    /// What it is for.
    pub doc: String,
}

/// A configuration that is written out.
struct Written {
    root: Json,
    text: String,
    keys: Vec<Key>,
}

impl Config {
    /// Every key, as TOML with docs and defaults in comments; composing it again gives the same configuration.
    ///
    /// # Errors
    /// When a value has no TOML form.
    pub fn annotated(&self) -> Result<String, ConfigError> {
        Ok(written(self)?.text.trim_start().to_owned())
    }

    /// Every key, with its value, its default and its doc.
    ///
    /// # Errors
    /// When a value has no TOML form.
    pub fn keys(&self) -> Result<Vec<Key>, ConfigError> {
        Ok(written(self)?.keys)
    }
}

fn written(config: &Config) -> Result<Written, ConfigError> {
    let value = Value::try_from(config).map_err(|error| fault("config", error.to_string()))?;
    let root = json_schema();
    let mut written = Written { root: root.clone(), text: String::new(), keys: Vec::new() };
    written.table("", &root, Some(&value));
    Ok(written)
}

impl Written {
    /// A table: its plain keys first, then its tables.
    fn table(&mut self, path: &str, schema: &Json, value: Option<&Value>) {
        let schema = chosen(&self.root, schema, value);
        if let Some(own) = schema.get("additionalProperties").filter(|own| own.is_object()).cloned() {
            for (name, value) in value.and_then(Value::as_table).into_iter().flatten() {
                self.headed(&joined(path, name), &own, Some(value));
            }
            return;
        }
        let required: Vec<String> =
            schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect();
        let properties: Vec<(String, Json)> = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, own)| (key.clone(), own.clone()))
            .collect();
        let mut tables = Vec::new();
        for (key, own) in properties {
            let found = value.and_then(|value| value.get(&key));
            if path.is_empty() || found.is_some_and(Value::is_table) && has_keys(&self.root, &own) {
                tables.push((key, own));
            } else {
                self.plain(path, &key, &own, (found, required.contains(&key)));
            }
        }
        for (key, own) in tables {
            let found = value.and_then(|value| value.get(&key)).cloned();
            self.headed(&joined(path, &key), &own, found.as_ref());
        }
    }

    /// A table with its head; of one that is not there, a comment.
    fn headed(&mut self, path: &str, schema: &Json, value: Option<&Value>) {
        let own = resolved(&self.root, schema).clone();
        let doc = doc_of(schema).or_else(|| doc_of(&own)).unwrap_or_default();
        if value.is_none() {
            self.text.push('\n');
            self.comment(&doc);
            _ = writeln!(self.text, "# [{path}] is not set");
            return;
        }
        if own.get("additionalProperties").is_none_or(|more| !more.is_object()) {
            self.text.push('\n');
            self.comment(&doc);
            _ = writeln!(self.text, "[{path}]");
        }
        self.table(path, schema, value);
    }

    fn plain(&mut self, path: &str, key: &str, schema: &Json, (value, required): (Option<&Value>, bool)) {
        let doc = doc_of(schema).or_else(|| doc_of(resolved(&self.root, schema))).unwrap_or_default();
        let default = schema.get("default").filter(|default| !default.is_null()).cloned();
        self.comment(&doc);
        match (value, default.as_ref().and_then(toml_of)) {
            (Some(value), default) => {
                let value = in_toml(value);
                let default = default.map(|default| in_toml(&default)).filter(|default| *default != value);
                let note = default.map_or(String::new(), |default| format!(" # default: {default}"));
                _ = writeln!(self.text, "{} = {value}{note}", quoted(key));
            }
            (None, Some(default)) => _ = writeln!(self.text, "# {} = {}", quoted(key), in_toml(&default)),
            (None, None) => _ = writeln!(self.text, "# {} is not set", quoted(key)),
        }
        let value = value.and_then(|value| serde_json::to_value(value).ok());
        self.keys.push(Key { key: joined(path, key), value, default, required, doc });
    }

    fn comment(&mut self, doc: &str) {
        let mut line = String::new();
        for word in doc.split_whitespace() {
            if !line.is_empty() && line.chars().count() + word.chars().count() >= WIDTH {
                _ = writeln!(self.text, "# {line}");
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        if !line.is_empty() {
            _ = writeln!(self.text, "# {line}");
        }
    }
}

/// Whether the keys of a table are known, or its entries are such tables; others are written in one line.
fn has_keys(root: &Json, schema: &Json) -> bool {
    let schema = resolved(root, schema);
    let choices = [&schema["oneOf"], &schema["anyOf"]].into_iter().filter_map(Json::as_array).flatten();
    let more = schema.get("additionalProperties").filter(|more| more.is_object());
    schema["properties"].is_object() || more.into_iter().chain(choices).any(|inner| has_keys(root, inner))
}

/// The schema of a value: of choices the one that it is, with the options of its `kind`.
fn chosen(root: &Json, schema: &Json, value: Option<&Value>) -> Json {
    let schema = resolved(root, schema);
    let Some(choices) = schema.get("oneOf").or(schema.get("anyOf")).and_then(Json::as_array) else {
        return schema.clone();
    };
    let kind = value.and_then(|value| value.get("kind")).and_then(Value::as_str);
    let choices = || choices.iter().map(|choice| (choice, resolved(root, choice)));
    let is_chosen = |choice: &Json| match choice["properties"]["kind"]["const"].as_str() {
        Some(own) => Some(own) == kind,
        // A choice by its only key, or an optional table.
        None => {
            let needed = choice["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
            choice["type"] == "object"
                && needed.into_iter().all(|key| value.is_some_and(|value| value.get(key).is_some()))
        }
    };
    let found = choices().find(|(choice, own)| is_chosen(choice) || is_chosen(own));
    let Some((choice, own)) = found else { return Json::Null };
    // A choice may refer to the options beside its kind.
    let mut whole = choice.clone();
    for part in ["properties", "required"] {
        if whole.get(part).is_none() {
            whole[part] = own.get(part).cloned().unwrap_or_else(|| json!({}));
        }
    }
    whole
}

fn doc_of(schema: &Json) -> Option<String> {
    schema["description"].as_str().map(|doc| doc.replace('\n', " "))
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { quoted(key) } else { format!("{path}.{}", quoted(key)) }
}

/// A key as TOML writes it.
fn quoted(key: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    match !key.is_empty() && key.chars().all(bare) {
        true => key.to_owned(),
        false => Value::String(key.to_owned()).to_string(),
    }
}

fn in_toml(value: &Value) -> String {
    match value {
        // As people write it: 1e-30, and not thirty noughts.
        Value::Float(number) if number.is_finite() => format!("{number:?}"),
        other => other.to_string(),
    }
}

fn toml_of(value: &Json) -> Option<Value> {
    Value::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn every_key_stands_there_and_the_text_means_the_same() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs");
        for name in ["smoke", "own-data", "quickstart", "judge"] {
            let config = Config::compose(&[folder.join(format!("{name}.toml"))], &[]).unwrap();
            let text = config.annotated().unwrap();
            let place = tempfile::tempdir().unwrap();
            let file = place.path().join("shown.toml");
            std::fs::write(&file, &text).unwrap();
            let again = Config::compose(&[file], &[]).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
            assert_eq!(again, config, "{name}");
            for key in ["dtype", "freeze", "lora", "export", "max_prompt_tokens", "too_long"] {
                assert!(
                    text.lines().any(|line| line.trim_start_matches("# ").starts_with(key)),
                    "{name}: {key}\n{text}"
                );
            }
        }
        let config = Config::compose(&[folder.join("smoke.toml")], &["run.token_budget=512".to_owned()]).unwrap();
        let text = config.annotated().unwrap();
        assert!(text.contains("token_budget = 512 # default: 4096"), "{text}");
        assert!(text.contains("# dtype = \"f32\"") && text.contains("# export is not set"), "{text}");
        let keys = config.keys().unwrap();
        let of = |key: &str| keys.iter().find(|one| one.key == key).unwrap();
        let lr = of("phases.reasoning.optimizer.lr");
        assert!(lr.required && lr.value == Some(json!(1.5e-4)) && lr.doc.contains("learning rate"));
        assert_eq!(of("run.token_budget").default, Some(json!(4096)));
        assert_eq!(of("policy.export").value, None);
    }
}
