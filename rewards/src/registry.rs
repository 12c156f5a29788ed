//! The registry: every reward of a config by name, beside those that need no options.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::code::{Code, CodeConfig};
use crate::custom::{self, CustomConfig};
use crate::error::{Result, RewardError};
use crate::format::FormatRules;
use crate::grounding::Metric;
use crate::instructions::Scoring;
use crate::json_schema::{Schema, Schemas};
use crate::judge::{Endpoints, Judge, JudgeConfig};
use crate::language::Strictness;
use crate::ledger::RewardId;
use crate::length::Overlong;
use crate::number::Tolerance;
use crate::plugin::{HttpConfig, Plugin, ProcessConfig};
use crate::repetition::Limits;
use crate::reward::{Item, Reward, RewardSpec, Rule};
use crate::score::{FailureKind, PartScore};
use crate::similarity::Measure;
use crate::tool_calls::ToolRules;
use crate::truth::answered;
use crate::{
    clock, counting, description, extract, format, grounding, instructions, json, language, length, logic, math,
    multiple_choice, number, repetition, similarity, text, tool_calls, truth,
};

/// A reward as a config describes it: `[rewards.NAME]` with a `kind` and the options of that kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RewardConfig {
    /// The whole answer is the number, text or single box of the ground truth; nothing is extracted.
    Exact {},
    /// The verifier that the column `reward_kind` names, else the one that reads the ground truth's form.
    Truth {},
    /// An integer or decimal, exactly.
    Number {},
    /// A number within a tolerance; both tolerances add up.
    Numeric {
        /// In units of the answer.
        #[serde(default)]
        absolute_tolerance: f64,
        /// As a fraction of the truth.
        #[serde(default)]
        relative_tolerance: f64,
    },
    /// A mathematical answer of any form, compared by its value.
    Math {},
    /// A count as digits or in words; the last stated one.
    Counting {},
    /// A text after normalisation, or one of a list.
    Text {},
    /// A clock time as `11:35`.
    Clock {},
    /// Boxes or points in Qwen3-VL's JSON.
    Grounding {
        /// What is measured.
        #[serde(default)]
        metric: Metric,
        /// With it the value is 1 from here on and 0 below; without, the value is the metric.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        threshold: Option<f64>,
    },
    /// The letter of an option; the column `choices` holds the options.
    MultipleChoice {},
    /// A phrase of counted coloured shapes, in English or Chinese.
    Description {},
    /// A judge's verdict about a pair: the last `{"verdict": "yes" | "no"}`.
    Verdict {},
    /// Word F1 with the nearest accepted text.
    F1 {},
    /// ANLS with the nearest accepted text.
    Anls {},
    /// Edit similarity with the nearest accepted text, for text read from a picture.
    Edit {},
    /// Strict JSON with certain keys.
    Json {
        /// Keys that every object must have.
        #[serde(default)]
        keys: Vec<String>,
    },
    /// JSON that keeps a schema.
    JsonSchema {
        /// The schema; the query's column `json_schema` when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schema: Option<Box<serde_json::Value>>,
        /// Objects need one of their listed properties, and hold no others.
        #[serde(default = "yes")]
        strict: bool,
    },
    /// The query's constraints in the manner of IFEval.
    Instructions {
        /// How several constraints make one value.
        #[serde(default)]
        scoring: Scoring,
    },
    /// A solution of the query's puzzle.
    Logic {},
    /// Well-formed tool calls, as many as asked for; as a bonus.
    ToolCalls(ToolRules),
    /// One closed thinking block and an answer; as a gate.
    Format {
        /// The thinking must not be blank.
        #[serde(default)]
        needs_working: bool,
        /// The answer must stand in `<answer>...</answer>`.
        #[serde(default)]
        needs_answer_tag: bool,
    },
    /// A penalty near the length limit.
    Length {
        /// Tokens at which the penalty is full; the request's limit when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_tokens: Option<usize>,
        /// Over how many tokens before that it rises.
        buffer_tokens: usize,
    },
    /// A penalty for saying the same over and over.
    Repetition {
        /// Bytes that a unit said four times or more must fill.
        #[serde(default = "default_span")]
        span_bytes: usize,
    },
    /// A penalty for mixing languages, or another one than the query's.
    Language {
        /// Any letter of another script counts, names and terms too.
        #[serde(default)]
        strict_script: bool,
        /// The thinking counts as well as the answer.
        #[serde(default = "yes")]
        thinking: bool,
    },
    /// The verdict of a model behind an OpenAI-compatible endpoint.
    Judge(Box<JudgeConfig>),
    /// A program, run in the sandbox against hidden tests.
    Code(Box<CodeConfig>),
    /// A Python function, or any program that speaks JSON lines.
    Process(Box<ProcessConfig>),
    /// A server that takes the same JSON as a program does.
    Http(Box<HttpConfig>),
    /// A type that the Rust program around this library brings along.
    Custom(Box<CustomConfig>),
}

