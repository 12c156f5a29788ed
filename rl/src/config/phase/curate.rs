//! `kind = "curate"`: queries are filtered, asked, recorded, and dropped by rules.

use std::path::{Path, PathBuf};

use sapo_rewards::RubricConfig;
use sapo_rollouts::Sampling;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PhaseKind, Work, check_sampling};
use crate::config::Config;
use crate::config::data::SourceUse;
use crate::config::fault::{ConfigError, MOST_ROWS, MOST_STEPS, MOST_TOKENS, count, fault, must, number};
use crate::curation::{DropRule, PartLimit, QueryRule, Sequential};

/// Curation: what is worth training on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurateConfig {
    /// Sources of queries; shares mean nothing here.
    pub data: Vec<SourceUse>,
    /// Queries of each source at most; without it all that a file has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries_per_source: Option<usize>,
    /// Samples of each query; 0 asks nothing, and no pass rate is known.
    #[serde(default = "sixteen")]
    pub samples: usize,
    /// Sampling.
    pub sampling: Sampling,
    /// The rubric that decides what passes.
    pub rubric: String,
    /// Who answers: `"policy"`, `{ model = "DIR" }` for another checkpoint, or `{ record = "FILE.jsonl" }` for the record of
    /// an earlier run, whose outcomes are taken over by query; what is not in it is undecided.
    #[serde(default)]
    pub by: AnsweredBy,
    /// Which queries are dropped by their pass rate.
    #[serde(default)]
    pub drop: DropRule,
    /// Stops sampling a query early; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequential: Option<Sequential>,
    /// Rules on a query itself: `no_ground_truth`, `unreadable_ground_truth`, `free_generation`, `several_questions`,
    /// `missing_picture`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_rules: Vec<QueryRule>,
    /// Rubrics that score a query itself: a judge with the prompt `verifiable-v1` or `clear-v1`, or a rule, which is shown the
    /// ground truth as the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_filters: Vec<QueryFilter>,
    /// Asks queries with pictures again without them, and drops what is solved all the same; off without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_pictures: Option<WithoutPictures>,
    /// What a response must be like to be imitated: the response of the data, or sampled ones with `keep_responses`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub response_filters: Vec<PartLimit>,
    /// A right response with fewer tokens of reasoning than this, or with words that say so, is a guess and dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guess_below: Option<usize>,
    /// Sampled responses of a query that are kept as demonstrations, at most; 0 keeps none.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0))]
    pub keep_responses: usize,
    /// The stretch of a generated source that queries are drawn from; the phase's place in `run.phases` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stretch: Option<u64>,
}

/// Who answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredBy {
    /// The policy of the run, as it is then.
    #[default]
    Policy,
    /// The model of a preset, checkpoint or folder.
    Model(PathBuf),
    /// The record of an earlier run.
    Record(PathBuf),
}

/// A rubric that scores a query itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryFilter {
    /// The rubric; its `correct` part counts.
    pub rubric: String,
    /// The least value that keeps a query.
    #[serde(default = "half")]
    pub at_least: f64,
}

/// How queries are asked without their pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WithoutPictures {
    /// Samples where the answer is free, any of which solves it. Among choices twice as many are taken, among two choices
    /// four times as many, and it is solved from that count on that a guesser reaches in at most 3 %.
    pub samples: usize,
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// The answer is cut after this many tokens; those of `sampling` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Who answers, as in `by`.
    pub by: AnsweredBy,
    /// How many answers there are to choose from, where a query has no column `choices`; free without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<usize>,
}

impl Default for WithoutPictures {
    fn default() -> Self {
        Self { samples: 4, temperature: 0.7, max_new_tokens: None, by: AnsweredBy::Policy, choices: None }
    }
}

/// No reward gives more.
const LARGEST_VALUE: f64 = 1e6;

fn sixteen() -> usize {
    16
}

fn half() -> f64 {
    0.5
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl std::fmt::Display for AnsweredBy {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy => write!(to, "the policy"),
            Self::Model(model) => write!(to, "the model {}", model.display()),
            Self::Record(record) => write!(to, "the record {}", record.display()),
        }
    }
}

impl CurateConfig {
    /// The records of earlier runs that it reads.
    pub fn records(&self) -> impl Iterator<Item = &Path> {
        let blind = self.without_pictures.as_ref().map(|blind| &blind.by);
        let by = [Some(&self.by), blind].into_iter().flatten();
        let records =
            by.filter_map(|by: &AnsweredBy| if let AnsweredBy::Record(path) = by { Some(path) } else { None });
        records.chain(&self.drop.stronger).map(PathBuf::as_path)
    }

    /// Whether responses are looked at.
    pub fn filters_responses(&self) -> bool {
        !self.response_filters.is_empty() || self.guess_below.is_some() || self.keep_responses > 0
    }

