//! Programs with hidden tests: a Python function that keeps some numbers of a list, changes them and sums them up.

use rand::RngExt;
use serde_json::{Map, Value, json};

use super::dice::seeded;
use super::{Dice, Difficulty, Draft, Frame, Language, pick};

/// What is done to a list, one step after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Divisible(i64),
    Above(i64),
    Below(i64),
    Add(i64),
    Times(i64),
    Square,
}

/// What is given back at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Sum,
    /// 0 of an empty list.
    Largest,
    Smallest,
    Reversed,
    Descending,
    Spread,
}

impl Stage {
    fn filter(dice: &mut Dice) -> Self {
        match dice.random_range(0..3) {
            0 => Self::Divisible(dice.random_range(2..=9)),
            1 => Self::Above(dice.random_range(-5..=15)),
            _ => Self::Below(dice.random_range(-5..=15)),
        }
    }

    fn change(dice: &mut Dice) -> Self {
        match dice.random_range(0..5) {
            0..=1 => Self::Add(dice.random_range(1..=9)),
            2..=3 => Self::Times(dice.random_range(2..=9)),
            _ => Self::Square,
        }
    }

    fn apply(self, numbers: Vec<i64>) -> Vec<i64> {
        let keep = |holds: &dyn Fn(i64) -> bool| numbers.iter().copied().filter(|&x| holds(x)).collect();
        match self {
            Self::Divisible(by) => keep(&|x| x % by == 0),
            Self::Above(least) => keep(&|x| x > least),
            Self::Below(most) => keep(&|x| x < most),
            Self::Add(more) => numbers.into_iter().map(|x| x + more).collect(),
            Self::Times(by) => numbers.into_iter().map(|x| x * by).collect(),
            Self::Square => numbers.into_iter().map(|x| x * x).collect(),
        }
    }

    /// The list comprehension.
    fn python(self) -> String {
        match self {
            Self::Divisible(by) => format!("[x for x in xs if x % {by} == 0]"),
            Self::Above(least) => format!("[x for x in xs if x > {least}]"),
            Self::Below(most) => format!("[x for x in xs if x < {most}]"),
            Self::Add(more) => format!("[x + {more} for x in xs]"),
            Self::Times(by) => format!("[x * {by} for x in xs]"),
            Self::Square => "[x * x for x in xs]".to_owned(),
        }
    }

    fn words(self, language: Language) -> String {
        let (english, chinese) = match self {
            Self::Divisible(by) => (format!("keep those divisible by {by}"), format!("保留能被{by}整除的数")),
            Self::Above(least) => (format!("keep those above {least}"), format!("保留大于{least}的数")),
            Self::Below(most) => (format!("keep those below {most}"), format!("保留小于{most}的数")),
            Self::Add(more) => (format!("add {more} to each"), format!("每个数加{more}")),
            Self::Times(by) => (format!("multiply each by {by}"), format!("每个数乘以{by}")),
            Self::Square => ("square each".to_owned(), "每个数取平方".to_owned()),
        };
        language.choose(english, chinese)
    }
}

impl End {
    const ALL: [Self; 6] = [Self::Sum, Self::Largest, Self::Smallest, Self::Reversed, Self::Descending, Self::Spread];

    fn apply(self, mut numbers: Vec<i64>) -> Value {
        let (least, most) = (numbers.iter().min().copied(), numbers.iter().max().copied());
        match self {
            Self::Sum => numbers.iter().sum::<i64>().into(),
            Self::Largest => most.unwrap_or_default().into(),
            Self::Smallest => least.unwrap_or_default().into(),
            Self::Reversed => {
                numbers.reverse();
                numbers.into()
            }
            Self::Descending => {
                numbers.sort_unstable_by(|a, b| b.cmp(a));
                numbers.into()
            }
            Self::Spread => (most.unwrap_or_default() - least.unwrap_or_default()).into(),
        }
    }

    fn python(self) -> &'static str {
        match self {
            Self::Sum => "sum(xs)",
            Self::Largest => "max(xs, default=0)",
            Self::Smallest => "min(xs, default=0)",
            Self::Reversed => "xs[::-1]",
            Self::Descending => "sorted(xs, reverse=True)",
            Self::Spread => "max(xs, default=0) - min(xs, default=0)",
        }
    }

    fn words(self, language: Language) -> &'static str {
        let (english, chinese) = match self {
            Self::Sum => ("their sum", "它们的和"),
            Self::Largest => ("the largest, or 0 if none is left", "最大的数，没有则返回0"),
            Self::Smallest => ("the smallest, or 0 if none is left", "最小的数，没有则返回0"),
            Self::Reversed => ("them as a list in reverse order", "倒序的列表"),
            Self::Descending => ("them as a list from largest to smallest", "从大到小排好的列表"),
            Self::Spread => ("the largest less the smallest, or 0 if none is left", "最大数减最小数，没有则返回0"),
        };
        language.choose(english, chinese)
    }
}

/// A function of a list of whole numbers.
struct Function {
    stages: Vec<Stage>,
    end: End,
}

impl Function {
    fn any(difficulty: Difficulty, dice: &mut Dice) -> Self {
        let kinds: &[bool] = difficulty.choose(&[true], &[true, false], &[true, false, true, false]);
        loop {
            let mut stage = |filters: &bool| if *filters { Stage::filter(dice) } else { Stage::change(dice) };
            let stages = kinds.iter().map(&mut stage).collect();
            let function = Self { stages, end: pick(dice, &End::ALL) };
            if function.is_told_by_its_tests() {
                return function;
            }
        }
    }