fn default_span() -> usize {
    Limits::default().span_bytes
}

fn yes() -> bool {
    true
}

impl RewardConfig {
    /// The name of the kind in a config.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exact {} => "exact",
            Self::Truth {} => "truth",
            Self::Number {} => "number",
            Self::Numeric { .. } => "numeric",
            Self::Math {} => "math",
            Self::Counting {} => "counting",
            Self::JsonSchema { .. } => "json_schema",
            Self::Instructions { .. } => "instructions",
            Self::Logic {} => "logic",
            Self::ToolCalls(_) => "tool_calls",
            Self::Text {} => "text",
            Self::Clock {} => "clock",
            Self::Grounding { .. } => "grounding",
            Self::MultipleChoice {} => "multiple_choice",
            Self::Description {} => "description",
            Self::Verdict {} => "verdict",
            Self::F1 {} => "f1",
            Self::Anls {} => "anls",
            Self::Edit {} => "edit",
            Self::Json { .. } => "json",
            Self::Format { .. } => "format",
            Self::Length { .. } => "length",
            Self::Repetition { .. } => "repetition",
            Self::Language { .. } => "language",
            Self::Judge(_) => "judge",
            Self::Code(_) => "code",
            Self::Process(_) => "process",
            Self::Http(_) => "http",
            Self::Custom(_) => "custom",
        }
    }

    /// The kind with all its options, as JSON.
    pub(crate) fn options(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    pub(crate) fn rule(&self, name: &str) -> Result<Option<Arc<dyn Reward>>> {
        let spec = RewardSpec::rule(name, &format!("{}/1", self.kind()));
        let with_truth =
            |check: fn(&serde_json::Value, &str) -> PartScore| rule(spec.clone(), move |item| answered(item, check));
        Ok(Some(match self.clone() {
            Self::Exact {} => rule(spec, truth::exact),
            Self::Truth {} => rule(spec, truth::score),
            Self::Number {} => with_truth(|truth, text| number::score(truth, text, Tolerance::default())),
            Self::Numeric { absolute_tolerance: absolute, relative_tolerance: relative } => {
                let tolerance = Tolerance { absolute: checked(name, absolute)?, relative: checked(name, relative)? };
                rule(spec, move |item| answered(item, |truth, text| number::score(truth, text, tolerance)))
            }
            Self::Math {} => with_truth(math::score),
            Self::Counting {} => with_truth(counting::score),
            Self::Logic {} => rule(spec, logic::score),
            Self::Instructions { scoring } => rule(spec, move |item| instructions::score(item, scoring)),
            Self::ToolCalls(rules) => {
                if rules.min_calls > rules.max_calls || !(rules.full_crop > 0.0 && rules.full_crop <= 1.0) {
                    let fault = "min_calls must not be above max_calls, and full_crop must be in 0..1";
                    return Err(RewardError::reward(name, fault));
                }
                rule(spec, move |item| tool_calls::score(item.query, item.transcript, &rules))
            }
            Self::JsonSchema { schema, strict } => json_schema(name, spec, schema.as_deref(), strict)?,
            Self::Text {} => with_truth(text::score),
            Self::Clock {} => with_truth(clock::score),
            Self::Grounding { metric, threshold } => {
                if let Some(least) = threshold.filter(|least| !(0.0..=1.0).contains(least)) {
                    return Err(RewardError::reward(name, format!("threshold = {least}: it must be in 0..1")));
                }
                rule(spec, move |item| answered(item, |truth, text| grounding::score(truth, text, metric, threshold)))
            }
            Self::MultipleChoice {} => rule(spec, |item| {
                answered(item, |truth, text| multiple_choice::score(truth, item.query.columns.get("choices"), text))
            }),
            Self::Description {} => with_truth(description::score),
            Self::Verdict {} => with_truth(truth::verdict),
            Self::F1 {} => with_truth(|truth, text| similarity::score(truth, text, Measure::F1)),
            Self::Anls {} => with_truth(|truth, text| similarity::score(truth, text, Measure::Anls)),
            Self::Edit {} => with_truth(|truth, text| similarity::score(truth, text, Measure::Edit)),
            Self::Json { keys } => rule(spec, move |item| match extract::answer(item.transcript) {
                None => PartScore::verdict(false, "the thinking is not closed"),
                Some(answer) => json::score(extract::capped(answer), &keys),
            }),
            Self::Format { needs_working, needs_answer_tag } => {
                rule(spec, move |item| format::score(item.transcript, FormatRules { needs_working, needs_answer_tag }))
            }
            Self::Length { max_tokens, buffer_tokens } => {
                rule(spec, move |item| length::score(item.transcript, Overlong { max_tokens, buffer_tokens }))
            }
            Self::Repetition { span_bytes } => {
                if span_bytes < 8 {
                    return Err(RewardError::reward(name, format!("span_bytes = {span_bytes}: it must be at least 8")));
                }
                rule(spec, move |item| repetitive(item, Limits { span_bytes }))
            }
            Self::Language { strict_script, thinking } => {
                let strictness = if strict_script { Strictness::Script } else { Strictness::Prose };
                rule(spec, move |item| language::score(item.query, item.transcript, strictness, thinking))
            }
            Self::Code(options) => Arc::new(Code::new(name, &options)?),
            Self::Process(options) => Arc::new(Plugin::process(name, &options)?),
            Self::Http(options) => Arc::new(Plugin::http(name, &options)?),
            Self::Custom(options) => custom::build(name, &options)?,
            Self::Judge(_) => return Ok(None),
        }))
    }
}

