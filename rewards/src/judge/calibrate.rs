//! How far a judge agrees with what is known: measured before it is trusted with a reward.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use sapo_datasets::{Dataset, OpenContext, Query, SourceConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Judge;
use crate::error::{Result, RewardError};

/// Where labelled items come from: queries whose columns say what is right, what was answered, and whether that is the
/// same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalibrationConfig {
    /// A file, a folder or a generated task with its split and slice, such as `synthetic:judge@test[0:900]`.
    pub data: String,
    /// Columns with the value that they must have: the kind of item that is judged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub only: BTreeMap<String, String>,
    /// The seed of generated items.
    #[serde(default)]
    pub seed: u64,
}

impl CalibrationConfig {
    /// The labelled items.
    ///
    /// # Errors
    /// When the data cannot be read, or an item has no label.
    pub fn pairs(&self) -> Result<Vec<LabelledPair>> {
        let fault = |error: String| RewardError::Judge(format!("calibration.data = \"{}\": {error}", self.data));
        let source = SourceConfig { source: self.data.clone(), ..SourceConfig::default() };
        let context = OpenContext { seed: self.seed, ..OpenContext::default() };
        let source = Dataset::open("calibration", &source, &context).map_err(|error| fault(error.to_string()))?;
        if source.len().is_none() {
            return Err(fault("is unlimited; say how many items by a slice such as [0:400]".to_owned()));
        }
        let mut pairs = Vec::new();
        for example in source.iter() {
            let query = example.map_err(|error| fault(error.to_string()))?.query;
            if self.only.iter().all(|(column, wanted)| query.columns.get(column).is_some_and(|value| value == wanted)) {
                pairs.push(LabelledPair::of(&query).map_err(fault)?);
            }
        }
        Ok(pairs)
    }
}

/// A pair of which it is known whether both say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledPair {
    /// What was asked.
    pub question: String,
    /// What is right.
    pub reference: String,
    /// What was answered.
    pub answer: String,
    /// Whether the answer says the same.
    pub same: bool,
}

impl LabelledPair {
    /// The pair that a query describes: the columns `reference` and `answer` (those of a generated pair lie in `facts`),
    /// and the ground truth `yes` or `no`.
    fn of(query: &Query) -> std::result::Result<Self, String> {
        let facts = query.columns.get("facts");
        let text = |column: &str| {
            let value = query.columns.get(column).or_else(|| facts.and_then(|facts| facts.get(column)));
            let missing = || format!("item `{}` has no text in its column `{column}`", query.id);
            value.and_then(Value::as_str).map(str::to_owned).ok_or_else(missing)
        };
        let same = match query.ground_truth.as_ref().and_then(Value::as_str) {
            Some("yes") => true,
            Some("no") => false,
            _ => return Err(format!("the ground truth of item `{}` is neither `yes` nor `no`", query.id)),
        };
        Ok(Self { question: query.question(), reference: text("reference")?, answer: text("answer")?, same })
    }
}

/// How far verdicts agree with labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Calibration {
    /// The mean of the shares of right verdicts among the yes and among the no items.
    pub balanced_accuracy: f64,
    /// The share of right verdicts.
    pub agreement: f64,
    /// No items that were judged yes: what a policy would exploit.
    pub false_yes: usize,
    /// Yes items that were judged no.
    pub false_no: usize,
    /// Items with a verdict.
    pub items: usize,
    /// Yes items among them.
    pub yes_items: usize,
    /// No items among them.
    pub no_items: usize,
    /// Items without a verdict; they are in no other number.
    pub failed: usize,
}

impl Calibration {
    /// From pairs of label and verdict.
    pub fn of(verdicts: &[(bool, Option<bool>)]) -> Self {
        let count = |label: bool, said: bool| verdicts.iter().filter(|pair| **pair == (label, Some(said))).count();
        let (yes_items, no_items) = (count(true, true) + count(true, false), count(false, true) + count(false, false));
        let share = |right: usize, of: usize| if of == 0 { 0.0 } else { right as f64 / of as f64 };
        Self {
            balanced_accuracy: (share(count(true, true), yes_items) + share(count(false, false), no_items)) / 2.0,
            agreement: share(count(true, true) + count(false, false), yes_items + no_items),
            false_yes: count(false, true),
            false_no: count(true, false),
            items: yes_items + no_items,
            yes_items,
            no_items,
            failed: verdicts.len() - yes_items - no_items,
        }
    }
}

/// More failures than this share make a calibration worthless.
const MOST_FAILED: f64 = 0.05;

impl Judge {
    /// Judges labelled pairs and compares.
    ///
    /// # Errors
    /// When pairs of one label are missing, or more than one in twenty got no verdict: the message has the last reason.
    pub async fn calibrate(&self, pairs: &[LabelledPair]) -> Result<Calibration> {
        if !pairs.iter().any(|pair| pair.same) || pairs.iter().all(|pair| pair.same) {
            return Err(RewardError::Judge("a calibration needs pairs of both labels".to_owned()));
        }
        let scores = join_all(pairs.iter().map(|pair| self.same(&pair.question, &pair.reference, &pair.answer))).await;
        let verdicts: Vec<(bool, Option<bool>)> = pairs
            .iter()
            .zip(&scores)
            .map(|(pair, score)| (pair.same, score.outcome.value().map(|value| value >= 0.5)))
            .collect();
        let calibration = Calibration::of(&verdicts);
        if calibration.failed as f64 > MOST_FAILED * pairs.len() as f64 {
            let reason = scores.iter().find(|score| score.outcome.value().is_none());
            let reason = reason.map(|score| format!("{:?}", score.outcome)).unwrap_or_default();
            let failed = calibration.failed;
            return Err(RewardError::Judge(format!("{failed} of {} items got no verdict: {reason}", pairs.len())));
        }
        Ok(calibration)
    }

    /// Whether the calibration is good enough for this judge's config.
    ///
    /// # Errors
    /// When it is not, with the numbers.
    pub fn accept(&self, calibration: &Calibration) -> Result<()> {
        let least = self.config().min_balanced_accuracy;
        if calibration.balanced_accuracy >= least {
            return Ok(());
        }
        Err(RewardError::Judge(format!(
            "the judge's balanced accuracy is {:.3} on {} labelled items ({} false yes, {} false no), below \
             min_balanced_accuracy = {least}; use a better judge or prompt, or lower the limit knowingly",
            calibration.balanced_accuracy, calibration.items, calibration.false_yes, calibration.false_no
        )))
    }
}
