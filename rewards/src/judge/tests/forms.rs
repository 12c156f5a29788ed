//! Criteria, pairs, pictures, votes, canaries, and the comparison with rules.

use sapo_datasets::Picture;
use serde_json::Map;

use super::*;

fn criterion(name: &str, weight: f64) -> Criterion {
    Criterion { name: name.to_owned(), text: format!("The answer is {name}."), weight, needs_image: false }
}

fn criteria(endpoint: &str, criteria: Vec<Criterion>) -> JudgeConfig {
    JudgeConfig { prompt: "criteria-v1".to_owned(), criteria, ..config(endpoint) }
}

/// The names of the criteria in a prompt, in its order.
fn names(prompt: &str) -> Vec<&str> {
    prompt.lines().filter_map(|line| line.strip_prefix("- \"")?.split_once("\": ").map(|(name, _)| name)).collect()
}

/// What stands in the fence of that name.
fn fenced<'a>(prompt: &'a str, name: &str) -> &'a str {
    let (_, rest) = prompt.split_once(&format!("-{name}>\n")).unwrap();
    rest.split_once("\n</").unwrap().0
}

/// yes for every criterion whose name the answer has.
fn by_name(prompt: &str) -> String {
    let answer = fenced(prompt, "answer");
    let verdict = |name: &str| if answer.contains(name) { "yes" } else { "no" };
    let object: Map<String, Value> =
        names(prompt).into_iter().map(|name| (name.to_owned(), json!(verdict(name)))).collect();
    format!("One reason each. {}", Value::Object(object))
}

#[tokio::test]
async fn criteria_count_by_their_weights_whatever_their_order() {
    let stub = Stub::start(vec![Act::By(by_name)]).await;
    let names_of = ["right", "short", "polite"];
    let list = vec![criterion("right", 2.0), criterion("short", 1.0), criterion("polite", 1.0)];
    let judge = judge(&criteria(&stub.url, list));
    let answers = ["right short polite", "right polite", "short", "neither of them", "right", "polite short"];
    let given = scores(&judge, &red_star(), &answers).await;
    assert_eq!(values(&given), [1.0, 0.75, 0.25, 0.0, 0.5, 0.5].map(Some));
    assert!(given[1].evidence.as_ref().unwrap().contains("right yes, short no, polite yes"), "{given:?}");
    let prompts: Vec<String> = stub.bodies().iter().map(|body| stub::prompt(body)).collect();
    let firsts: std::collections::BTreeSet<&str> = prompts.iter().map(|prompt| names(prompt)[0]).collect();
    assert!(firsts.len() > 1, "no criterion is always the first");
    for prompt in &prompts {
        let mut all = names(prompt);
        all.sort_unstable();
        assert_eq!(all, ["polite", "right", "short"]);
        assert!(names_of.iter().all(|name| prompt.contains(&format!("The answer is {name}."))));
    }
    let again = Stub::start(vec![Act::By(by_name)]).await;
    let list = vec![criterion("right", 2.0), criterion("short", 1.0), criterion("polite", 1.0)];
    scores(&super::judge(&criteria(&again.url, list)), &red_star(), &answers).await;
    let mut before = stub.bodies();
    let mut after = again.bodies();
    before.sort();
    after.sort();
    assert_eq!(before, after, "the order depends on the seed and on what is judged alone");
}

#[tokio::test]
async fn a_verdict_with_a_criterion_missing_is_none() {
    let stub = Stub::start(vec![Act::Say("{\"right\": \"yes\"}"), Act::By(by_name)]).await;
    let list = vec![criterion("right", 1.0), criterion("short", 1.0)];
    let judge = judge(&criteria(&stub.url, list));
    assert_eq!(values(&scores(&judge, &red_star(), &["right"]).await), [Some(0.5)]);
    let seeds: Vec<Value> =
        stub.bodies().iter().map(|body| serde_json::from_str::<Value>(body).unwrap()["seed"].clone()).collect();
    assert_eq!(seeds, [0, 1], "the second try has another seed");
}

