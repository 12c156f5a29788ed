//! The schema of a configuration and its reference page, from the very types that parse it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::Config;

/// The JSON Schema of a configuration, for editors.
pub fn json_schema() -> Value {
    schemars::schema_for!(Config).to_value()
}

/// The definition that a schema refers to, or itself.
pub(super) fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(name_of) {
        Some(name) => resolved(root, &root["$defs"][name]),
        None => schema,
    }
}

/// The places of all keys with this name, such as `phases.NAME.optimizer.lr`; the shortest first.
pub fn places_of(name: &str) -> Vec<String> {
    let root = json_schema();
    let mut found = Vec::new();
    places(&root, &root, &mut Vec::new(), (name, &mut found));
    found.sort_by_key(|place: &String| (place.matches('.').count(), place.clone()));
    found.dedup();
    found
}

fn places(root: &Value, schema: &Value, path: &mut Vec<String>, wanted: (&str, &mut Vec<String>)) {
    /// No configuration is deeper.
    const DEEPEST: usize = 8;
    let (name, found) = wanted;
    let own = resolved(root, schema);
    if path.len() > DEEPEST {
        return;
    }
    for (key, value) in own["properties"].as_object().into_iter().flatten() {
        path.push(key.clone());
        if key == name {
            found.push(path.join("."));
        }
        places(root, value, path, (name, &mut *found));
        path.pop();
    }
    if own["additionalProperties"].is_object() {
        path.push("NAME".to_owned());
        places(root, &own["additionalProperties"], path, (name, &mut *found));
        path.pop();
    }
    for choices in ["oneOf", "anyOf"] {
        for choice in own[choices].as_array().into_iter().flatten() {
            places(root, choice, path, (name, &mut *found));
        }
    }
}

/// The page `docs/config.md`: every key with its type, default and doc.
pub fn reference() -> String {
    let schema = json_schema();
    let mut page =
        Page { definitions: &schema["$defs"], text: HEAD.to_owned(), later: Vec::new(), seen: BTreeMap::new() };
    page.section("", &schema, "A configuration");
    while let Some((place, name)) = page.later.pop() {
        let definition = page.definitions[&name].clone();
        page.section(&place, &definition, &name);
    }
    page.text
}

const HEAD: &str = "# Configuration

Every key, from the types that read it (`sapo config reference`). `sapo config schema` prints the same as a JSON Schema, from
which editors complete. Unknown keys are refused with the nearest known one. A key without a default is required.
";

/// The page as it is written.
struct Page<'a> {
    definitions: &'a Value,
    text: String,
    later: Vec<(String, String)>,
    seen: BTreeMap<String, String>,
}

impl Page<'_> {
    /// A table of the keys of an object; a choice by `kind` has one for each.
    fn section(&mut self, place: &str, schema: &Value, name: &str) {
        let title = if place.is_empty() { name.to_owned() } else { format!("`{place}`") };
        let doc = schema["description"].as_str().unwrap_or_default().replace('\n', " ");
        _ = write!(self.text, "\n## {title}\n\n{doc}\n");
        match schema.get("oneOf").or(schema.get("anyOf")).and_then(Value::as_array) {
            Some(choices) => choices.iter().for_each(|choice| self.choice(place, choice)),
            None => self.table(place, schema),
        }
    }

    fn choice(&mut self, place: &str, choice: &Value) {
        let word = choice["properties"]["kind"]["const"].as_str();
        let Some(word) = word else { return self.table(place, choice) };
        let doc = choice["description"].as_str().unwrap_or_default().replace('\n', " ");
        _ = write!(self.text, "\n### `{place}`, kind = \"{word}\"\n\n{doc}\n");
        let mut whole = choice.clone();
        if let Some(definition) = choice["$ref"].as_str().and_then(name_of) {
            let more = self.definitions[definition].clone();
            merge(&mut whole, &more);
        }
        self.table(place, &whole);
    }

    fn table(&mut self, place: &str, schema: &Value) {
        let Some(properties) = schema["properties"].as_object().filter(|keys| !keys.is_empty()) else { return };
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        self.text.push_str("\n| key | type | default | |\n| --- | --- | --- | --- |\n");
        // The word that tells choices apart is in their titles.
        for (key, value) in properties.iter().filter(|(key, value)| *key != "kind" || value.get("const").is_none()) {
            let kind = self.type_of(place, key, value);
            let default = match value.get("default") {
                Some(Value::Null) | None if required.contains(&key.as_str()) => "required".to_owned(),
                Some(Value::Null) | None => String::new(),
                Some(default) => format!("`{default}`").replace('|', "\\|"),
            };
            let doc = value["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
            _ = writeln!(self.text, "| `{key}` | {kind} | {default} | {doc} |");
        }
    }

    /// The type in words; an object of its own is written later, once.
    fn type_of(&mut self, place: &str, key: &str, schema: &Value) -> String {
        if let Some(name) = schema["$ref"].as_str().and_then(name_of).map(str::to_owned) {
            return self.named(place, key, &name);
        }
        if let Some(choices) = schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array) {
            let choices = choices.iter().filter(|choice| choice["type"] != "null");
            let words: Vec<String> = choices.map(|choice| self.type_of(place, key, choice)).collect();
            return words.join(" or ");
        }
        if let Some(words) = schema["enum"].as_array() {
            return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        }
        if let Some(word) = schema.get("const") {
            return format!("`{word}`");
        }
        match schema["type"].as_str().or(schema["type"][0].as_str()) {
            Some("array") => format!("list of {}", self.type_of(place, key, &schema["items"])),
            Some("object") if schema["additionalProperties"].is_object() => {
                let of = self.type_of(place, &format!("{key}.NAME"), &schema["additionalProperties"].clone());
                format!("table of {of}")
            }
            Some("integer") => "whole number".to_owned(),
            Some("string") => "text".to_owned(),
            Some("boolean") => "true or false".to_owned(),
            Some(other) => other.to_owned(),
            None => "any".to_owned(),
        }
    }

    fn named(&mut self, place: &str, key: &str, name: &str) -> String {
        let definition = self.definitions[name].clone();
        let is_object = definition.get("properties").is_some()
            || definition["oneOf"].as_array().is_some_and(|choices| choices.iter().any(|one| one["type"] == "object"));
        if !is_object {
            return self.type_of(place, key, &definition);
        }
        let own = if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
        let first = self.seen.entry(name.to_owned()).or_insert_with(|| own.clone()).clone();
        if first == own && !self.later.iter().any(|(_, later)| later == name) {
            self.later.insert(0, (own, name.to_owned()));
        }
        format!("`{first}`")
    }
}

/// The name in `#/$defs/NAME`.
fn name_of(reference: &str) -> Option<&str> {
    reference.rsplit_once('/').map(|(_, name)| name)
}

fn merge(into: &mut Value, from: &Value) {
    let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) else { return };
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                old.extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            (Some(Value::Array(old)), Value::Array(new)) => old.extend(new.iter().cloned()),
            (Some(_), _) => {}
            (None, value) => _ = into.insert(key.clone(), value.clone()),
        }
    }
}
