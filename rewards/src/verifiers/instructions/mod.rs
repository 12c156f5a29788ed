//! Instruction following: whether an answer keeps constraints that a program can check, in the manner of IFEval.
//!
//! A query names its constraints in the column `instructions`, as `[{"kind": "keywords:existence", "keywords": ["sea"]}]`,
//! or as IFEval's rows do, in the columns `instruction_id_list` and `kwargs`. An empty answer keeps none of them.

mod kinds;
mod parameters;
mod reading;
mod visible;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::extract;
use crate::kind::{Example, Verifier};
use crate::reward::{Item, Role};
use crate::score::{FailureKind, PartScore};
pub use kinds::{KINDS, Kind};
use parameters::Parameters;
use reading::Reading;

/// How several constraints make one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scoring {
    /// 1 when all are kept, else 0.
    #[default]
    Strict,
    /// The share of those that are kept.
    Share,
}

/// More constraints than this are a fault of the data.
const MOST: usize = 64;

/// A constraint of a query.
struct Instruction<'q> {
    kind: &'static Kind,
    parameters: Parameters<'q>,
}

/// Scores an answer by the constraints of its query; a constraint that cannot be read is a fault of the data.
pub fn score(item: &Item<'_>, scoring: Scoring) -> PartScore {
    let instructions = match read(item) {
        Ok(instructions) => instructions,
        Err(fault) => return PartScore::failed(FailureKind::GroundTruth, fault),
    };
    let Some(answer) = extract::answer(item.transcript) else {
        return PartScore::verdict(false, "the thinking is not closed");
    };
    let reading = Reading::new(extract::capped(answer));
    let mut broken = Vec::new();
    for instruction in &instructions {
        let kept = match (instruction.kind.check)(&reading, &instruction.parameters) {
            Ok(kept) => kept && !reading.is_empty(),
            Err(fault) => {
                let fault = format!("the instruction `{}`: {fault}", instruction.kind.name);
                return PartScore::failed(FailureKind::GroundTruth, fault);
            }
        };
        if !kept {
            broken.push(instruction.kind.name);
        }
    }
    let kept = instructions.len() - broken.len();
    let evidence = match broken[..] {
        [] => format!("all {kept} instructions are kept"),
        _ => format!("{kept} of {} instructions are kept, not {}", instructions.len(), broken.join(", ")),
    };
    match scoring {
        Scoring::Strict => PartScore::verdict(broken.is_empty(), evidence),
        Scoring::Share => PartScore::value(kept as f64 / instructions.len() as f64, evidence),
    }
}

fn read<'q>(item: &Item<'q>) -> Result<Vec<Instruction<'q>>, String> {
    let columns = &item.query.columns;
    let truth = item.query.ground_truth.as_ref();
    let listed = columns.get("instructions").or_else(|| truth.and_then(|truth| truth.get("instructions")));
    let found = match (listed, columns.get("instruction_id_list")) {
        (Some(Value::Array(items)), _) => items.iter().map(|item| instruction(item.get("kind"), item)).collect(),
        (_, Some(Value::Array(ids))) => ids
            .iter()
            .enumerate()
            .map(|(at, id)| {
                let given = columns.get("kwargs").and_then(|kwargs| kwargs.get(at)).unwrap_or(&Value::Null);
                instruction(Some(id), given)
            })
            .collect(),
        _ => Err("the query has no column `instructions`, a list of {\"kind\": ...}, and no `instruction_id_list`"
            .to_owned()),
    }?;
    let found: Vec<Instruction<'q>> = found;
    if found.is_empty() || found.len() > MOST {
        return Err(format!("{} instructions; 1 to {MOST} can be checked", found.len()));
    }
    Ok(found)
}

fn instruction<'q>(name: Option<&Value>, given: &'q Value) -> Result<Instruction<'q>, String> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    let name = name.and_then(Value::as_str).ok_or("an instruction has no `kind`")?;
    let kind = KINDS.iter().find(|kind| kind.name == name);
    let kind = kind.ok_or_else(|| {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        format!("unknown kind of instruction `{name}`; known are {}", known.join(", "))
    })?;
    Ok(Instruction { kind, parameters: Parameters(given.as_object().unwrap_or(&NONE)) })
}

/// Constraints in the manner of IFEval: the column `instructions`, or `instruction_id_list` and `kwargs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Instructions {
    /// How several constraints make one value: `strict` (all or nothing), or `share` of those that are kept.
    pub scoring: Scoring,
}

impl Verifier for Instructions {
    const VERSION: &'static str = "instructions/1";
    const ROLE: Role = Role::Form;
    const TRUTH_IS_ANSWER: bool = false;

    fn score(&self, item: &Item<'_>) -> PartScore {
        score(item, self.scoring)
    }

    fn example() -> Example {
        Example::new(Value::Null, "The sea is calm today.", 1.0).columns(json!({"instructions": [
            {"kind": "keywords:existence", "keywords": ["sea"]},
            {"kind": "length_constraints:number_words", "num_words": 10, "relation": "less than"},
        ]}))
    }
}

#[cfg(test)]
mod tests;
