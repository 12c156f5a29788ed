//! Functions as other projects write them: each is called as its project calls it, and what it gives beside its value is
//! kept.

use serde_json::Map;

use super::python::{Code, python_is_here};
use super::*;

/// An answer to the question, and whether the data asked it with messages.
fn asked(response: &str, conversational: bool) -> (Query, Transcript) {
    let (query, transcript) = pair(json!("5"), response);
    (Query { conversational, ..query }, transcript)
}

async fn scored(config: &ProcessConfig, pairs: &[(Query, Transcript)]) -> Vec<PartScore> {
    scores(&Plugin::process("plugin", config).unwrap(), pairs).await
}

const FUNCTIONS: &str = r#"
import asyncio
from typing import Any, Dict, List

def verl_batch(data_sources, solution_strs, ground_truths, extra_infos, bonus=0.0):
    return [float(said == truth) for said, truth in zip(solution_strs, ground_truths)]

async def verl_async(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    await asyncio.sleep(0)
    return {"score": float(solution_str == ground_truth), "acc": solution_str == ground_truth}

async def trl_async(prompts, completions, answer, log_metric=None, **kwargs):
    await asyncio.sleep(0)
    return [float(said == truth) for said, truth in zip(completions, answer)]

def messages(completions: List[List[Dict[str, str]]], **kwargs):
    return [float(said[0]["content"] == truth) for said, truth in zip(completions, kwargs["ground_truth"])]

def easyr1_single(reward_input: Dict[str, Any], weight: float = 1.0):
    return {"overall": weight * (reward_input["response"] == reward_input["ground_truth"])}

def easyr1_batch(reward_inputs: List[Dict[str, Any]], weight: float = 1.0):
    return [easyr1_single(one, weight) for one in reward_inputs]

def predicted(predict: str, ground_truth: str):
    return {"overall": float(predict == ground_truth)}

async def predicted_batch(predicts: List[str], ground_truths: List[str]):
    return [predicted(said, truth) for said, truth in zip(predicts, ground_truths)]

async def verifiers(prompt, completion, answer, state, info, **kwargs) -> float:
    assert prompt == [{"role": "user", "content": "3 + 2?"}] and state["answer"] == answer and info == {}
    return float(completion[-1]["content"] == answer)

async def own(item):
    return item["answer"] == item["ground_truth"]
"#;

#[tokio::test]
async fn functions_of_others_are_called_as_they_are_written() {
    if !python_is_here() {
        return;
    }
    let code = Code::new("forms", FUNCTIONS);
    for name in FUNCTIONS.lines().filter_map(|line| line.split("def ").nth(1)?.split('(').next()) {
        let scored = scored(&code.config(name), &[asked("5", false), asked("6", false)]).await;
        assert_eq!(values(&scored), [Some(1.0), Some(0.0)], "{name}: {scored:?}");
    }
}

#[tokio::test]
async fn completions_are_messages_where_the_prompt_is() {
    if !python_is_here() {
        return;
    }
    let code = Code::new(
        "shapes",
        "def trl(prompts, completions):\n    return [isinstance(a, list) and isinstance(b, list) for a, b in zip(prompts, \
         completions)]\n\ndef text(completions: list[str]):\n    return [isinstance(one, list) for one in completions]\n",
    );
    let both = [asked("5", true), asked("5", false)];
    for (name, messages, wanted) in [
        ("trl", None, [1.0, 0.0]),
        ("trl", Some(true), [1.0; 2]),
        ("trl", Some(false), [0.0; 2]),
        ("text", None, [0.0; 2]),
    ] {
        let scored = scored(&ProcessConfig { messages, ..code.config(name) }, &both).await;
        assert_eq!(values(&scored), wanted.map(Some), "{name} {messages:?}: {scored:?}");
    }
}

#[tokio::test]
async fn what_is_measured_beside_the_value_is_kept() {
    if !python_is_here() {
        return;
    }
    let code = Code::new(
        "beside",
        r#"
def verl(data_source, solution_str, ground_truth, extra_info=None):
    return {"score": 0.5, "acc": True, "pred": solution_str, "why": "near", "odd": float("nan"), "none": None}

def trl(completions, log_extra=None, log_metric=None, **kwargs):
    log_extra("said", completions)
    log_extra("length", [len(said) for said in completions])
    log_metric("strict", 1.0)
    return [None if said == "?" else 0.5 for said in completions]
"#,
    );
    let verl = scored(&code.config("verl"), &[asked("5", false)]).await.remove(0);
    assert_eq!((verl.outcome.value(), verl.extracted.as_deref()), (Some(0.5), Some("5")));
    assert_eq!(verl.metrics, [("acc".to_owned(), 1.0)].into());
    assert_eq!(verl.evidence.as_deref(), Some("why: near; odd: nan"));
    let trl = scored(&code.config("trl"), &[asked("55", false), asked("?", false)]).await;
    assert_eq!(trl[0].metrics, [("length".to_owned(), 2.0), ("strict".to_owned(), 1.0)].into());
    assert_eq!(trl[0].evidence.as_deref(), Some("said: 55"));
    assert!(matches!(&trl[1].outcome, Outcome::Skip(reason) if reason.contains("gave None")), "{trl:?}");
}

#[tokio::test]
async fn arguments_of_the_config_are_handed_over() {
    if !python_is_here() {
        return;
    }
    let code = Code::new("kwargs", "def f(item, weight=1.0, *, names):\n    return weight * len(names)\n");
    let kwargs = |given: Value| Map::from_iter(given.as_object().unwrap().clone());
    let with = |given: Value| ProcessConfig { kwargs: kwargs(given), ..code.config("f") };
    let good = scored(&with(json!({"weight": 0.25, "names": ["a", "b"]})), &[asked("5", false)]).await;
    assert_eq!(values(&good), [Some(0.5)]);
    for (given, says) in [(json!({"names": [], "wweight": 1}), "did you mean `weight`?"), (json!({}), "is not known")] {
        let plugin = Plugin::process("plugin", &with(given)).unwrap();
        let refused = plugin.prepare().unwrap_err();
        assert!(refused.contains("cannot be started") && refused.contains(says), "{refused}");
        assert_eq!(failure(&scores(&plugin, &[asked("5", false)]).await[0]).0, FailureKind::Unavailable);
    }
}

#[tokio::test]
async fn a_function_that_hangs_everywhere_costs_a_few_deadlines_and_no_more() {
    if !python_is_here() {
        return;
    }
    let code = Code::new("hangs", "import time\ndef f(items):\n    time.sleep(1000)\n");
    let config = ProcessConfig { timeout_secs: 0.1, ..code.config("f") };
    let scored = scored(&config, &vec![asked("5", false); 64]).await;
    // Items that came a little later are a second batch, after which the reward is given up.
    let kinds = [FailureKind::Timeout, FailureKind::Unavailable];
    assert!(scored.iter().all(|score| kinds.contains(&failure(score).0)), "{scored:?}");
    let told = |words: &str| scored.iter().any(|score| failure(score).1.contains(words));
    assert!(told("deadlines in a row") && told("timeout_secs = 0.1"), "{scored:?}");
}
