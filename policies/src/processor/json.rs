//! The template filter `tojson`: JSON as Python writes it, of bounded depth and length.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Lists and objects within each other at most.
const MOST_DEPTH: usize = 128;
/// Bytes of one text at most.
const MOST_BYTES: usize = 1 << 24;
/// Blanks of one indentation at most.
const MOST_INDENT: usize = 16;

/// How JSON is laid out.
struct Layout {
    indent: Option<usize>,
    ascii: bool,
    sorted: bool,
    between: String,
    after_key: String,
}

/// `", "` and `": "` unless `separators` says else, nothing escaped for HTML, non-ASCII kept unless `ensure_ascii`;
/// `indent` and `sort_keys` as in Python.
pub(super) fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let ascii: Option<bool> = options.get("ensure_ascii")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let (between, after_key) = match separators.as_deref() {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some([between, after_key]) => (between.clone(), after_key.clone()),
        Some(_) => return Err(failed("`separators` holds two texts")),
    };
    let layout = Layout {
        indent: indent.map(|indent| indent.min(MOST_INDENT)),
        ascii: ascii == Some(true),
        sorted: sorted == Some(true),
        between,
        after_key,
    };
    let mut out = String::new();
    layout.write(value, 0, &mut out)?;
    Ok(Value::from_safe_string(out))
}

fn failed(reason: &'static str) -> Error {
    Error::new(ErrorKind::BadSerialization, reason)
}

impl Layout {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        if depth > MOST_DEPTH {
            return Err(failed("`tojson` was given lists within lists, too deep"));
        }
        if out.len() > MOST_BYTES {
            return Err(failed("`tojson` makes a text that is too long"));
        }
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value)),
            ValueKind::String => self.text(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?;
                self.list(items, ['[', ']'], depth, out, |item, out| self.write(&item, depth + 1, out))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort_by_key(ToString::to_string);
                }
                self.list(keys.into_iter(), ['{', '}'], depth, out, |key, out| {
                    self.text(&key_text(&key), out);
                    out.push_str(&self.after_key);
                    self.write(&value.get_item(&key)?, depth + 1, out)
                })?;
            }
            _ => return Err(failed("`tojson` was given what has no JSON form")),
        }
        Ok(())
    }

    fn list(
        &self,
        items: impl Iterator<Item = Value>,
        [open, close]: [char; 2],
        depth: usize,
        out: &mut String,
        mut item: impl FnMut(Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |depth: usize, out: &mut String| {
            if let Some(indent) = self.indent {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent * depth));
            }
        };
        out.push(open);
        let mut empty = true;
        for value in items {
            if !empty {
                out.push_str(&self.between);
            }
            empty = false;
            line(depth + 1, out);
            item(value, out)?;
        }
        if !empty {
            line(depth, out);
        }
        out.push(close);
        Ok(())
    }

    fn text(&self, text: &str, out: &mut String) {
        let quoted = serde_json::Value::from(text).to_string();
        if !self.ascii {
            out.push_str(&quoted);
            return;
        }
        for unit in quoted.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => out.push(char::from(byte)),
                _ => out.push_str(&format!("\\u{unit:04x}")),
            }
        }
    }
}

/// Keys that are no text become one, as in Python.
fn key_text(key: &Value) -> String {
    match key.kind() {
        ValueKind::None | ValueKind::Undefined => "null".to_owned(),
        ValueKind::Number => number(key),
        _ => key.to_string(),
    }
}

/// A number as Python writes it: floats keep a point or an exponent of two digits.
fn number(value: &Value) -> String {
    let float = f64::try_from(value.clone()).ok().filter(|_| !value.is_integer());
    let Some(float) = float else { return value.to_string() };
    if !float.is_finite() {
        return if float.is_nan() {
            "NaN"
        } else if float > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    if float == 0.0 || (1e-4..1e16).contains(&float.abs()) {
        return format!("{float:?}");
    }
    let text = format!("{float:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_pythons() {
        let texts = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (-2.5e300, "-2.5e+300"),
        ];
        for (float, text) in texts {
            assert_eq!(number(&Value::from(float)), text);
        }
        assert_eq!(number(&Value::from(-12)), "-12");
    }
}