fn pairwise(endpoint: &str) -> JudgeConfig {
    JudgeConfig { prompt: "pairwise-v1".to_owned(), ..config(endpoint) }
}

#[tokio::test]
async fn pairs_are_asked_in_both_orders_and_what_depends_on_the_order_is_a_tie() {
    fn longer(prompt: &str) -> String {
        let (a, b) = (fenced(prompt, "a").len(), fenced(prompt, "b").len());
        let verdict = if a == b {
            "tie"
        } else if a > b {
            "A"
        } else {
            "B"
        };
        json!({"verdict": verdict}).to_string()
    }
    let stub = Stub::start(vec![Act::By(longer)]).await;
    let given =
        scores(&judge(&pairwise(&stub.url)), &red_star(), &["one red star in the sky", "red", "two red sta"]).await;
    assert_eq!((values(&given), stub.requests()), (vec![Some(1.0), Some(0.0), Some(0.0)], 6));
    let equal = scores(&judge(&pairwise(&stub.url)), &red_star(), &["two red star"]).await;
    assert_eq!(values(&equal), [Some(0.5)]);
    for biased in ["{\"verdict\": \"A\"}", "{\"verdict\": \"B\"}"] {
        let stub = Stub::start(vec![Act::Say(biased)]).await;
        let given = scores(&judge(&pairwise(&stub.url)), &red_star(), &["one red star in the sky", "red"]).await;
        assert_eq!(values(&given), [Some(0.5); 2], "{biased}");
    }
    // One order without a verdict: nothing can be told.
    fn unsure(prompt: &str) -> String {
        if fenced(prompt, "a") == "red" { longer(prompt) } else { "hm".to_owned() }
    }
    let stub = Stub::start(vec![Act::By(unsure)]).await;
    let given = scores(&judge(&pairwise(&stub.url)), &red_star(), &["red"]).await;
    assert_eq!(kind(&given[0]), Some(FailureKind::Protocol));
    let mut with_column = red_star();
    with_column.columns.insert("other".to_owned(), json!("r"));
    let stub = Stub::start(vec![Act::By(longer)]).await;
    let against = judge(&JudgeConfig { against: Some("other".to_owned()), ..pairwise(&stub.url) });
    assert_eq!(values(&scores(&against, &with_column, &["red"]).await), [Some(1.0)]);
    assert_eq!(kind(&scores(&against, &red_star(), &["red"]).await[0]), Some(FailureKind::GroundTruth));
}

#[tokio::test]
async fn pictures_are_shown_where_they_are_needed() {
    let stub = Stub::start(vec![Act::Judge]).await;
    let picture = Picture::from_rgb(&image::RgbImage::new(2, 3)).unwrap();
    let with_picture = Query { images: vec![picture.clone()], ..red_star() };
    let shows = judge(&JudgeConfig { needs_image: true, ..config(&stub.url) });
    assert!(shows.spec().needs_pictures);
    assert_eq!(values(&scores(&shows, &with_picture, &["one red star"]).await), [Some(1.0)]);
    let body: Value = serde_json::from_str(&stub.bodies()[0]).unwrap();
    let parts = body["messages"][0]["content"].as_array().unwrap();
    let url = parts[0]["image_url"]["url"].as_str().unwrap();
    let encoded = url.strip_prefix("data:image/png;base64,").unwrap();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).unwrap();
    assert_eq!(bytes, picture.bytes());
    assert_eq!(parts[1]["type"], "text");
    // Another picture is another question; none is a fault of the data.
    let other = Query { images: vec![Picture::from_rgb(&image::RgbImage::new(3, 2)).unwrap()], ..red_star() };
    scores(&shows, &other, &["one red star"]).await;
    assert_eq!(stub.requests(), 2);
    assert_eq!(kind(&scores(&shows, &red_star(), &["one red star"]).await[0]), Some(FailureKind::GroundTruth));
    let blind = judge(&config(&stub.url));
    scores(&blind, &with_picture, &["one red star"]).await;
    assert!(!stub.bodies()[2].contains("image_url"));
    let seen = Criterion { needs_image: true, ..criterion("right", 1.0) };
    assert!(judge(&criteria(&stub.url, vec![seen])).spec().needs_pictures);
}

