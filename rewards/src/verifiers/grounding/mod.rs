//! Grounding: boxes and points in Qwen3-VL's JSON, in 0..1000, read strictly and matched one to one.

mod matching;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::extract::{LastJson, capped, last_answer_tag, last_json};
use crate::kind::{Example, Verifier, answered};
use crate::reward::Item;
use crate::score::{FailureKind, PartScore};
use matching::matching;

/// Left, top, right, bottom.
pub type Corners = [f64; 4];

/// Coordinates are in 0..=1000 of the picture's sides.
const SCALE: f64 = 1000.0;
/// So many boxes or points are read; an answer with more is invalid.
const MOST: usize = 512;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroundingTask {
    /// `bbox_2d: [x1, y1, x2, y2]`.
    Bbox,
    /// `point_2d: [x, y]`.
    Point,
}

/// The ground truth: `{"task": "bbox", "boxes": [[x1, y1, x2, y2], ...]}`; for points, the boxes they must fall in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// What is asked for.
    pub task: GroundingTask,
    /// The targets.
    pub boxes: Vec<Corners>,
}

/// What a grounding answer is measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Sum of the IoU of matched pairs over the larger count (for points: those in their box over the larger count).
    #[default]
    MeanIou,
    /// F1 of pairs with IoU >= 0.5 under the same matching.
    F1,
}

/// How well an answer fits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// See [`Metric::MeanIou`].
    pub mean: f64,
    /// See [`Metric::F1`].
    pub f1: f64,
}

/// Reads the answer part of a reply: boxes or points, all valid, or the reason why not.
///
/// # Errors
/// What is wrong with the answer.
pub fn parse(text: &str, task: GroundingTask) -> Result<Vec<Vec<f64>>, String> {
    let text = capped(text);
    let value = match last_json(last_answer_tag(text).unwrap_or(text)) {
        LastJson::Nothing => return Err("no JSON".to_owned()),
        LastJson::Broken => return Err("the JSON is not strict".to_owned()),
        LastJson::Found(value) => value,
    };
    let items = match value {
        Value::Array(items) => items,
        object => vec![object],
    };
    if items.len() > MOST {
        return Err(format!("{} items, more than {MOST}", items.len()));
    }
    items.iter().map(|item| place(item, task)).collect()
}

/// The place of one item: four numbers of a box, or two of a point, in 0..=1000.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn place(item: &Value, task: GroundingTask) -> Result<Vec<f64>, String> {
    let (key, arity) = match task {
        GroundingTask::Bbox => ("bbox_2d", 4),
        GroundingTask::Point => ("point_2d", 2),
    };
    let list = item.get(key).and_then(Value::as_array).ok_or_else(|| format!("an item has no list `{key}`"))?;
    let numbers: Option<Vec<f64>> = list.iter().map(Value::as_f64).collect();
    let numbers = numbers.ok_or_else(|| format!("`{key}` holds something other than numbers"))?;
    if numbers.len() != arity {
        return Err(format!("`{key}` has {} numbers, not {arity}", numbers.len()));
    }
    if !numbers.iter().all(|number| (0.0..=SCALE).contains(number)) {
        return Err(format!("`{key}` leaves 0..1000"));
    }
    if let [x1, y1, x2, y2] = numbers[..]
        && (x1 >= x2 || y1 >= y2)
    {
        return Err("a box has no area or its corners are swapped".to_owned());
    }
    Ok(numbers)
}

/// How well places fit the truth, under the one-to-one matching with the greatest sum.
pub fn fit(truth: &Truth, places: &[Vec<f64>]) -> Fit {
    let larger = truth.boxes.len().max(places.len());
    if larger == 0 {
        return Fit { mean: 1.0, f1: 1.0 };
    }
    let worth: Vec<Vec<f64>> =
        truth.boxes.iter().map(|target| places.iter().map(|place| overlap(*target, place)).collect()).collect();
    let pairs = matching(&worth);
    let sum: f64 = pairs.iter().map(|(row, column)| worth[*row][*column]).sum();
    let hits = pairs.iter().filter(|(row, column)| worth[*row][*column] >= 0.5).count();
    Fit { mean: sum / larger as f64, f1: 2.0 * hits as f64 / (truth.boxes.len() + places.len()) as f64 }
}

/// IoU with a box; for a point, 1 when it lies in the target, edges included.
fn overlap(target: Corners, place: &[f64]) -> f64 {
    match place[..] {
        [x1, y1, x2, y2] => iou(target, [x1, y1, x2, y2]),
        [x, y] => f64::from(u8::from(target[0] <= x && x <= target[2] && target[1] <= y && y <= target[3])),
        _ => 0.0,
    }
}

