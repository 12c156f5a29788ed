//! Values that functions give and that tests expect, by type: `True` is not 1, and 1 is not 1.0.

use std::collections::BTreeMap;
use std::fmt;

use dashu::integer::IBig;
use serde_json::Value;

/// What stands for a whole number that is too long for JSON as it is read here.
const LONG: &str = "\u{0}long";
/// Whole numbers of so many characters are always read exactly.
const SHORT: usize = 18;
/// The longest whole number that is compared, in characters.
const LONGEST: usize = 1 << 18;

/// A value with its type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    None,
    Bool(bool),
    Int(IBig),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

impl Data {
    /// A value of JSON.
    ///
    /// # Errors
    /// When a whole number was rounded when it was read.
    pub(super) fn of(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::Null => Self::None,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), ..) => Self::Int(number.into()),
                (_, Some(number), _) => Self::Int(number.into()),
                (_, _, Some(number)) => Self::Float(number),
                _ => return Err(format!("{number} is not a number that can be compared")),
            },
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(list) => Self::List(list.iter().map(Self::of).collect::<Result<_, _>>()?),
            Value::Object(map) => match map.get(LONG).and_then(Value::as_str) {
                Some(digits) => Self::Int(digits.parse().map_err(|_| format!("{digits} is not a whole number"))?),
                None => Self::Map(
                    map.iter().map(|(key, one)| Ok((key.clone(), Self::of(one)?))).collect::<Result<_, String>>()?,
                ),
            },
        })
    }

    /// A value of JSON as text, whole numbers of any length exactly.
    ///
    /// # Errors
    /// When it is no JSON.
    pub(super) fn exact(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(&marked(text)).map_err(|error| error.to_string())?;
        Self::of(&value)
    }

    /// What the harness says.
    pub(super) fn typed(value: &Value) -> Option<Self> {
        let fields = value.as_array()?;
        let kind = fields.first()?.as_str()?;
        if kind == "n" && fields.len() == 1 {
            return Some(Self::None);
        }
        let [_, value] = fields.as_slice() else { return None };
        Some(match kind {
            "b" => Self::Bool(value.as_bool()?),
            "i" => Self::Int(whole(value.as_str()?)?),
            "f" => Self::Float(float(value.as_str()?)?),
            "s" => Self::Text(value.as_str()?.to_owned()),
            "l" => Self::List(value.as_array()?.iter().map(Self::typed).collect::<Option<_>>()?),
            "d" => {
                let mut map = BTreeMap::new();
                for pair in value.as_array()? {
                    let [key, one] = pair.as_array()?.as_slice() else { return None };
                    // A key that is no text equals no key of JSON.
                    let key = match Self::typed(key)? {
                        Self::Text(key) => key,
                        other => format!("{LONG}{other:?}"),
                    };
                    map.insert(key, Self::typed(one)?);
                }
                Self::Map(map)
            }
            _ => return None,
        })
    }

    /// Whether `got` is this expected value. With a tolerance, a whole number is as good as a float where a float is
    /// expected, and it may be off by the tolerance, absolutely or relatively.
    pub(super) fn accepts(&self, got: &Self, tolerance: Option<f64>) -> bool {
        match (self, got) {
            (Self::Float(wanted), Self::Float(got)) => near(*wanted, *got, tolerance),
            (Self::Float(wanted), Self::Int(got)) if tolerance.is_some() => {
                near(*wanted, got.to_f64().value(), tolerance)
            }
            (Self::List(wanted), Self::List(got)) => {
                wanted.len() == got.len() && wanted.iter().zip(got).all(|(wanted, got)| wanted.accepts(got, tolerance))
            }
            (Self::Map(wanted), Self::Map(got)) => {
                wanted.len() == got.len()
                    && wanted.iter().all(|(key, wanted)| got.get(key).is_some_and(|got| wanted.accepts(got, tolerance)))
            }
            (wanted, got) => wanted == got,
        }
    }
}

