//! Rules on a query itself that need no judge: what cannot be verified, what asks several things, what speaks of a picture
//! that is not there.

use std::sync::LazyLock;

use regex::Regex;
use sapo_datasets::Query;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A ground truth of more words than this is a text to be written, not an answer to be found.
const LONGEST_ANSWER_WORDS: usize = 25;
/// The same for scripts without spaces between words, in letters.
const LONGEST_ANSWER_LETTERS: usize = 60;

/// A rule on a query itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueryRule {
    /// There is no ground truth, or it is empty.
    NoGroundTruth,
    /// The query's own rubric cannot read the ground truth.
    UnreadableGroundTruth,
    /// The ground truth is a text of many words: there is no one right answer.
    FreeGeneration,
    /// It asks several questions at once.
    SeveralQuestions,
    /// It speaks of a picture, and has none.
    MissingPicture,
}

impl QueryRule {
    /// Why the rule drops the query; `None` when it does not, and for the rule that only a rubric can apply.
    pub fn objection(self, query: &Query) -> Option<String> {
        match self {
            Self::NoGroundTruth => no_ground_truth(query),
            Self::UnreadableGroundTruth => None,
            Self::FreeGeneration => free_generation(query),
            Self::SeveralQuestions => several_questions(&query.question()),
            Self::MissingPicture => missing_picture(query),
        }
    }
}

fn no_ground_truth(query: &Query) -> Option<String> {
    let is_empty = match &query.ground_truth {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => false,
    };
    is_empty.then(|| "there is no ground truth".to_owned())
}

fn free_generation(query: &Query) -> Option<String> {
    let Some(Value::String(text)) = &query.ground_truth else { return None };
    // Formulas, lists and tables of an answer have few words of letters alone.
    let is_word = |word: &&str| {
        let letters = word.chars().filter(|letter| letter.is_alphabetic()).count();
        letters > 1 && word.chars().all(|letter| letter.is_alphabetic() || ".,;:!?'\"()-".contains(letter))
    };
    let words = text.split_whitespace().filter(is_word).count();
    let letters =
        text.chars().filter(|letter| matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}')).count();
    (words > LONGEST_ANSWER_WORDS || letters > LONGEST_ANSWER_LETTERS)
        .then(|| format!("the ground truth is a text of {} words", words.max(letters)))
}

/// Marks of parts that each ask something: `(a) Find ...`, `2. What is ...`.
static ASKING_PART: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let mark = r"(?:\(?(?:[a-e]|[1-9]|i{1,3}|iv)[.)]|\((?:[a-e]|[1-9]|i{1,3}|iv)\))";
    let asks = "find|what|which|how|when|where|who|why|is|are|does|do|can|calculate|compute|determine|show|prove|explain|\
                describe|give|state|write|list|name|solve|evaluate|estimate|sketch|draw";
    Regex::new(&format!(r"(?im)(?:^|\s){mark}\s*(?:{asks})\b")).ok()
});

fn several_questions(question: &str) -> Option<String> {
    let parts = ASKING_PART.as_ref().map_or(0, |marks| marks.find_iter(question).count());
    // A mark of its own sentence: doubled marks, and marks within a formula or quotation, are none.
    let marks = question.char_indices().filter(|(at, letter)| {
        let next = question[at + letter.len_utf8()..].chars().next();
        match letter {
            '?' => next.is_none_or(char::is_whitespace),
            '\u{ff1f}' => next != Some('\u{ff1f}'),
            _ => false,
        }
    });
    let marks = marks.count();
    match (parts, marks) {
        (2.., _) => Some(format!("it asks {parts} things, each with a mark of its own")),
        (_, 2..) => Some(format!("it asks {marks} questions")),
        _ => None,
    }
}

/// What speaks of a picture that must be seen.
static PICTURE_WORDS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let thing = "(?:figure|picture|image|diagram|photo(?:graph)?|graph|chart|map|drawing|screenshot|illustration)";
    Regex::new(&format!(
        r"(?ix) \b(?: (?:shown|seen|given|depicted|illustrated|drawn|displayed|pictured)\ (?:in|on|by)\ (?:the|this)\ {thing}
            | in\ the\ (?:attached|accompanying|adjacent|following|given|above)\ {thing}
            | (?:the|this)\ {thing}\ (?:below|above|shows|depicts|on\ the\ right|on\ the\ left)
            | (?:in|from|of)\ (?:the|this)\ (?:picture|image|diagram|photo(?:graph)?|screenshot)
            | as\ (?:shown|seen)\ (?:below|above) )\b
          | 如图 | 图中 | 下图 | 上图 | 图片 | 图示"
    ))
    .ok()
});