    fn check_numbers(&self, place: &str) -> Result<(), ConfigError> {
        let key = |name: &str| format!("{place}.{name}");
        // A generated task has as many queries as one asks for.
        count(key("queries_per_source"), self.queries_per_source.unwrap_or(1), 1..=MOST_STEPS)?;
        count(key("samples"), self.samples, 0..=MOST_ROWS)?;
        count(key("keep_responses"), self.keep_responses, 0..=MOST_ROWS)?;
        count(key("guess_below"), self.guess_below.unwrap_or(1), 0..=MOST_TOKENS)?;
        count(key("stretch"), self.stretch.unwrap_or(0), 0..=MOST_STEPS)?;
        check_sampling(place, &self.sampling)?;
        number(key("drop.above"), self.drop.above, 0.0..=1.0)?;
        if let Some(sequential) = &self.sequential {
            let error = (0.0..0.5).contains(&sequential.error);
            must(error, key("sequential.error"), "must be at least 0 and below 0.5")?;
            count(key("sequential.round"), sequential.round, 1..=MOST_ROWS)?;
            let record = matches!(self.by, AnsweredBy::Record(_));
            let reason = "what is recorded is not sampled; leave one of `sequential` and `by` out";
            must(!record, key("sequential"), reason)?;
        }
        for (index, filter) in self.query_filters.iter().enumerate() {
            number(key(&format!("query_filters[{index}].at_least")), filter.at_least, -LARGEST_VALUE..=LARGEST_VALUE)?;
        }
        if let Some(blind) = &self.without_pictures {
            let key = |name: &str| format!("{place}.without_pictures.{name}");
            count(key("samples"), blind.samples, 1..=MOST_ROWS)?;
            count(key("max_new_tokens"), blind.max_new_tokens.unwrap_or(1), 1..=MOST_TOKENS)?;
            number(key("temperature"), blind.temperature, 0.0..=100.0)?;
            count(key("choices"), blind.choices.unwrap_or(2), 2..=MOST_ROWS)?;
        }
        Ok(())
    }

    fn check_responses(&self, place: &str, rubric: &RubricConfig) -> Result<(), ConfigError> {
        let key = format!("{place}.response_filters");
        for (index, limit) in self.response_filters.iter().enumerate() {
            let key = |name: &str| format!("{key}[{index}].{name}");
            for (name, bound) in [("at_least", limit.at_least), ("at_most", limit.at_most)] {
                number(key(name), bound.unwrap_or(0.0), -LARGEST_VALUE..=LARGEST_VALUE)?;
            }
        }
        for limit in &self.response_filters {
            let bound = limit.at_least.is_some() || limit.at_most.is_some();
            must(bound, &key, &format!("`{}` has neither `at_least` nor `at_most`", limit.part))?;
            let known = parts_of(rubric);
            let reason =
                format!("the rubric `{}` has no part `{}`; it has {}", self.rubric, limit.part, known.join(", "));
            must(known.contains(&limit.part.as_str()), &key, &reason)?;
        }
        let sampled = self.keep_responses == 0 || (self.samples > 0 && !matches!(self.by, AnsweredBy::Record(_)));
        must(sampled, format!("{place}.keep_responses"), "keeps what is sampled, and nothing is: raise `samples`")
    }
}

/// The names of a rubric's parts.
fn parts_of(rubric: &RubricConfig) -> Vec<&str> {
    let named = rubric.parts.iter().chain(&rubric.penalties).map(|part| part.reward.as_str());
    let short = [
        ("language", rubric.language_penalty > 0.0),
        ("repetition", rubric.repetition_penalty > 0.0),
        ("overlong", rubric.overlong.is_some()),
    ];
    ["correct"].into_iter().chain(named).chain(short.into_iter().filter(|short| short.1).map(|short| short.0)).collect()
}

impl PhaseKind for CurateConfig {
    fn word(&self) -> &'static str {
        "curate"
    }

    fn trains(&self) -> bool {
        false
    }

    fn data(&self) -> &[SourceUse] {
        &self.data
    }

    fn rubric(&self) -> Option<&str> {
        Some(&self.rubric)
    }

    fn further_rubrics(&self) -> Vec<&str> {
        self.query_filters.iter().map(|filter| filter.rubric.as_str()).collect()
    }

    fn work(&self) -> Work {
        Work {
            steps: 1,
            prompts_per_step: self.data.len() * self.queries_per_source.unwrap_or(0),
            rollouts_per_prompt: if matches!(self.by, AnsweredBy::Record(_)) { 0 } else { self.samples },
            max_new_tokens: self.sampling.max_new_tokens,
        }
    }

    fn check(&self, place: &str, config: &Config) -> Result<(), ConfigError> {
        config.check_uses(place, &self.data, Some(&self.rubric))?;
        config.refuse_pools(place, &self.data)?;
        for used in self.data.iter().filter(|_| self.queries_per_source.is_none()) {
            let generated = config.source(used, place)?.source.starts_with("synthetic:");
            must(!generated, format!("{place}.queries_per_source"), "is needed: a generated source has no end")?;
        }
        for filter in &self.query_filters {
            config.named_rubric(&format!("{place}.query_filters"), &filter.rubric)?;
        }
        self.check_numbers(place)?;
        let rubric = config.rubrics.get(&self.rubric).ok_or_else(|| fault(place, "names no rubric"))?;
        self.check_responses(place, rubric)?;
        let asks = self.samples > 0
            || self.without_pictures.is_some()
            || !(self.query_filters.is_empty() && self.query_rules.is_empty())
            || self.filters_responses();
        must(asks, format!("{place}.samples"), "is 0, and nothing else is filtered by")
    }
}
