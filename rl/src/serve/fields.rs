//! The fields of a request's body: their types and ranges, and what to say when they are wrong.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::fault::Fault;

/// Longest piece of a wrong value that is quoted back.
const LONGEST_QUOTE: usize = 60;

/// A JSON object. A field that is `null` counts as absent.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(object: &'a Map<String, Value>) -> Self {
        Self { object }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn number(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, Fault> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let wanted = format!("a number from {} to {}", range.start(), range.end());
            wrong(name, value, &wanted)
        })
    }

    pub(super) fn whole(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Fault> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_i64().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| {
            let wanted = format!("a whole number from {} to {}", range.start(), range.end());
            wrong(name, value, &wanted)
        })
    }

    /// A whole number from `least` up that counts something.
    pub(super) fn count(&self, name: &str, least: usize, most: usize) -> Result<Option<usize>, Fault> {
        let bound = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let whole = self.whole(name, bound(least)..=bound(most))?;
        Ok(whole.and_then(|whole| usize::try_from(whole).ok()))
    }

    /// Any 64-bit integer. A negative one stands for its two's complement: all that matters is that seeds differ.
    pub(super) fn seed(&self, name: &str) -> Result<Option<u64>, Fault> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let seed = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
        seed.map(Some).ok_or_else(|| wrong(name, value, "a whole number of at most 64 bits"))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| wrong(name, value, "a text"))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Fault> {
        let Some(value) = self.get(name) else { return Ok(false) };
        value.as_bool().ok_or_else(|| wrong(name, value, "true or false"))
    }

    pub(super) fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, Fault> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_object().map(Some).ok_or_else(|| wrong(name, value, "an object"))
    }

    /// A list of token ids of a vocabulary of so many.
    pub(super) fn ids(&self, name: &str, vocabulary: usize) -> Result<Vec<u32>, Fault> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let ids = value.as_array().and_then(|list| list.iter().map(|id| token_id(id, vocabulary)).collect());
        ids.ok_or_else(|| wrong(name, value, &format!("a list of token ids below {vocabulary}")))
    }
}

/// A token id of a vocabulary of so many.
pub(super) fn token_id(value: &Value, vocabulary: usize) -> Option<u32> {
    value.as_u64().filter(|id| *id < vocabulary as u64).and_then(|id| u32::try_from(id).ok())
}

/// A field that holds something else than what is wanted.
pub(super) fn wrong(param: &str, value: &Value, wanted: &str) -> Fault {
    let text = value.to_string();
    let mut quoted: String = text.chars().take(LONGEST_QUOTE).collect();
    if quoted.len() < text.len() {
        quoted.push_str("...");
    }
    Fault::field(param, format!("{quoted} is not {wanted}"))
}
