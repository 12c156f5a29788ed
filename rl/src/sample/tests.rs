//! That rewards are asked while others are still being sampled.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use sapo_datasets::{Query, Split, Task, synthetic};
use sapo_rewards::{RewardConfig, RubricConfig};
use serde_json::json;

use super::*;
use crate::encode::encode;

/// A judge on loopback that tells of every request before it says yes.
fn judge() -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(std::io::Result::ok) {
            drop(stream.read(&mut [0; 16_384]));
            told.send(()).ok();
            let body = json!({"choices": [{"message": {"content": "{\"verdict\":\"yes\"}"}}]}).to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            drop(stream.write_all(format!("{head}{body}").as_bytes()));
        }
    });
    (url, asked)
}

/// Sampling is held up after the first rollout until the judge was asked about it: were judges asked only after all
/// sampling, that would never be.
#[test]
fn the_judge_is_asked_while_others_are_still_being_sampled() {
    let (url, asked) = judge();
    let reward: RewardConfig = serde_json::from_value(json!({
        "kind": "judge", "endpoint": url, "prompt": "same-v1", "canary_share": 0.0, "cache": "off",
    }))
    .unwrap();
    let rubric = RubricConfig { correct: "same".to_owned(), language_penalty: 0.0, ..RubricConfig::default() };
    let rewards = BTreeMap::from([("same".to_owned(), reward)]);
    let rewards = Rewards::of_rubrics(&rewards, &[("judged", &rubric)]).unwrap();
    let rubrics = [rewards.rubric("judged").unwrap()];
    // The preset `judge` ends its working and says a verdict, which here is the answer.
    let model = Model::open("judge", 1, &crate::device::open("cpu").unwrap()).unwrap();
    let prompt = |at| {
        let query = synthetic::query(Task::Judge, Split::Test, 1, at);
        let truth = Some(json!(["{\"verdict\":\"yes\"}", "{\"verdict\":\"no\"}"]));
        let query = Query { ground_truth: truth, ..query };
        let input = encode(&model.processor, &query).unwrap();
        Prompt { query: Arc::new(query), response: None, part: 0, index: at, input }
    };
    let scope = SeedScope { seed: 1, place: "test", samples: 1 };
    let engine = local_engine(&model, 1, 64);
    let generator =
        Generator { policy: &model.policy, processor: &model.processor, engine: &engine, rewards: &rewards };
    let mut order = Vec::new();
    let ended = &mut |done: Ended| {
        if done.rollouts == 1 {
            asked.recv_timeout(Duration::from_secs(300)).expect("the judge is asked before sampling goes on");
            order.push("asked".to_owned());
        }
        assert_eq!(done.rollouts, done.groups, "each group is of one");
        order.push(format!("sampled {}", done.rollouts));
        ControlFlow::Continue(())
    };
    let prompts = (0..3).map(prompt).collect();
    let Sampled { groups, failed, .. } =
        generator.sample_and_score(prompts, &Sampling::greedy(96), scope, &rubrics, ended).unwrap();
    assert_eq!(order, ["asked", "sampled 1", "sampled 2", "sampled 3"]);
    assert!(failed.is_empty() && groups.iter().all(|group| group.rollouts[0].score.passed == Some(true)));
}