/// Intersection over union; 0 for boxes without area.
pub fn iou(one: Corners, other: Corners) -> f64 {
    let side = |low: usize| (one[low + 2].min(other[low + 2]) - one[low].max(other[low])).max(0.0);
    let area = |corners: Corners| (corners[2] - corners[0]) * (corners[3] - corners[1]);
    let shared = side(0) * side(1);
    let union = area(one) + area(other) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

/// The fit of an answer by `metric`; 1 or 0 when a threshold is given. An answer that is not valid scores 0.
pub fn score(truth: &Value, text: &str, metric: Metric, threshold: Option<f64>) -> PartScore {
    let truth: Truth = match serde_json::from_value(truth.clone()) {
        Ok(truth) => truth,
        Err(error) => {
            let fault = format!("the ground truth is not {{\"task\": \"bbox\"|\"point\", \"boxes\": [...]}}: {error}");
            return PartScore::failed(FailureKind::GroundTruth, fault);
        }
    };
    let places = match parse(text, truth.task) {
        Ok(places) => places,
        Err(fault) => return PartScore::verdict(false, fault),
    };
    let fit = fit(&truth, &places);
    let (value, name) = match metric {
        Metric::MeanIou if truth.task == GroundingTask::Point => (fit.mean, "points in their boxes"),
        Metric::MeanIou => (fit.mean, "IoU"),
        Metric::F1 => (fit.f1, "F1"),
    };
    let said = serde_json::to_string(&places).unwrap_or_default();
    match threshold {
        None => PartScore::value(value, format!("{name} {value:.3}")).extracted(said),
        Some(least) => PartScore::verdict(value >= least, format!("{name} {value:.3}, {least} passes")).extracted(said),
    }
}

/// Boxes or points in Qwen3-VL's JSON, 0..1000, matched one to one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grounding {
    /// What is measured: `mean_iou`, or `f1` at IoU 0.5.
    pub metric: Metric,
    /// With it the value is 1 from this value on and 0 below; without, the value is the metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

impl Verifier for Grounding {
    const VERSION: &'static str = "grounding/1";

    fn check(&self) -> Result<(), String> {
        match self.threshold.filter(|least| !(0.0..=1.0).contains(least)) {
            Some(least) => Err(format!("threshold = {least}: it must be in 0..1")),
            None => Ok(()),
        }
    }

    fn score(&self, item: &Item<'_>) -> PartScore {
        answered(item, |truth, text| score(truth, text, self.metric, self.threshold))
    }

    fn example() -> Example {
        Example::new(
            json!({"task": "bbox", "boxes": [[100, 200, 300, 400]]}),
            "[{\"bbox_2d\": [100, 200, 200, 400]}]",
            0.5,
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(gold: Value, text: &str) -> f64 {
        let truth = json!({"task": "bbox", "boxes": gold});
        score(&truth, text, Metric::MeanIou, None).outcome.value().expect("a readable truth")
    }

    #[test]
    fn traps_do_not_pay() {
        let gold = json!([[100, 100, 200, 200]]);
        for text in [
            "",
            "{}",
            "[[100, 100, 200, 200]]",
            r#"[{"bbox_2d": [100, 100, 200, 1e308]}]"#,
            r#"[{"bbox_2d": [100, 100, 200, true]}]"#,
            r#"[{"bbox_2d": [100, 100, 200, 200]}, {"label": "x"}]"#,
            r#"[{"bbox_2d": [100, 100, 200, 200]}, {"bbox_2d": [1, 2"#,
            r#"[{"bbox_2d": [100, 100, 200, 200]},]"#,
        ] {
            assert_eq!(value(gold.clone(), text), 0.0, "{text}");
        }
        assert_eq!(value(gold.clone(), r#"{"bbox_2d": [0, 0, 1000, 1000]}"#), 0.01);
        let spam = format!("[{}]", [r#"{"bbox_2d": [100, 100, 200, 200]}"#; 10].join(","));
        assert!((value(gold, &spam) - 0.1).abs() < 1e-12);
        assert!(score(&json!("x"), "", Metric::MeanIou, None).outcome.value().is_none());
    }

    #[test]
    fn a_threshold_gives_a_verdict() {
        let truth = json!({"task": "bbox", "boxes": [[0, 0, 500, 500]]});
        let verdict = |text: &str| score(&truth, text, Metric::MeanIou, Some(0.5)).outcome.value();
        assert_eq!(verdict(r#"{"bbox_2d":[0,0,500,250]}"#), Some(1.0));
        assert_eq!(verdict(r#"{"bbox_2d":[0,0,500,240]}"#), Some(0.0));
    }

    proptest! {
        #[test]
        fn a_box_is_like_itself_alone(x in 0..900, y in 0..900, w in 1..100, h in 1..100, text in "\\PC{0,60}") {
            let gold = json!([[x, y, x + w, y + h]]);
            let said = json!([{"bbox_2d": [x, y, x + w, y + h]}]).to_string();
            prop_assert_eq!(value(gold.clone(), &said), 1.0);
            let _ = value(gold, &text);
        }
    }
}
