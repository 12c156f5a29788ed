//! Where the values of a configuration come from: a line of a file, or an override; every fault is told with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::ConfigError;

/// The longest override that a message repeats, in characters.
const LONGEST_OVERRIDE: usize = 80;

/// Where each value stands, by its full path (`phases.rl.data[0].share`). What comes later takes the place of what was.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    places: BTreeMap<String, Origin>,
    /// The files, for faults that no key can be named for.
    files: Vec<String>,
}

/// Where a value stands.
#[derive(Clone, Debug)]
enum Origin {
    /// In this file, on this line, counted from 1.
    Line(Arc<str>, usize),
    /// In this override.
    Override(Arc<str>),
}

impl Origins {
    /// Takes down where the keys of a file stand. A text that is not TOML has none.
    pub(super) fn add_file(&mut self, file: &Path, text: &str) {
        let file: Arc<str> = file.display().to_string().into();
        self.files.push(file.to_string());
        if let Ok(table) = DeTable::parse(text) {
            let mut reading = Reading { origins: self, file, text };
            reading.table("", table.get_ref());
        }
    }

    /// Takes down an override: the parts of its key, and its text.
    pub(super) fn add_override(&mut self, path: &[String], text: &str) {
        let path = path.join(".");
        self.forget_within(&path);
        self.places.insert(path, Origin::Override(text.into()));
    }

    fn forget_within(&mut self, path: &str) {
        let is_within = |key: &String| key.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']));
        self.places.retain(|key, _| !is_within(key));
    }

    /// Where a value stands; for what nobody has said, where the table stands that it would be in.
    fn of(&self, key: &str) -> Option<&Origin> {
        let mut path = key;
        loop {
            match self.places.get(path) {
                Some(origin) => return Some(origin),
                None => path = &path[..path.rfind(['.', '['])?],
            }
        }
    }

    /// A fault, told with the file and the line of its key, or with its override.
    pub(super) fn told(&self, fault: ConfigError) -> ConfigError {
        let ConfigError { place: key, reason } = fault;
        let place = match self.of(&key) {
            Some(Origin::Line(file, line)) => format!("{file}:{line}: {key}"),
            Some(Origin::Override(text)) => {
                let own = text.split_once('=').is_some_and(|(name, _)| name.trim() == key);
                let key = if own { String::new() } else { format!(": {key}") };
                format!("override {}{key}", shortened(text))
            }
            None if key.is_empty() || key == "." => self.whole(),
            None if self.files.is_empty() => key,
            None => format!("{}: {key}", self.files.join(", ")),
        };
        ConfigError { place, reason }
    }

    /// The configuration as a whole.
    fn whole(&self) -> String {
        if self.files.is_empty() { "the configuration".to_owned() } else { self.files.join(", ") }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_OVERRIDE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A file that is taken down.
struct Reading<'a> {
    origins: &'a mut Origins,
    file: Arc<str>,
    text: &'a str,
}

impl Reading<'_> {
    fn table(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
            self.value(path, key.span().start, value);
        }
    }

    fn value(&mut self, path: String, start: usize, value: &Spanned<DeValue<'_>>) {
        let line = 1 + self.text.as_bytes().iter().take(start).filter(|byte| **byte == b'\n').count();
        if !value.get_ref().is_table() {
            self.origins.forget_within(&path);
        }
        self.origins.places.insert(path.clone(), Origin::Line(Arc::clone(&self.file), line));
        match value.get_ref() {
            DeValue::Table(table) => self.table(&path, table),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.value(format!("{path}[{index}]"), item.span().start, item);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::fault;
    use super::*;

    #[test]
    fn a_fault_is_told_with_its_line_or_its_override() {
        let mut origins = Origins::default();
        origins.add_file(Path::new("a.toml"), "[run]\nseed = 1\n\n[phases.rl]\ndata = [\n  { use = \"x\" },\n]\n");
        origins.add_file(Path::new("b.toml"), "phases.rl.steps = 3\n");
        origins.add_override(&["run".to_owned(), "seed".to_owned()], "run.seed = -1");
        let told = |key: &str| origins.told(fault(key, "is wrong")).to_string();
        assert_eq!(told("phases.rl.data[0].use"), "a.toml:6: phases.rl.data[0].use: is wrong");
        assert_eq!(told("phases.rl.steps"), "b.toml:1: phases.rl.steps: is wrong");
        assert_eq!(told("run.seed"), "override run.seed = -1: is wrong");
        // What nobody has said stands in a table that somebody has.
        assert_eq!(told("run.keep.newest"), "a.toml:1: run.keep.newest: is wrong");
        assert_eq!(told("policy"), "a.toml, b.toml: policy: is wrong");
        assert_eq!(told("."), "a.toml, b.toml: is wrong");
        // What takes the place of a list takes its lines as well.
        origins.add_override(&["phases".to_owned(), "rl".to_owned(), "data".to_owned()], "phases.rl.data=[]");
        let told = origins.told(fault("phases.rl.data[0].use", "is wrong")).to_string();
        assert_eq!(told, "override phases.rl.data=[]: phases.rl.data[0].use: is wrong");
    }
}