    /// Whether the tests find out a function that leaves a step out or ends in another way, or gives always the same.
    fn is_told_by_its_tests(&self) -> bool {
        let lists = self.lists();
        let results = |function: &Self| lists.iter().map(|list| function.call(list)).collect::<Vec<_>>();
        let right = results(self);
        let without = (0..self.stages.len()).map(|place| {
            let mut stages = self.stages.clone();
            stages.remove(place);
            Self { stages, end: self.end }
        });
        let ended = End::ALL.into_iter().filter(|end| *end != self.end);
        let ended = ended.map(|end| Self { stages: self.stages.clone(), end });
        let found = without.chain(ended).all(|wrong| results(&wrong) != right);
        let different = right.iter().enumerate().filter(|(at, result)| !right[..*at].contains(result)).count();
        found && different >= 4
    }

    fn call(&self, numbers: &[i64]) -> Value {
        self.end.apply(self.stages.iter().fold(numbers.to_vec(), |numbers, stage| stage.apply(numbers)))
    }

    fn python(&self) -> String {
        let lines: Vec<String> = self.stages.iter().map(|stage| format!("    xs = {}\n", stage.python())).collect();
        format!("def f(xs):\n{}    return {}\n", lines.concat(), self.end.python())
    }

    fn prompt(&self, language: Language) -> String {
        let steps: Vec<String> = self.stages.iter().map(|stage| stage.words(language)).collect();
        let end = self.end.words(language);
        match language {
            Language::English => format!(
                "Write a Python function f(xs). Of the whole numbers in the list xs: {}. Return {end}.",
                steps.join(", then ")
            ),
            Language::Chinese => {
                format!("写一个Python函数f(xs)。对列表xs中的整数：{}。返回{end}。", steps.join("，再"))
            }
        }
    }

    /// Lists that only the question decides, so that the same question always has the same tests. The list without
    /// numbers is one of them.
    fn lists(&self) -> Vec<Vec<i64>> {
        let mut dice = seeded(&self.python());
        let lengths = [0, 5, 8, 12, 16];
        lengths.map(|length| (0..length).map(|_| dice.random_range(-20..=40)).collect()).to_vec()
    }

    fn tests(&self) -> Vec<Value> {
        self.lists().iter().map(|list| json!({"args": [list], "expected": self.call(list)})).collect()
    }
}

fn fenced(program: &str) -> String {
    format!("```python\n{program}```")
}

pub(super) fn draw(frame: Frame, dice: &mut Dice) -> Draft {
    let function = Function::any(frame.difficulty, dice);
    let program = function.python();
    let steps: Vec<String> = function.stages.iter().map(|stage| stage.words(frame.language)).collect();
    Draft {
        content: format!("program:{program}"),
        prompt: function.prompt(frame.language),
        reward_kind: "code",
        ground_truth: json!({"entry_point": "f", "tests": function.tests()}),
        working: steps.join(frame.language.choose(", ", "，")),
        answer: fenced(&program),
        facts: json!({"program": program}),
        columns: Map::new(),
        painting: None,
    }
}

/// Whether it is the very program of the demonstration: nothing is run here. The tests are for a reward of the kind
/// `code`, which finds any program right that passes them.
pub(super) fn is_correct(facts: &Value, answer: &str) -> bool {
    facts.get("program").and_then(Value::as_str).is_some_and(|program| answer == fenced(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function() -> Function {
        Function { stages: vec![Stage::Divisible(3), Stage::Add(2)], end: End::Descending }
    }

    #[test]
    fn golden_program() {
        let python = "def f(xs):\n    xs = [x for x in xs if x % 3 == 0]\n    xs = [x + 2 for x in xs]\n    return sorted(xs, reverse=True)\n";
        assert_eq!(function().python(), python);
        assert_eq!(function().call(&[3, -6, 4, 9]), json!([11, 5, -4]));
        assert_eq!(
            function().prompt(Language::English),
            "Write a Python function f(xs). Of the whole numbers in the list xs: keep those divisible by 3, then add 2 \
             to each. Return them as a list from largest to smallest."
        );
    }

    #[test]
    fn ends_of_nothing_are_told() {
        let ends = End::ALL.map(|end| end.apply(Vec::new()));
        assert_eq!(ends, [json!(0), json!(0), json!(0), json!([]), json!([]), json!(0)]);
        assert_eq!(End::Spread.apply(vec![4, -2, 9]), json!(11));
    }

    #[test]
    fn functions_that_their_tests_cannot_tell_apart_are_not_asked_for() {
        assert!(function().is_told_by_its_tests());
        // What is above 5 is above 2, and nothing below 1 is left.
        let vain = Function { stages: vec![Stage::Above(5), Stage::Above(2)], end: End::Sum };
        assert!(!vain.is_told_by_its_tests());
        let nothing = Function { stages: vec![Stage::Above(5), Stage::Below(1)], end: End::Reversed };
        assert!(!nothing.is_told_by_its_tests());
    }

    #[test]
    fn tests_depend_on_the_question_alone() {
        assert_eq!(function().tests(), function().tests());
        assert_eq!(function().tests().len(), 5);
        assert_eq!(function().tests()[0], json!({"args": [[]], "expected": []}));
    }
}
