//! Laws of all generated tasks.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::query::Part;

fn answer(response: &str) -> &str {
    response.split_once("</think>").unwrap().1
}

fn has_chinese(text: &str) -> bool {
    text.chars().any(|letter| ('\u{4e00}'..='\u{9fff}').contains(&letter))
}

fn any_task() -> impl Strategy<Value = Task> {
    prop::sample::select(Task::ALL.to_vec())
}

fn any_stream() -> impl Strategy<Value = Stream> {
    let any = (
        any_task(),
        prop::sample::select(Split::ALL.to_vec()),
        prop::sample::select(Difficulty::ALL.to_vec()),
        any::<u64>(),
    );
    any.prop_map(|(task, split, difficulty, seed)| Stream { task, split, seed, difficulty })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_same_arguments_give_the_same_demonstration(stream in any_stream(), index: u64) {
        let careful = stream.demonstration(index, Style::Careful);
        let hasty = stream.demonstration(index, Style::Hasty);
        prop_assert_eq!(&careful, &stream.demonstration(index, Style::Careful));
        prop_assert_eq!(&careful.query, &hasty.query);
        prop_assert_eq!(&careful.query, &stream.query(index));
        let unpainted = stream.unpainted(index, Style::Careful);
        prop_assert_eq!((&unpainted.query.columns, &unpainted.response), (&careful.query.columns, &careful.response));
        prop_assert_eq!(answer(&careful.response), answer(&hasty.response));
        prop_assert!(hasty.response.starts_with("</think>"));
    }

    #[test]
    fn every_demonstration_is_right(stream in any_stream(), index: u64) {
        let careful = stream.unpainted(index, Style::Careful);
        prop_assert!(is_correct(&careful.query, answer(&careful.response)), "{} {}", careful.query.question(), careful.response);
        prop_assert!(!is_correct(&careful.query, ""));
        prop_assert!(!is_correct(&careful.query, "I do not know"));
        let question = task_of_question(&careful.query);
        let works = question != Task::Describe;
        prop_assert_eq!(!careful.response.starts_with("</think>"), works);
    }

    #[test]
    fn the_answer_of_another_question_is_wrong_unless_it_is_the_same(stream in any_stream(), index in 0_u64..1_000_000) {
        let (one, other) = (stream.unpainted(index, Style::Hasty), stream.unpainted(index + 1, Style::Hasty));
        let equal = one.query.ground_truth == other.query.ground_truth;
        let same_words = answer(&one.response) == answer(&other.response);
        // Boxes may overlap enough by chance.
        if stream.task != Task::Locate {
            prop_assert_eq!(is_correct(&one.query, answer(&other.response)), equal && same_words);
        }
    }

    #[test]
    fn a_query_is_of_its_split(stream in any_stream(), index: u64) {
        let query = stream.query(index);
        prop_assert_eq!(Split::of(query.columns["content"].as_str().unwrap()), stream.split);
        prop_assert_eq!(query.images.len(), query.messages[0].content.iter().filter(|part| **part == Part::Image).count());
    }
}

/// The task of the question inside.
fn task_of_question(query: &Query) -> Task {
    let name = query.columns.get("wraps").and_then(Value::as_str).unwrap_or(&query.task);
    Task::parse(name).unwrap()
}

/// The key tells the question apart whatever its difficulty, and the dice of a difficulty find questions in each split.
#[test]
fn splits_share_no_question() {
    for task in Task::ALL {
        let mut seen: BTreeMap<String, Split> = BTreeMap::new();
        for (split, difficulty) in Split::ALL.into_iter().flat_map(|split| Difficulty::ALL.map(|level| (split, level)))
        {
            let count = if difficulty == Difficulty::Medium { 3_000 } else { 300 };
            for index in 0..count {
                // The seed differs too: it is the content that keeps the splits apart.
                let stream = Stream { task, split, seed: 40 + index % 3, difficulty };
                let content = stream.settle(index).0.content;
                let earlier = seen.insert(content.clone(), split);
                assert!(earlier.is_none_or(|earlier| earlier == split), "{task}: {content} in {earlier:?} and {split}");
            }
        }
    }
}

/// Not only the keys: no picture with its question occurs in two splits.
#[test]
fn splits_share_no_picture_with_its_question() {
    for task in Task::ALL {
        let mut seen: BTreeMap<(String, Vec<String>), Split> = BTreeMap::new();
        for (split, index) in Split::ALL.into_iter().flat_map(|split| (0..150).map(move |index| (split, index))) {
            let query = query(task, split, 6, index);
            let pictures = query.images.iter().map(|picture| picture.sha256().to_owned()).collect();
            let earlier = seen.insert((query.question(), pictures), split);
            assert!(earlier.is_none_or(|earlier| earlier == split), "{task}: {} is in two splits", query.id);
        }
    }
}

#[test]
fn names_in_files_are_those_of_the_table() {
    for task in Task::ALL {
        assert_eq!(serde_json::to_value(task).unwrap(), task.name());
        assert!(task.about().ends_with('.') && task.about().len() < 100, "{task}");
    }
}