impl fmt::Display for Data {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => to.write_str("null"),
            Self::Bool(value) => write!(to, "{value}"),
            Self::Int(value) => write!(to, "{value}"),
            Self::Float(value) => write!(to, "{value:?}"),
            Self::Text(text) => write!(to, "{text:?}"),
            Self::List(list) => {
                to.write_str("[")?;
                for (at, one) in list.iter().enumerate() {
                    write!(to, "{}{one}", if at == 0 { "" } else { ", " })?;
                }
                to.write_str("]")
            }
            Self::Map(map) => {
                to.write_str("{")?;
                for (at, (key, one)) in map.iter().enumerate() {
                    write!(to, "{}{key:?}: {one}", if at == 0 { "" } else { ", " })?;
                }
                to.write_str("}")
            }
        }
    }
}

/// Whether two floats are the same, or near enough.
pub(super) fn near(wanted: f64, got: f64, tolerance: Option<f64>) -> bool {
    wanted == got || tolerance.is_some_and(|tolerance| (wanted - got).abs() <= tolerance.max(tolerance * wanted.abs()))
}

/// A whole number as Python's `hex` writes it.
fn whole(text: &str) -> Option<IBig> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let digits = digits.strip_prefix("0x").filter(|digits| digits.len() <= LONGEST)?;
    IBig::from_str_radix(&format!("{sign}{digits}"), 16).ok()
}

/// A float as Python's `float.hex` writes it, exactly.
fn float(text: &str) -> Option<f64> {
    let (sign, text) = text.strip_prefix('-').map_or((1.0, text), |text| (-1.0, text));
    if matches!(text, "inf" | "nan") {
        return text.parse::<f64>().ok().map(|value| sign * value);
    }
    let (digits, exponent) = text.strip_prefix("0x")?.split_once('p')?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let bits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()?;
    let exponent = exponent.parse::<i32>().ok()? - 4 * i32::try_from(fraction.len()).ok()?;
    // In two steps, since the power alone may be too small for a float.
    Some(sign * bits as f64 * 2_f64.powi(exponent / 2) * 2_f64.powi(exponent - exponent / 2))
}

