//! The parameters of a constraint, read strictly: what is missing or of another type is a fault of the data.

use serde_json::{Map, Value};

/// The parameters as they stand in the data.
#[derive(Clone, Copy)]
pub(super) struct Parameters<'q>(pub(super) &'q Map<String, Value>);

impl<'q> Parameters<'q> {
    fn get(&self, key: &str) -> Option<&'q Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// A text that is not blank.
    pub(super) fn text(&self, key: &str) -> Result<&'q str, String> {
        let text = self.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        text.ok_or_else(|| format!("`{key}` must be a text"))
    }

    /// A text, or nothing when it is left out.
    pub(super) fn text_or(&self, key: &str, default: &'q str) -> Result<&'q str, String> {
        if self.get(key).is_some() { self.text(key) } else { Ok(default) }
    }

    /// A list of texts, not empty.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<&'q str>, String> {
        let texts: Option<Vec<&str>> =
            self.get(key).and_then(Value::as_array).and_then(|items| items.iter().map(Value::as_str).collect());
        let texts = texts.filter(|texts| !texts.is_empty() && texts.iter().all(|text| !text.trim().is_empty()));
        texts.ok_or_else(|| format!("`{key}` must be a list of texts"))
    }

    /// A whole number.
    pub(super) fn count(&self, key: &str) -> Result<usize, String> {
        // Floats come from tables, which know no whole numbers beside blanks.
        let whole = |value: &Value| {
            value.as_u64().or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64))
        };
        let count = self.get(key).and_then(whole).and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| format!("`{key}` must be a whole number"))
    }

    /// A whole number, or `default` when it is left out.
    pub(super) fn count_or(&self, key: &str, default: usize) -> Result<usize, String> {
        if self.get(key).is_some() { self.count(key) } else { Ok(default) }
    }

    /// How many there may be of something: `key` holds the number, `relation_key` the relation.
    pub(super) fn bound(&self, key: &str, relation_key: &str, default: Relation) -> Result<Bound, String> {
        let relation = match self.get(relation_key) {
            None => default,
            Some(value) => match value.as_str() {
                Some("at least") => Relation::AtLeast,
                Some("more than") => Relation::MoreThan,
                Some("less than") => Relation::LessThan,
                Some("at most") => Relation::AtMost,
                Some("exactly") => Relation::Exactly,
                _ => {
                    let known = "at least, more than, less than, at most, exactly";
                    return Err(format!("`{relation_key}` is {value}; known are {known}"));
                }
            },
        };
        Ok(Bound { relation, count: self.count(key)? })
    }
}

/// How a number stands to its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    AtLeast,
    MoreThan,
    LessThan,
    AtMost,
    Exactly,
}

/// A bound on a number of things.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    relation: Relation,
    count: usize,
}

impl Bound {
    pub(super) fn holds(self, found: usize) -> bool {
        self.holds_for(found, found)
    }

    /// With `honest`, what is left without padding, against lower bounds, and `all` against upper ones.
    pub(super) fn holds_for(self, honest: usize, all: usize) -> bool {
        match self.relation {
            Relation::AtLeast => honest >= self.count,
            Relation::MoreThan => honest > self.count,
            Relation::LessThan => all < self.count,
            Relation::AtMost => all <= self.count,
            Relation::Exactly => honest == self.count && all == self.count,
        }
    }
}