fn rule(spec: RewardSpec, check: impl Fn(&Item<'_>) -> PartScore + Send + Sync + 'static) -> Arc<dyn Reward> {
    Arc::new(Rule::new(spec, check))
}

/// Checks answers against one schema, or against that of each query.
fn json_schema(
    name: &str,
    spec: RewardSpec,
    schema: Option<&serde_json::Value>,
    strict: bool,
) -> Result<Arc<dyn Reward>> {
    let own = schema.map(|schema| Schema::new(schema, strict)).transpose();
    let own = own.map_err(|fault| RewardError::reward(name, format!("schema: {fault}")))?;
    let schemas = Schemas::default();
    Ok(rule(spec, move |item| {
        let schema = match (&own, item.query.columns.get("json_schema")) {
            (Some(own), _) => Ok(own.clone()),
            (None, Some(schema)) => schemas.get(schema, strict),
            (None, None) => Err("the query has no column `json_schema`, and the reward no `schema`".to_owned()),
        };
        match (schema, extract::answer(item.transcript)) {
            (Err(fault), _) => PartScore::failed(FailureKind::GroundTruth, fault),
            (Ok(_), None) => PartScore::verdict(false, "the thinking is not closed"),
            (Ok(schema), Some(answer)) => schema.score(answer),
        }
    }))
}

fn checked(name: &str, tolerance: f64) -> Result<f64> {
    if tolerance.is_finite() && tolerance >= 0.0 {
        return Ok(tolerance);
    }
    Err(RewardError::reward(name, format!("a tolerance of {tolerance}: it must be 0 or more")))
}

/// The thinking and the answer are judged apart: an answer may state again what the thinking found.
fn repetitive(item: &Item<'_>, limits: Limits) -> PartScore {
    let thinking = repetition::score(item.transcript.reasoning(), limits);
    match thinking.outcome.value() {
        Some(0.0) => repetition::score(extract::answer(item.transcript).unwrap_or_default(), limits),
        _ => thinking,
    }
}

/// Rewards by name.
#[derive(Clone, Default)]
pub struct Registry {
    rewards: BTreeMap<String, Arc<dyn Reward>>,
    judges: BTreeMap<String, Arc<Judge>>,
    /// The options of those that a config describes.
    options: BTreeMap<String, serde_json::Value>,
}

/// The kinds that need no options, each under its own name.
static RULES: LazyLock<Registry> = LazyLock::new(|| {
    let configs = [
        RewardConfig::Exact {},
        RewardConfig::Truth {},
        RewardConfig::Number {},
        RewardConfig::Math {},
        RewardConfig::Counting {},
        RewardConfig::JsonSchema { schema: None, strict: true },
        RewardConfig::Instructions { scoring: Scoring::Strict },
        RewardConfig::Logic {},
        RewardConfig::ToolCalls(ToolRules::default()),
        RewardConfig::Text {},
        RewardConfig::Clock {},
        RewardConfig::Grounding { metric: Metric::MeanIou, threshold: None },
        RewardConfig::MultipleChoice {},
        RewardConfig::Description {},
        RewardConfig::Verdict {},
        RewardConfig::F1 {},
        RewardConfig::Anls {},
        RewardConfig::Edit {},
        RewardConfig::Json { keys: Vec::new() },
        RewardConfig::Format { needs_working: false, needs_answer_tag: false },
        RewardConfig::Repetition { span_bytes: default_span() },
        RewardConfig::Language { strict_script: false, thinking: true },
    ];
    let rules = configs.iter().filter_map(|config| Some((config.kind().to_owned(), config.rule(config.kind()).ok()??)));
    Registry { rewards: rules.collect(), ..Registry::default() }
});

impl Registry {
    /// The rewards of a config, beside the kinds that need no options under their own names.
    ///
    /// # Errors
    /// When a reward cannot be built; the message names it and the remedy.
    pub fn build(configs: &BTreeMap<String, RewardConfig>, endpoints: &Endpoints) -> Result<Self> {
        let mut registry = Self::rules();
        for (name, config) in configs {
            registry.options.insert(name.clone(), config.options());
            if let RewardConfig::Judge(options) = config {
                let judge = Arc::new(Judge::new(name, options, endpoints)?);
                registry.judges.insert(name.clone(), Arc::clone(&judge));
                registry.insert(name, judge);
            } else if let Some(reward) = config.rule(name)? {
                registry.insert(name, reward);
            }
        }
        Ok(registry)
    }

    /// The kinds that need no options, under their own names.
    pub fn rules() -> Self {
        RULES.clone()
    }

    /// Adds a reward of one's own, or replaces one.
    pub fn insert(&mut self, name: &str, reward: Arc<dyn Reward>) {
        self.rewards.insert(name.to_owned(), reward);
    }

    /// The reward of that name.
    ///
    /// # Errors
    /// When there is none; the message names those that are.
    pub fn get(&self, name: &str) -> Result<Arc<dyn Reward>> {
        self.rewards.get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.rewards.keys().map(String::as_str).collect();
            RewardError::reward(
                name,
                format!("there is no such reward; describe it in the config, or use one of {}", known.join(", ")),
            )
        })
    }

    /// Which reward of that name it is: its version and options.
    pub(crate) fn identity(&self, name: &str, spec: &RewardSpec) -> RewardId {
        RewardId::of(spec, self.options.get(name).unwrap_or(&serde_json::Value::Null))
    }

    /// Makes every reward ready that takes time for it, and returns what people should know, a line each.
    ///
    /// # Errors
    /// When a reward cannot work here.
    pub fn prepare(&self) -> Result<Vec<String>> {
        let mut told = Vec::new();
        for (name, reward) in &self.rewards {
            told.extend(reward.prepare().map_err(|reason| RewardError::reward(name, reason))?);
        }
        Ok(told)
    }

    /// The judges of the config, by name.
    pub fn judges(&self) -> &BTreeMap<String, Arc<Judge>> {
        &self.judges
    }
}