#[test]
fn difficulties_ask_different_questions() {
    for task in Task::ALL {
        let contents = Difficulty::ALL.map(|difficulty| {
            let stream = Stream { difficulty, ..Stream::new(task, Split::Train, 8) };
            let letters = (0..200).map(|index| stream.settle(index).0.content.len()).sum::<usize>();
            letters as f64 / 200.0
        });
        // Times and pictures of parts are told in as many letters; the keys of other questions grow.
        if ![Task::Clock, Task::Oddity, Task::Logic, Task::Locate].contains(&task) {
            assert!(contents[2] > 1.05 * contents[0], "{task}: {contents:?}");
        }
    }
}

#[test]
fn provoking_questions_follow_the_split_of_the_question_inside() {
    let content = |task, index| query(task, Split::Test, 1, index).columns["content"].as_str().unwrap().to_owned();
    let inside = (0..100).map(|index| content(Task::Provoke, index));
    let prefixes: BTreeSet<String> = inside.map(|key| key.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(prefixes.into_iter().collect::<Vec<_>>(), ["arith", "count", "describe"]);
}

#[test]
fn a_fifth_is_chinese_and_reads_so() {
    for task in Task::ALL {
        let mut chinese = 0;
        for index in 0..1_000 {
            let shown = demonstration(task, 9, index, Style::Careful);
            let language = shown.query.columns["language"].as_str().unwrap();
            chinese += usize::from(language == "zh");
            if task != Task::Provoke {
                assert_eq!(has_chinese(&shown.query.question()), language == "zh", "{}", shown.query.question());
            }
            assert!(language == "zh" || !has_chinese(&shown.response), "{}", shown.response);
        }
        assert!((150..250).contains(&chinese), "{task}: {chinese} of 1000");
    }
}

#[test]
fn pictures_have_their_sizes() {
    let size = |task| query(task, Split::Train, 2, 5).images[0].decode().unwrap().dimensions();
    for task in [Task::Count, Task::Clock, Task::Locate] {
        assert_eq!(size(task), (64, 64));
    }
    assert_eq!((size(Task::Digits), size(Task::Describe)), ((96, 32), (96, 96)));
    assert_eq!((size(Task::Maze), size(Task::Relation)), ((104, 104), (96, 96)));
    for task in [Task::Arith, Task::Logic, Task::Judge, Task::Zebra, Task::Program] {
        assert!(query(task, Split::Train, 2, 5).images.is_empty());
    }
}

#[test]
fn truths_have_the_documented_types() {
    let truth = |task| query(task, Split::Validation, 4, 8).ground_truth.unwrap();
    assert!(truth(Task::Arith).is_u64() && truth(Task::Count).is_u64());
    for task in [Task::Clock, Task::Digits, Task::Logic, Task::Describe, Task::Judge] {
        assert!(truth(task).is_string(), "{task}");
    }
    let boxed = truth(Task::Locate);
    assert_eq!(boxed["task"], "bbox");
    assert_eq!(boxed["boxes"][0].as_array().unwrap().len(), 4);
}

/// The generator is part of the data: these lines change only when it does.
#[test]
fn golden_demonstrations() {
    let lines: Vec<String> = Task::ALL
        .into_iter()
        .map(|task| {
            let shown = demonstration(task, 1, 0, Style::Careful);
            format!("{} -> {}", shown.query.question(), shown.response)
        })
        .collect();
    assert_eq!(lines, GOLDEN);
}

const GOLDEN: [&str; Task::ALL.len()] = [
    "What is 81+25? -> 1+5=6,8+2+0=10</think>106",
    "How many circles? -> 1+2+0+2</think>5",
    "What time is it? -> long 9,short 2</think>2:45",
    "Read the digits. -> 5,6,7</think>567",
    "框出红色圆形。 -> 左下</think>{\"bbox_2d\":[234,453,594,813]}",
    "Fay is taller than Eve. Bob is taller than Fay. Who is tallest? -> Bob>Fay>Eve</think>Bob",
    "Describe the picture. -> </think>three green stars and one blue triangle",
    "Describe the 图片. -> </think>three green triangles and one red square",
    "Reference: Dan>Eve>Fay\nAnswer: Dan>Eve>Fay>Bob\nSame? ->  Dan Dan= Eve Eve= Fay Fay= Bob!</think>{\"verdict\":\"no\"}",
    "中的值是多少？ -> 中 5</think>5",
    "从红点到蓝点最短要走几步？ -> 1左 2左 3下</think>3",
    "Which one is missing: 1, 2, 3 or 4? -> one blue square</think>3",
    "Dan, Bob, Cid stand in a row. Each has a different one of dog, horse, cat and a different one of tea, coffee, milk. Whoever has the cat is directly left of Cid. Whoever has the horse has the tea. Cid is directly left of Bob. Bob has the milk. Who has the coffee? -> 1 Dan cat coffee,2 Cid horse tea,3 Bob dog milk</think>Dan",
    "Write a Python function f(xs). Of the whole numbers in the list xs: keep those divisible by 4, then multiply each by 9. Return their sum. -> keep those divisible by 4, multiply each by 9</think>```python\ndef f(xs):\n    xs = [x for x in xs if x % 4 == 0]\n    xs = [x * 9 for x in xs]\n    return sum(xs)\n```",
    "What does it say at NO? -> line 1</think>5575",
    "How many legs has the spider? -> 1,2,3,4,5,6,7,8,9,10</think>10",
    "红色方形右边紧挨着的是什么？ -> 红色方形>蓝色方形</think>蓝色方形",
    "Read the letters. -> S,E,L,S</think>SELS",
];
