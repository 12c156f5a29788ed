//! Arithmetic: two numbers of one, two or three digits, added or subtracted, worked units first.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::{Dice, Difficulty, Draft, Frame, Language};

/// A sum or a difference.
pub(super) struct Sum {
    pub(super) a: u32,
    pub(super) b: u32,
    pub(super) plus: bool,
}

impl Sum {
    pub(super) fn any(difficulty: Difficulty, dice: &mut Dice) -> Self {
        let range = difficulty.choose(1..10, 1..100, 100..1000);
        let (a, b) = (dice.random_range(range.clone()), dice.random_range(range));
        let plus = dice.random();
        // Differences are never negative.
        if plus || a >= b { Self { a, b, plus } } else { Self { a: b, b: a, plus } }
    }

    pub(super) fn sign(&self) -> char {
        if self.plus { '+' } else { '-' }
    }

    pub(super) fn answer(&self) -> u32 {
        if self.plus { self.a + self.b } else { self.a - self.b }
    }

    /// Units first, then tens and hundreds with what was carried or borrowed: `7+8=15,4+3+1=8`, `12-8=4,5-3-1=1`.
    fn working(&self) -> String {
        let places = if self.a.max(self.b) < 100 { 2 } else { 3 };
        let mut carried = 0;
        let told = (0..places).map(|place| {
            let digit = |number: u32| number / 10_u32.pow(place) % 10;
            let (one, other) = (digit(self.a), digit(self.b));
            let shown = if place == 0 { String::new() } else { format!("{}{carried}", self.sign()) };
            if self.plus {
                let sum = one + other + carried;
                carried = sum / 10;
                format!("{one}+{other}{shown}={sum}")
            } else {
                let borrowed = u32::from(one < other + carried);
                let from = one + 10 * borrowed;
                let rest = from - other - carried;
                carried = borrowed;
                format!("{from}-{other}{shown}={rest}")
            }
        });
        told.collect::<Vec<_>>().join(",")
    }

    /// A sum and its mirror image are one question.
    fn content(&self) -> String {
        let swapped = self.plus && self.a > self.b;
        let (first, second) = if swapped { (self.b, self.a) } else { (self.a, self.b) };
        format!("arith:{first}{}{second}", self.sign())
    }

    /// The draft with its prompt: `provoke` asks the same question in other words.
    pub(super) fn draft(&self, prompt: String) -> Draft {
        Draft {
            content: self.content(),
            prompt,
            reward_kind: "number",
            ground_truth: self.answer().into(),
            working: self.working(),
            answer: self.answer().to_string(),
            facts: json!({"a": self.a, "op": self.sign().to_string(), "b": self.b}),
            columns: Map::new(),
            painting: None,
        }
    }
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let sum = Sum::any(frame.difficulty, dice);
    let text = format!("{}{}{}", sum.a, sum.sign(), sum.b);
    let prompt = match frame.language {
        Language::English => format!("What is {text}?"),
        Language::Chinese => format!("{text}等于多少？"),
    };
    sum.draft(prompt)
}

pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    let number = |key: &str| facts.get(key).and_then(Value::as_i64);
    let (Some(a), Some(b), Ok(said)) = (number("a"), number("b"), answer.parse::<i64>()) else { return false };
    match facts.get("op").and_then(Value::as_str) {
        Some("+") => said == a + b,
        Some("-") => said == a - b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_workings() {
        let line = |a, b, plus| Sum { a, b, plus }.working();
        assert_eq!(line(47, 38, true), "7+8=15,4+3+1=8");
        assert_eq!(line(97, 38, true), "7+8=15,9+3+1=13");
        assert_eq!(line(5, 2, true), "5+2=7,0+0+0=0");
        assert_eq!(line(52, 38, false), "12-8=4,5-3-1=1");
        assert_eq!(line(58, 32, false), "8-2=6,5-3-0=2");
        assert_eq!(line(968, 587, true), "8+7=15,6+8+1=15,9+5+1=15");
        assert_eq!(line(503, 148, false), "13-8=5,10-4-1=5,5-1-1=3");
    }

    /// Reads a worked line back: every equation holds, and the results give the answer.
    fn holds(line: &str, answer: u32) -> bool {
        let mut results = Vec::new();
        for equation in line.split(',') {
            let (terms, result) = equation.split_once('=').unwrap();
            let mut value = 0_i64;
            let mut rest = terms;
            let mut sign = 1;
            loop {
                let end = rest.find(['+', '-']).unwrap_or(rest.len());
                value += sign * rest[..end].parse::<i64>().unwrap();
                let Some(next) = rest[end..].chars().next() else { break };
                sign = if next == '+' { 1 } else { -1 };
                rest = &rest[end + 1..];
            }
            if value != result.parse::<i64>().unwrap() {
                return false;
            }
            results.push(value);
        }
        let last = results.pop().unwrap();
        let below = results.iter().rev().fold(0, |value, result| value * 10 + result % 10);
        last * 10_i64.pow(results.len() as u32) + below == i64::from(answer)
    }

    proptest! {
        #[test]
        fn every_worked_line_is_true(a in 0_u32..1000, b in 0_u32..1000, plus: bool) {
            let sum = if plus || a >= b { Sum { a, b, plus } } else { Sum { a: b, b: a, plus } };
            prop_assert!(holds(&sum.working(), sum.answer()), "{} for {}", sum.working(), sum.answer());
        }
    }
}