#[tokio::test]
async fn the_majority_of_the_votes_counts() {
    let (yes, no) = (Some(true), Some(false));
    for (votes, wanted) in [
        ([yes, no, yes], Some(1.0)),
        ([no, no, yes], Some(0.0)),
        ([yes, None, yes], Some(1.0)),
        ([yes, no, None], None),
        ([None; 3], None),
    ] {
        let acts = vec![Act::Votes(votes)];
        let stub = Stub::start(acts).await;
        let three = JudgeConfig { votes: 3, temperature: 0.8, max_concurrency: 1, ..config(&stub.url) };
        let judge = judge(&three);
        assert!(!judge.spec().deterministic);
        assert_eq!(judge.same("?", "five", "5").await.outcome.value(), wanted);
        let seeds: std::collections::BTreeSet<String> =
            stub.bodies().iter().map(|body| serde_json::from_str::<Value>(body).unwrap()["seed"].to_string()).collect();
        assert_eq!(seeds.len(), stub.requests(), "every request has a seed of its own");
    }
}

#[tokio::test]
async fn canaries_disturb_nothing_and_stop_a_judge_that_fails() {
    let answers: Vec<String> = (0..60).map(|number| format!("{number} red stars")).collect();
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let all_canaries = |url: &str| JudgeConfig { canary_share: 1.0, ..config(url) };
    let stub = Stub::start(vec![Act::Judge]).await;
    let plain = scores(&judge(&config(&stub.url)), &red_star(), &answers).await;
    let watched = judge(&all_canaries(&stub.url));
    assert_eq!(scores(&watched, &red_star(), &answers).await, plain);
    let counts = watched.counts();
    assert_eq!((counts.canaries, counts.canary_failures, counts.failed), (60, 0, 0));
    assert_eq!(watched.stopped(), None);
    // The same ones come when the verdicts are known.
    scores(&watched, &red_star(), &answers).await;
    assert_eq!(watched.counts().canaries, 120);
    assert_eq!(stub.requests(), 60 + 60 + 120);
    let some = judge(&JudgeConfig { canary_share: 0.2, ..config(&stub.url) });
    scores(&some, &red_star(), &answers).await;
    let again = judge(&JudgeConfig { canary_share: 0.2, ..config(&stub.url) });
    scores(&again, &red_star(), &answers).await;
    assert_eq!(some.counts().canaries, again.counts().canaries);
    assert!((3..30).contains(&some.counts().canaries), "{}", some.counts().canaries);

    let yes_man = Stub::start(vec![Act::Say("{\"verdict\":\"yes\"}")]).await;
    let fooled = judge(&JudgeConfig { max_concurrency: 1, ..all_canaries(&yes_man.url) });
    let mut given = Vec::new();
    while fooled.stopped().is_none() && given.len() < answers.len() {
        given.extend(scores(&fooled, &red_star(), &[answers[given.len()]]).await);
    }
    let reason = fooled.stopped().unwrap();
    assert!(reason.contains("rows with a known verdict") && reason.contains("max_canary_failures = 0.02"), "{reason}");
    assert!(given.len() < 30 && fooled.counts().canary_failures == 2, "{} asked", given.len());
    let tolerant = judge(&JudgeConfig { max_canary_failures: 1.0, ..all_canaries(&yes_man.url) });
    scores(&tolerant, &red_star(), &answers).await;
    assert!(tolerant.stopped().is_none() && tolerant.counts().canary_failures > 20);
}