fn missing_picture(query: &Query) -> Option<String> {
    if !query.images.is_empty() || !query.videos.is_empty() {
        return None;
    }
    let question = query.question();
    let found = PICTURE_WORDS.as_ref()?.find(&question)?;
    Some(format!("it speaks of a picture (`{}`), and has none", found.as_str()))
}

#[cfg(test)]
mod tests {
    use sapo_datasets::{Message, Part, Role, Split, Task, synthetic};
    use serde_json::json;

    use super::*;

    fn query(question: &str, truth: Value) -> Query {
        let mut query = synthetic::query(Task::Arith, Split::Train, 1, 0);
        query.images.clear();
        query.messages = vec![Message { role: Role::User, content: vec![Part::text(question)] }];
        query.ground_truth = Some(truth);
        query
    }

    #[test]
    fn every_rule_finds_its_own_and_leaves_the_rest() {
        let drops = |rule: QueryRule, question: &str, truth: Value| rule.objection(&query(question, truth)).is_some();
        for truth in [json!(""), json!("  "), json!(null), json!([]), json!({})] {
            assert!(drops(QueryRule::NoGroundTruth, "How many?", truth.clone()), "{truth}");
        }
        for truth in [json!(0), json!("0"), json!(false), json!([1, 2]), json!({"bbox_2d": [1, 2, 3, 4]})] {
            assert!(!drops(QueryRule::NoGroundTruth, "How many?", truth.clone()), "{truth}");
        }
        let essay = "the poem tells of a ship that ".repeat(5);
        assert!(drops(QueryRule::FreeGeneration, "Write a poem.", json!(essay)));
        assert!(drops(QueryRule::FreeGeneration, "写一首诗。", json!("春眠不觉晓".repeat(20))));
        for truth in [json!("two red circles and one blue square"), json!("x = 1, ".repeat(40)), json!(vec![1; 99])] {
            assert!(!drops(QueryRule::FreeGeneration, "?", truth.clone()), "{truth}");
        }
    }

    #[test]
    fn one_question_may_have_options_steps_and_formulas() {
        for question in [
            "What is 3 + 4?",
            "What is shown?\n(A) a cat\n(B) a dog\n(C) What a mess",
            "Which is true? (a) red (b) blue (c) green",
            "Solve f(?) = 3 for the unknown.",
            "Really??",
            "1. Open the box. 2. Take the ball. How many are left?",
            "图中有几个圆？",
            "He asked \"why?\", and left. Who is he?",
        ] {
            assert_eq!(several_questions(question), None, "{question}");
        }
        for question in [
            "How many circles are there? Which of them are red?",
            "(a) Find x. (b) Find y.",
            "A ball is thrown.\n1. What is its speed?\n2. Determine its height.",
            "i) compute the sum ii) compute the product",
            "图中有几个圆？哪一个是红色？",
        ] {
            assert!(several_questions(question).is_some(), "{question}");
        }
    }

    #[test]
    fn a_picture_that_is_spoken_of_must_be_there() {
        let found = |question: &str| QueryRule::MissingPicture.objection(&query(question, json!(1)));
        for question in [
            "As shown in the figure, AB = 3. Find BC.",
            "How many dogs are in the picture?",
            "The diagram below is a circuit. What is R?",
            "如图，求角 A。",
            "Look at this image: the image shows a cat. How old is it?",
        ] {
            assert!(found(question).is_some(), "{question}");
        }
        for question in
            ["Which figure has four sides?", "What is a picture?", "Draw the graph of y = x.", "What is 3 + 4?"]
        {
            assert_eq!(found(question), None, "{question}");
        }
        let mut seen = query("How many dogs are in the picture?", json!(1));
        seen.images = synthetic::query(Task::Count, Split::Train, 1, 0).images;
        assert_eq!(QueryRule::MissingPicture.objection(&seen), None);
    }
}
