//! Every generated task at every difficulty: gold answers score 1 and bring no penalty; the question said again, nothing,
//! and the answer that is most often right score 0 wherever they are wrong.

use std::collections::BTreeMap;

use sapo_datasets::{Demonstration, Difficulty, Split, Stream, Style, Task, Transcript};
use sapo_rewards::reward::{Item, score_all};
use sapo_rewards::{Endpoints, Registry};
use serde_json::Value;

/// Draws of each task and difficulty.
const DRAWS: u64 = 1_000;
/// The most frequent answer may be right so often.
const MOST_FREQUENT: f64 = 0.35;

/// What a reward gives to these responses.
fn values(reward: &str, shown: &[Demonstration], responses: &[String]) -> Vec<Option<f64>> {
    // The rule by which a rubric takes something off unless another is named.
    let strict = serde_json::from_str(r#"{"kind": "language", "strict_script": true}"#).expect("a reward");
    let registry = Registry::build(&BTreeMap::from([("strict".to_owned(), strict)]), &Endpoints::default());
    let reward = registry.and_then(|registry| registry.get(reward)).expect("a rule");
    let transcript = |text: &String| Transcript { thinking_open: true, ..Transcript::of_answer("q", text.as_str()) };
    let transcripts: Vec<Transcript> = responses.iter().map(transcript).collect();
    let pairs = shown.iter().zip(&transcripts);
    let items: Vec<Item<'_>> = pairs.map(|(shown, transcript)| Item { query: &shown.query, transcript }).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(score_all(&*reward, &items)).iter().map(|score| score.outcome.value()).collect()
}

fn answer(shown: &Demonstration) -> &str {
    shown.response.split_once("</think>").expect("closed thinking").1
}

/// The most frequent answer, and how often it occurs.
fn majority(shown: &[Demonstration]) -> (String, f64) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for one in shown {
        *counts.entry(answer(one)).or_default() += 1;
    }
    let (most, count) = counts.into_iter().max_by_key(|(_, count)| *count).expect("answers");
    (most.to_owned(), count as f64 / shown.len() as f64)
}

/// Whether two boxes share half of their union: then one is right for the other.
fn overlaps(one: &str, other: &str) -> bool {
    let read = |text: &str| {
        let value = serde_json::from_str::<Value>(text).ok()?;
        serde_json::from_value::<[f64; 4]>(value["bbox_2d"].clone()).ok()
    };
    let (Some(one), Some(other)) = (read(one), read(other)) else { return false };
    let area = |corners: [f64; 4]| (corners[2] - corners[0]).max(0.0) * (corners[3] - corners[1]).max(0.0);
    let (low, high) = (|at: usize| one[at].max(other[at]), |at: usize| one[at].min(other[at]));
    let shared = area([low(0), low(1), high(2), high(3)]);
    2.0 * shared >= area(one) + area(other) - shared
}

/// Programs are run in a sandbox: `sandbox/programs.rs` does the same with them.
fn streams() -> impl Iterator<Item = Stream> {
    let tasks = Task::ALL.into_iter().filter(|task| *task != Task::Program);
    tasks
        .flat_map(|task| Difficulty::ALL.map(|difficulty| Stream { difficulty, ..Stream::new(task, Split::Train, 12) }))
}

fn drawn(stream: Stream) -> Vec<Demonstration> {
    let style = |index: u64| if index.is_multiple_of(2) { Style::Careful } else { Style::Hasty };
    (0..DRAWS).map(|index| stream.unpainted(index, style(index))).collect()
}

#[test]
fn golds_score_one_and_bring_no_penalty() {
    for stream in streams() {
        let shown = drawn(stream);
        let golds: Vec<String> = shown.iter().map(|one| one.response.clone()).collect();
        let all = |reward: &str, wanted: f64| {
            for (value, gold) in values(reward, &shown, &golds).into_iter().zip(&golds) {
                assert_eq!(value, Some(wanted), "{stream:?} {reward}: {gold}");
            }
        };
        all("truth", 1.0);
        // A judge's working puts the words of two texts side by side: it is no prose.
        if stream.task != Task::Judge {
            all("language", 0.0);
            all("strict", 0.0);
            all("repetition", 0.0);
        }
    }
}

#[test]
fn the_question_nothing_and_the_most_frequent_answer_score_zero() {
    for stream in streams() {
        let shown = drawn(stream);
        let (most, share) = majority(&shown);
        // A judge says yes or no; both are right equally often.
        let limit = if stream.task == Task::Judge { 0.6 } else { MOST_FREQUENT };
        assert!(share <= limit, "{stream:?}: `{most}` is right in {share}");
        let said = |say: &dyn Fn(&Demonstration) -> String| shown.iter().map(say).collect::<Vec<_>>();
        for answers in [said(&|_| String::new()), said(&|one| one.query.question()), said(&|_| most.clone())] {
            let responses: Vec<String> = answers.iter().map(|answer| format!("</think>{answer}")).collect();
            for ((value, one), said) in values("truth", &shown, &responses).into_iter().zip(&shown).zip(&answers) {
                // The rule for descriptions is blind to their language: a penalty sees to that.
                let is_description = one.query.columns["reward_kind"] == "description";
                if is_description && *said == most && said.is_ascii() != answer(one).is_ascii() {
                    continue;
                }
                let same = said == answer(one) || stream.task == Task::Locate && overlaps(said, answer(one));

                assert_eq!(value, Some(f64::from(u8::from(same))), "{}: {said}", one.query.id);
            }
        }
    }
}