#[tokio::test]
async fn every_kind_of_prompt_has_canaries_that_a_good_judge_passes() {
    fn good(prompt: &str) -> String {
        let rows = canary::rows(Kind::Reference, "reference-v1");
        let (reference, answer) = (fenced(prompt, "reference"), fenced(prompt, "answer"));
        let right = rows.iter().any(|row| row.right && row.reference == reference && row.answer == answer);
        let key = if prompt.contains("- \"same_result\"") { "same_result" } else { "verdict" };
        json!({key: if right { "yes" } else { "no" }}).to_string()
    }
    fn better(prompt: &str) -> String {
        let (a, b) = (fenced(prompt, "a"), fenced(prompt, "b"));
        let rows = canary::rows(Kind::Pairwise, "pairwise-v1");
        let first = rows.iter().any(|row| {
            if row.right { row.answer == a && row.reference == b } else { row.reference == a && row.answer == b }
        });
        json!({"verdict": if first { "A" } else { "B" }}).to_string()
    }
    fn of_question(prompt: &str) -> String {
        let version = if prompt.contains("-reference>") { "verifiable-v1" } else { "clear-v1" };
        let question = fenced(prompt, "question");
        let reference = if version == "clear-v1" { "" } else { fenced(prompt, "reference") };
        let mut rows = canary::rows(Kind::Query, version).iter();
        let right = rows.any(|row| row.right && row.question == question && row.reference == reference);
        json!({"verdict": if right { "yes" } else { "no" }}).to_string()
    }
    for (prompt, say) in [
        ("reference-v1", good as fn(&str) -> String),
        ("criteria-v1", good),
        ("pairwise-v1", better),
        ("verifiable-v1", of_question),
        ("clear-v1", of_question),
    ] {
        let stub = Stub::start(vec![Act::By(say)]).await;
        let list = if prompt == "criteria-v1" { vec![criterion("right", 1.0)] } else { Vec::new() };
        let config = JudgeConfig { prompt: prompt.to_owned(), criteria: list, canary_share: 1.0, ..config(&stub.url) };
        let judge = judge(&config);
        for row in canary::rows(judge.prompt.kind(), prompt) {
            judge.ask_canary(row).await;
        }
        let counts = judge.counts();
        assert_eq!(counts.canary_failures, 0, "{prompt}: {:?}", judge.stopped());
        assert!(counts.canaries >= 8, "{prompt}");
    }
}

#[tokio::test]
async fn a_question_is_judged_by_itself_whatever_was_answered() {
    fn has_reference(prompt: &str) -> String {
        assert!(!prompt.contains("a secret answer") && !prompt.contains("-answer>"), "{prompt}");
        json!({"verdict": if fenced(prompt, "reference").is_empty() { "no" } else { "yes" }}).to_string()
    }
    let stub = Stub::start(vec![Act::By(has_reference)]).await;
    let judge = judge(&JudgeConfig { prompt: "verifiable-v1".to_owned(), ..config(&stub.url) });
    let answers = ["", "a secret answer", "<think>never closed"];
    assert_eq!(values(&scores(&judge, &red_star(), &answers).await), [Some(1.0); 3]);
    let none = Query { ground_truth: None, ..red_star() };
    assert_eq!(
        values(&scores(&judge, &none, &answers[..1]).await),
        [Some(0.0)],
        "without a truth it is asked all the same"
    );
    let place = Query { ground_truth: Some(json!({"bbox_2d": [1, 2, 3, 4]})), ..red_star() };
    assert_eq!(values(&scores(&judge, &place, &[""]).await), [Some(1.0)], "a truth that is no text is one");
    assert_eq!(stub.requests(), 3, "what was answered makes no other question");
    assert_eq!(judge.counts().refused, 0);
}

#[tokio::test]
async fn agreement_with_a_rule_is_counted_where_the_data_names_one() {
    let stub = Stub::start(vec![Act::Judge]).await;
    let judge = judge(&config(&stub.url));
    let mut ruled = red_star();
    ruled.columns.insert("reward_kind".to_owned(), json!("text"));
    // The rule is not as strict about case as the judge is.
    let scored = scores(&judge, &ruled, &["one red star", "two red stars", "One red star", ""]).await;
    let rules: Vec<f64> = scored.iter().map(|score| score.metrics[RULE]).collect();
    assert_eq!(rules, [1.0, 0.0, 1.0, 0.0], "what the rule says stands beside the verdict");
    assert!(scores(&judge, &red_star(), &["one red star"]).await[0].metrics.is_empty());
    let counts = judge.counts();
    assert_eq!((counts.ruled, counts.rule_agrees), (4, 3));
}