/// The NAMEs of `serve:NAME` that a config's judges need; the run starts them before it builds the registry.
pub fn served_judges(configs: &BTreeMap<String, RewardConfig>) -> Vec<&str> {
    let names = configs.values().filter_map(|config| match config {
        RewardConfig::Judge(options) => options.serve_name(),
        _ => None,
    });
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use sapo_datasets::Transcript;
    use sapo_datasets::synthetic::{self, Style, Task};

    use super::*;
    use crate::reward::score_all;
    use crate::reward::tests::now;

    fn value(reward: &str, query: &sapo_datasets::Query, transcript: &Transcript) -> Option<f64> {
        let reward = Registry::rules().get(reward).unwrap();
        now(score_all(&*reward, &[Item { query, transcript }]))[0].outcome.value()
    }

    #[test]
    fn every_gold_of_every_task_scores_one_in_both_styles() {
        for task in Task::ALL {
            for index in 0..40 {
                for style in [Style::Careful, Style::Hasty] {
                    let shown = synthetic::demonstration(task, 11, index, style);
                    let whole = Transcript { thinking_open: true, ..Transcript::of_answer("q", &shown.response) };
                    assert_eq!(value("truth", &shown.query, &whole), Some(1.0), "{task}: {}", shown.response);
                    // A judge's working puts the words of two texts side by side: it is no prose.
                    let penalties = if task == Task::Judge { &[][..] } else { &["language", "repetition"] };
                    for penalty in penalties {
                        assert_eq!(
                            value(penalty, &shown.query, &whole),
                            Some(0.0),
                            "{task} {penalty}: {}",
                            shown.response
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn rewards_agree_with_the_solvers_on_answers_of_other_queries() {
        for task in Task::ALL {
            let shown: Vec<_> = (0..30).map(|index| synthetic::demonstration(task, 5, index, Style::Hasty)).collect();
            for (one, other) in shown.iter().zip(shown.iter().skip(1)) {
                let answer = other.response.trim_start_matches("</think>");
                let transcript = Transcript { thinking_open: true, ..Transcript::of_answer("q", &other.response) };
                let language = |query: &sapo_datasets::Query| query.columns["language"].clone();
                // The rule for descriptions is blind to the language, the solver is not.
                if language(&one.query) == language(&other.query) {
                    let solved = synthetic::is_correct(&one.query, answer);
                    assert_eq!(
                        value("truth", &one.query, &transcript),
                        Some(f64::from(u8::from(solved))),
                        "{task}: {answer}"
                    );
                }
            }
        }
    }

    #[test]
    fn configs_are_closed_and_named_by_kind() {
        let read = |text: &str| serde_json::from_str::<RewardConfig>(text);
        let grounding = read(r#"{"kind":"grounding","threshold":0.5}"#).unwrap();
        assert_eq!(grounding, RewardConfig::Grounding { metric: Metric::MeanIou, threshold: Some(0.5) });
        assert!(read(r#"{"kind":"number","tolerance":1}"#).is_err());
        assert!(read(r#"{"kind":"judge","endpont":"x"}"#).is_err());
        assert!(read(r#"{"kind":"process","comand":["x"]}"#).is_err());
        assert!(read(r#"{"kind":"http","uri":"x"}"#).is_err());
        assert!(read(r#"{"kind":"magic"}"#).is_err());
        let judge = read(r#"{"kind":"judge","model":"m"}"#).unwrap();
        assert_eq!(serde_json::from_value::<RewardConfig>(serde_json::to_value(&judge).unwrap()).unwrap(), judge);
        let configs = BTreeMap::from([("a".to_owned(), judge)]);
        assert_eq!(served_judges(&configs), ["judge"]);
        assert!(Registry::build(&configs, &Endpoints::default()).err().unwrap().to_string().contains("rewards.a"));
        let served = Endpoints(BTreeMap::from([("judge".to_owned(), "http://127.0.0.1:9".to_owned())]));
        assert_eq!(Registry::build(&configs, &served).unwrap().judges().len(), 1);
        assert!(Registry::rules().get("magic").err().unwrap().to_string().contains("number"));
    }
}
