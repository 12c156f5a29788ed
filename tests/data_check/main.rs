//! The check of data: every kind of damage is named and counted, repeats are found, and what is good is let pass.

mod command;
mod damaged;
mod planted;
mod rows;

use std::collections::BTreeMap;
use std::path::Path;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use sapo::data_check::{Limits, Target, check, of_addresses, of_config};
use sapo::progress::Silent;
use sapo_datasets::SourceConfig;
use sapo_policies::preset::processor_of;
use sapo_policies::processor::{PromptLimit, TooLong};
use sapo_rewards::{Registry, Rubric};
use serde_json::Value;

/// What a check found: rows by number with the reasons of each in order, rows and good rows.
#[derive(Debug, PartialEq)]
struct Outcome {
    bad: BTreeMap<(String, u64), Vec<String>>,
    rows: u64,
    good: u64,
}

impl Outcome {
    /// The reasons of one row, joined; none for a good one.
    fn of(&self, source: &str, row: u64) -> String {
        self.bad.get(&(source.to_owned(), row)).map(|reasons| reasons.join(" ")).unwrap_or_default()
    }
}

/// What rows are held to here.
#[derive(Clone, Copy, Default)]
struct Held<'a> {
    reward: Option<&'a str>,
    prompt_tokens: Option<usize>,
    response_tokens: Option<usize>,
}

fn alone(reward: &str) -> Rubric {
    Rubric::new(&sapo::checking::alone(reward), &Registry::rules()).expect("a rubric")
}

fn targets(path: &Path, is_evaluation: bool, held: Held<'_>) -> Vec<Target> {
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let source = SourceConfig { source: path.display().to_string(), ..SourceConfig::default() };
    let rubric = held.reward.map(|reward| (reward, alone(reward)));
    of_addresses(&[(name, source)], is_evaluation, 1, rubric).expect("a source")
}

/// Checks targets and reads back what was rejected; the counts must add up in every way.
fn run(targets: Vec<Target>, folder: &Path, held: Held<'_>) -> Outcome {
    let mut processor = processor_of("tiny").expect("a processor");
    let limit = held.prompt_tokens.map(|tokens| PromptLimit { tokens, too_long: TooLong::Refuse });
    processor.limit_prompts(limit);
    let limits =
        Limits { processor: &processor, max_response_tokens: held.response_tokens, near: 0.8, max_bad_share: 0.01 };
    let file = tempfile::Builder::new().tempdir_in(folder).expect("a folder").keep().join("rejected.jsonl");
    let report = check(targets, &limits, Some(&file), &Silent).expect("a report");
    let text = std::fs::read_to_string(&file).expect("the rejected rows");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    let mut outcome = Outcome { bad: BTreeMap::new(), rows: 0, good: 0 };
    for line in lines {
        let reasons = line["reasons"].as_array().expect("reasons").iter();
        let reasons: Vec<String> =
            reasons.map(|reason| reason["reason"].as_str().expect("a reason").to_owned()).collect();
        assert!(!reasons.is_empty(), "{line}");
        let key = (line["source"].as_str().expect("a source").to_owned(), line["row"].as_u64().expect("a row"));
        assert!(outcome.bad.insert(key, reasons).is_none(), "each row once: {line}");
    }
    for source in &report.sources {
        outcome.rows += source.rows;
        outcome.good += source.good;
        assert_eq!(source.rows, source.good + source.first.values().sum::<u64>(), "the counts add up: {source:?}");
        let mut firsts: BTreeMap<&str, u64> = BTreeMap::new();
        for ((_, _), reasons) in outcome.bad.iter().filter(|((name, _), _)| *name == source.name) {
            *firsts.entry(reasons[0].as_str()).or_default() += 1;
        }
        let counted: BTreeMap<&str, u64> = source.first.iter().map(|(reason, count)| (reason.name(), *count)).collect();
        if report.sources.iter().filter(|other| other.name == source.name).count() == 1 {
            assert_eq!(counted, firsts, "the table and the file say the same");
        }
    }
    assert_eq!(outcome.rows, outcome.good + outcome.bad.len() as u64);
    outcome
}

/// A picture whose cells differ from those of others.
fn picture(seed: u32, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let cell = (x * 8 / width.max(1)) * 31 + (y * 8 / height.max(1)) * 17 + seed * 101;
        let level = (cell.wrapping_mul(2_654_435_761) >> 24) as u8;
        Rgb([level, level.wrapping_mul(3), 255 - level])
    })
}

fn encoded(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    DynamicImage::from(picture.clone()).write_to(&mut bytes, format).expect("an encoded picture");
    bytes.into_inner()
}

/// All sources of a configuration.
fn of_toml(text: &str, folder: &Path) -> Vec<Target> {
    let path = folder.join("check.toml");
    std::fs::write(&path, text).expect("a file");
    let config = sapo::config::Config::compose(&[path], &[]).expect("a configuration");
    of_config(&config, None).expect("sources")
}
