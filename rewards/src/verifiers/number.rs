//! Numbers: exact comparison of integers and decimals, or with a tolerance.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::extract::{final_answer, plain};
use crate::kind::{Example, Verifier, answered};
use crate::reward::Item;
use crate::score::{FailureKind, PartScore};
use crate::text::shortened;

/// A decimal, exactly: `digits` without zeros around, times ten to the `exponent`. Zero has no digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

/// More digits than any answer has.
const MOST_DIGITS: usize = 4096;

impl Decimal {
    /// Reads `-1,234.50`, `+7`, `.5`, `1.5e3`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = plain(text.trim()).replace('\u{2212}', "-");
        if text.len() > MOST_DIGITS {
            return None;
        }
        let (negative, text) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, &text[..]),
        };
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?.into()),
            None => (text, 0_i64),
        };
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let whole = ungrouped(whole)?;
        if whole.len() + part.len() == 0 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = format!("{whole}{part}");
        let kept = digits.trim_end_matches('0');
        let exponent = exponent - part.len() as i64 + (digits.len() - kept.len()) as i64;
        let digits = kept.trim_start_matches('0').to_owned();
        let zero = digits.is_empty();
        Some(Self { negative: negative && !zero, exponent: if zero { 0 } else { exponent }, digits })
    }

    /// The nearest double; infinite when it is too large for one.
    pub fn to_f64(&self) -> f64 {
        let sign = if self.negative { "-" } else { "" };
        let digits = if self.digits.is_empty() { "0" } else { &self.digits };
        format!("{sign}{digits}e{}", self.exponent).parse().unwrap_or(f64::NAN)
    }
}

/// The digits without their commas, which must stand at thousands.
fn ungrouped(whole: &str) -> Option<String> {
    let mut groups = whole.split(',');
    let first = groups.next()?;
    let digits = |group: &str| group.bytes().all(|byte| byte.is_ascii_digit());
    let rest: Vec<&str> = groups.collect();
    let grouped = rest.is_empty() || (1..=3).contains(&first.len());
    (digits(first) && grouped && rest.iter().all(|group| group.len() == 3 && digits(group)))
        .then(|| format!("{first}{}", rest.concat()))
}

/// How far a numeric answer may be off; both add up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tolerance {
    /// In units of the answer.
    pub absolute: f64,
    /// As a fraction of the truth.
    pub relative: f64,
}

/// 1 when the final answer of `text` is the number `truth`, exactly or within `tolerance`.
pub fn score(truth: &Value, text: &str, tolerance: Tolerance) -> PartScore {
    let wanted = match truth {
        Value::Number(number) => Decimal::parse(&number.to_string()),
        Value::String(text) => Decimal::parse(text),
        _ => None,
    };
    let Some(wanted) = wanted else {
        return PartScore::failed(FailureKind::GroundTruth, format!("the ground truth {truth} is not a number"));
    };
    let said = final_answer(text);
    let shown = truth.as_str().map_or_else(|| truth.to_string(), str::to_owned);
    let Some(number) = Decimal::parse(&said) else {
        return PartScore::verdict(false, format!("`{}` is not a number", shortened(&said))).extracted(said);
    };
    let right = if tolerance == Tolerance::default() { number == wanted } else { near(&number, &wanted, tolerance) };
    PartScore::verdict(right, format!("{} {} {shown}", shortened(&said), if right { "=" } else { "is not" }))
        .extracted(said)
}

fn near(number: &Decimal, wanted: &Decimal, tolerance: Tolerance) -> bool {
    let (number_value, wanted_value) = (number.to_f64(), wanted.to_f64());
    let gap = (number_value - wanted_value).abs();
    number == wanted || gap.is_finite() && gap <= tolerance.absolute + tolerance.relative * wanted_value.abs()
}

/// An integer or decimal, exactly.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Number {}

impl Verifier for Number {
    const VERSION: &'static str = "number/2";

    fn score(&self, item: &Item<'_>) -> PartScore {
        answered(item, |truth, text| score(truth, text, Tolerance::default()))
    }

    fn example() -> Example {
        Example::new(85, "The answer is 85.0.", 1.0)
    }
}

/// A number within a tolerance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Numeric {
    /// In units of the answer.
    pub absolute_tolerance: f64,
    /// As a fraction of the truth; both tolerances add up.
    pub relative_tolerance: f64,
}

impl Verifier for Numeric {
    const VERSION: &'static str = "numeric/2";

    fn check(&self) -> Result<(), String> {
        for (key, value) in
            [("absolute_tolerance", self.absolute_tolerance), ("relative_tolerance", self.relative_tolerance)]
        {
            if !(value.is_finite() && value >= 0.0) {
                return Err(format!("{key} = {value}: it must be 0 or more"));
            }
        }
        Ok(())
    }

    fn score(&self, item: &Item<'_>) -> PartScore {
        let tolerance = Tolerance { absolute: self.absolute_tolerance, relative: self.relative_tolerance };
        answered(item, |truth, text| score(truth, text, tolerance))
    }

    fn example() -> Example {
        Example::new(2.5, "2.50", 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn right(truth: Value, text: &str) -> bool {
        score(&truth, text, Tolerance::default()).outcome.value() == Some(1.0)
    }

    #[test]
    fn numbers_are_compared_exactly() {
        for text in
            ["85", " 85 ", "85.0", "+85", "８５", "\\boxed{85}", "<answer>85</answer>", "The answer is 85.", "8.5e1"]
        {
            assert!(right(json!(85), text), "{text}");
        }
        for text in [
            "",
            "850",
            "8,5",
            "3 or 85",
            "not 85",
            "between 84 and 86",
            "x = 85 or 86",
            "NaN",
            "inf",
            "1e309",
            "eighty-five",
            "85 85",
            "\\boxed{}",
        ] {
            assert!(!right(json!(85), text), "{text}");
        }
        assert!(right(json!(-3), "\u{2212}3"));
        assert!(right(json!("9007199254740993"), "9,007,199,254,740,993"));
        assert!(!right(json!("9007199254740993"), "9007199254740992"));
        assert!(right(json!(0), "-0.00"));
        assert!(right(json!(0.1), "0.10"));
        assert!(score(&json!(null), "1", Tolerance::default()).outcome.value().is_none());
    }

    #[test]
    fn tolerances_add_up() {
        let near = |text: &str, absolute, relative| {
            score(&json!(200), text, Tolerance { absolute, relative }).outcome.value() == Some(1.0)
        };
        assert!(near("201", 1.0, 0.0) && !near("201.5", 1.0, 0.0));
        assert!(near("204", 0.0, 0.02) && !near("205", 0.0, 0.02));
        assert!(!near("1e400", 1.0, 1.0) && !near("nan", 1.0, 1.0));
    }

    proptest! {
        #[test]
        fn a_number_equals_itself_alone(a in any::<i64>(), b in any::<i64>(), text in "\\PC{0,40}") {
            prop_assert!(right(json!(a), &a.to_string()));
            prop_assert_eq!(right(json!(a), &b.to_string()), a == b);
            let _ = right(json!(a), &text);
        }
    }
}