/// JSON with its long whole numbers put into objects, outside of texts.
fn marked(text: &str) -> String {
    let mut marked = String::with_capacity(text.len());
    let (mut quoted, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let number = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.bytes().take_while(|byte| number(*byte)).count();
        if !quoted && length > 0 {
            let (digits, after) = rest.split_at(length);
            let long = digits.len() > SHORT && digits.len() <= LONGEST && !digits.contains(['.', 'e', 'E', '+']);
            let plain = digits.trim_start_matches('-');
            if long && !plain.starts_with('0') {
                marked.push_str(&serde_json::json!({LONG: digits}).to_string());
            } else {
                marked.push_str(digits);
            }
            rest = after;
            continue;
        }
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        marked.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    marked
}

/// Whether a whole output is the expected one, which is the reason when it is not.
///
/// Lines end with `\n` or `\r\n`; spaces at the end of a line and blank lines at the end do not count; everything else
/// does. With a tolerance, words that are numbers on both sides may differ by it, and the number of lines and of words
/// in each must be the same.
pub(super) fn same_output(wanted: &str, got: &str, tolerance: Option<f64>) -> bool {
    let lines =
        |text: &str| -> Vec<String> { text.trim_end().split('\n').map(|line| line.trim_end().to_owned()).collect() };
    let (wanted, got) = (lines(wanted), lines(got));
    wanted.len() == got.len()
        && wanted
            .iter()
            .zip(&got)
            .all(|(wanted, got)| wanted == got || tolerance.is_some() && same_words(wanted, got, tolerance))
}

fn same_words(wanted: &str, got: &str, tolerance: Option<f64>) -> bool {
    let (wanted, got): (Vec<&str>, Vec<&str>) = (wanted.split_whitespace().collect(), got.split_whitespace().collect());
    let number = |word: &str| word.parse::<f64>().ok().filter(|value| value.is_finite());
    let same = |(wanted, got): (&&str, &&str)| {
        wanted == got || number(wanted).zip(number(got)).is_some_and(|(wanted, got)| near(wanted, got, tolerance))
    };
    wanted.len() == got.len() && wanted.iter().zip(&got).all(same)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn typed(text: &str) -> Data {
        Data::typed(&serde_json::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn types_and_values_count() {
        let accepts = |wanted: Value, got: &str, tolerance| Data::of(&wanted).unwrap().accepts(&typed(got), tolerance);
        assert!(accepts(json!(1), r#"["i","0x1"]"#, None));
        assert!(accepts(json!(-255), r#"["i","-0xff"]"#, None));
        for other in
            [r#"["b",true]"#, r#"["f","0x1.0000000000000p+0"]"#, r#"["s","1"]"#, r#"["n"]"#, r#"["l",[["i","0x1"]]]"#]
        {
            assert!(!accepts(json!(1), other, None), "{other}");
            assert!(!accepts(json!(1), other, Some(0.1)), "{other}");
        }
        assert!(accepts(json!(true), r#"["b",true]"#, None) && !accepts(json!(true), r#"["i","0x1"]"#, None));
        assert!(
            accepts(json!(1.0), r#"["f","0x1.0000000000000p+0"]"#, None)
                && !accepts(json!(1.0), r#"["i","0x1"]"#, None)
        );
        assert!(accepts(json!(1.0), r#"["i","0x1"]"#, Some(1e-9)) && !accepts(json!(1.0), r#"["b",true]"#, Some(1.0)));
        assert!(accepts(json!([1, {"a": null}]), r#"["l",[["i","0x1"],["d",[[["s","a"],["n"]]]]]]"#, None));
        assert!(!accepts(json!({"1": 2}), r#"["d",[[["i","0x1"],["i","0x2"]]]]"#, None));
        assert!(!accepts(json!(1e308), r#"["f","nan"]"#, Some(1.0)));
    }

    #[test]
    fn floats_are_read_exactly() {
        for (text, wanted) in [
            ("0x1.999999999999ap-4", 0.1),
            ("-0x1.8000000000000p+1", -3.0),
            ("0x0.0p+0", 0.0),
            ("0x1.fffffffffffffp+1023", f64::MAX),
            ("0x0.0000000000001p-1022", 5e-324),
            ("0x1.0000000000000p-1022", f64::MIN_POSITIVE),
        ] {
            assert_eq!(float(text), Some(wanted), "{text}");
        }
        assert!(float("nan").unwrap().is_nan() && float("-inf") == Some(f64::NEG_INFINITY));
    }

    #[test]
    fn long_whole_numbers_are_exact() {
        let long = "1".repeat(400);
        let near = format!("{}2", "1".repeat(399));
        let exact = |text: &str| Data::exact(text).unwrap();
        assert_ne!(exact(&long), exact(&near));
        assert_eq!(exact(&format!("[-{long}, \"{long}\", 1.5, {{\"a\": 2e3}}]")), {
            let Data::Int(value) = exact(&long) else { panic!() };
            let map = BTreeMap::from([("a".to_owned(), Data::Float(2000.0))]);
            Data::List(vec![Data::Int(-value), Data::Text(long.clone()), Data::Float(1.5), Data::Map(map)])
        });
        assert_eq!(exact("1180591620717411303424"), typed(r#"["i","0x400000000000000000"]"#));
        assert!(Data::exact("[1").is_err() && Data::exact(&format!("0{long}")).is_err());
    }

    #[test]
    fn outputs_are_compared_whole() {
        let same = |wanted, got| same_output(wanted, got, None);
        assert!(same("1\n2\n", "1\n2") && same("1\n2", "1 \r\n2\t\n\n"));
        for got in ["", "1", "1\n2\n3", "1\n\n2", " 1\n2", "1 2", "2\n1"] {
            assert!(!same("1\n2\n", got), "{got}");
        }
        assert!(!same("0.5", "0.50") && same_output("x 0.5", "x  0.5000001", Some(1e-6)));
        assert!(!same_output("0.5 1", "0.5", Some(1e-6)) && !same_output("nan", "1", Some(1.0)));
    }
}
