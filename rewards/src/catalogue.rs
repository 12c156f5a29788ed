//! The catalogue: every kind of reward with its options and an example, for people who write configs.

use serde::Serialize;
use serde_json::{Value, json};

/// A kind of reward.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// What stands at `kind`.
    pub kind: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Its options: name, default, meaning.
    pub options: Vec<Parameter>,
    /// A row and what it gets.
    pub example: Example,
}

/// An option of a kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameter {
    /// The key in the config.
    pub name: &'static str,
    /// The value when it is left out; `required` when it cannot be.
    pub default: &'static str,
    /// What it means.
    pub summary: &'static str,
}

/// A row, and the value it gets with the default options.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Example {
    /// The query's ground truth.
    pub ground_truth: Value,
    /// Further columns of the query.
    pub columns: Value,
    /// The response.
    pub response: &'static str,
    /// What it gets; `None` where a server would have to be asked.
    pub value: Option<f64>,
}

/// Every kind, in the order in which they are best read.
pub fn catalogue() -> Vec<Entry> {
    let boxes = json!({"task": "bbox", "boxes": [[100, 200, 300, 400]]});
    vec![
        entry(
            "exact",
            "the whole answer is the ground truth: number, text, one box; nothing is extracted",
            json!(85),
            "85",
            1.0,
        ),
        entry(
            "truth",
            "the verifier that the column reward_kind names, else the one for the ground truth's form",
            json!("Ann"),
            "\\boxed{Ann}",
            1.0,
        ),
        entry("number", "an integer or decimal, exactly", json!(85), "The answer is 85.0.", 1.0),
        entry("numeric", "a number within a tolerance", json!(2.5), "2.50", 1.0)
            .option("absolute_tolerance", "0", "in units of the answer")
            .option("relative_tolerance", "0", "as a fraction of the truth; both add up"),
        entry(
            "math",
            "a mathematical answer of any form: number, surd, percent, unit, tuple, set, interval, relation, matrix, text",
            json!("\\frac{1}{2}"),
            "So we get \\boxed{0.5}.",
            1.0,
        ),
        entry(
            "counting",
            "a count as digits or in words; the last stated one, and no range, estimate or alternative",
            json!(5),
            "I see three red and two blue birds, five in all.",
            1.0,
        ),
        entry(
            "text",
            "a text (or one of a list), whatever its case, width and spaces",
            json!(["colour", "color"]),
            "Color.",
            1.0,
        ),
        entry("clock", "a clock time", json!("9:05"), "09:05", 1.0),
        entry(
            "grounding",
            "boxes or points in Qwen3-VL's JSON, 0..1000, matched one to one",
            boxes,
            "[{\"bbox_2d\": [100, 200, 200, 400]}]",
            0.5,
        )
        .option("metric", "mean_iou", "mean_iou, or f1 at IoU 0.5")
        .option("threshold", "none", "with it 1 from this value on and 0 below"),
        entry(
            "multiple_choice",
            "the letter of an option; the column choices holds the options",
            json!("B"),
            "The correct answer is (B).",
            1.0,
        )
        .columns(json!({"choices": {"A": "a dog", "B": "a red bus"}})),
        entry(
            "description",
            "a phrase of counted coloured shapes in English or Chinese",
            json!("two red circles and one blue square"),
            "one blue square and two red circles",
            1.0,
        ),
        entry("verdict", "the last JSON verdict, for training a judge", json!("yes"), "{\"verdict\": \"yes\"}", 1.0),
        entry("f1", "word F1 with the nearest accepted text", json!("the red bus"), "red car", 0.4),
        entry(
            "anls",
            "ANLS with the nearest accepted text: 0 below a likeness of one half",
            json!("abcd"),
            "abcx",
            0.75,
        ),
        entry(
            "edit",
            "edit similarity with the nearest accepted text, for text read from a picture",
            json!("abcd"),
            "axyz",
            0.25,
        ),
        entry("json", "strict JSON with certain keys", Value::Null, "{\"name\": \"Ann\"}", 1.0).option(
            "keys",
            "[]",
            "keys that every object must have",
        ),
        entry(
            "json_schema",
            "JSON that keeps a schema and is not empty; nothing is fetched",
            Value::Null,
            "{\"name\": \"Ann\"}",
            1.0,
        )
        .option("schema", "the query's column json_schema", "the JSON schema")
        .option("strict", "true", "objects need one of their listed properties, and hold no others")
        .columns(json!({"json_schema": {"type": "object", "properties": {"name": {"type": "string"}}}})),
        entry(
            "instructions",
            "constraints in the manner of IFEval: the column instructions, or instruction_id_list and kwargs",
            Value::Null,
            "The sea is calm today.",
            1.0,
        )
        .option("scoring", "strict", "strict (all or nothing), or share of those that are kept")
        .columns(json!({"instructions": [
            {"kind": "keywords:existence", "keywords": ["sea"]},
            {"kind": "length_constraints:number_words", "num_words": 10, "relation": "less than"},
        ]})),
        entry(
            "logic",
            "any solution of a puzzle that keeps its constraints: variables with domains, or a grid",
            json!({"variables": {"Ann": [1, 2], "Bob": [1, 2]}, "constraints": [{"less": ["Ann", "Bob"]}]}),
            "Ann: 1, Bob: 2",
            1.0,
        ),
        entry(
            "tool_calls",
            "well-formed calls that do something, as many as asked for; in a rubric it pays only beside a right answer",
            Value::Null,
            "5",
            0.0,
        )
        .option("min_calls", "1", "least number of useful calls; the column min_calls goes before it")
        .option("max_calls", "4", "greatest number of calls; the column max_calls goes before it")
        .option("arguments", "[]", "arguments that every call must have")
        .option("full_crop", "0.9", "a crop of this share of the picture or more does nothing"),
        entry(
            "format",
            "one closed thinking block and an answer; best as a gate",
            Value::Null,
            "<think>1+1=2</think>2",
            1.0,
        )
        .option("needs_working", "false", "the thinking must not be blank")
        .option("needs_answer_tag", "false", "the answer must stand in <answer>...</answer>"),
        entry("length", "a penalty that rises near the length limit", Value::Null, "short", 0.0)
            .option("max_tokens", "the request's limit", "tokens at which the penalty is full")
            .option("buffer_tokens", "required", "over how many tokens before that it rises"),
        entry("repetition", "a penalty for saying the same over and over", Value::Null, "five", 0.0).option(
            "span_bytes",
            "64",
            "bytes that a unit said four times or more must fill",
        ),
        entry(
            "language",
            "a penalty for mixing languages, or another one than the query's",
            Value::Null,
            "The answer is \u{4e94}.",
            1.0,
        )
        .columns(json!({"language": "en"}))
        .option("strict_script", "false", "any letter of another script counts, names and terms too")
        .option("thinking", "true", "the thinking counts as well as the answer"),
        code(),
        judge(),
        process(),
        http(),
        custom(),
    ]
}

fn code() -> Entry {
    let mut code = entry(
        "code",
        "the program in the last closed fenced block, run in the sandbox once for each hidden test. The ground truth is \
         {\"tests\": [{\"stdin\", \"stdout\"}]}, whole outputs compared up to spaces at the ends of lines and blank \
         lines at the end; or {\"entry_point\": \"f\" or \"Class.f\", \"tests\": [{\"args\", \"expected\"}]}, compared \
         by type and value (args_json and expected_json hold JSON as text, for integers of any length). With \
         {\"tolerance\"} floats may be off by it, absolutely or relatively",
        json!({"entry_point": "add", "tests": [{"args": [1, 2], "expected": 3}, {"args": {"a": 2, "b": -2}, "expected": 0}]}),
        "```python\ndef add(a, b):\n    return a + b\n```",
        1.0,
    )
    .option("language", "python", "the language; a remote sandbox is asked for it by this name")
    .option("command", "[\"python3\"]", "the interpreter and its arguments; the file is added")
    .option("extension", "py", "of the file")
    .option("fences", "[\"python\", \"python3\", \"py\"]", "tags of the blocks that hold programs")
    .option("value", "all", "all: 1 when every test passed; share: the share of tests that passed")
    .option("sandbox", "auto", "auto (strict, else standard), strict, standard, remote, or none: no walls at all")
    .option("url", "none", "for remote: a server with SandboxFusion's /run_code")
    .option("api_key_env", "none", "the environment variable that holds the server's key")
    .option("max_tries", "5", "tries when the server is overloaded or faulty")
    .option("retry_base_secs", "0.5", "seconds before the second try, doubling")
    .option("workers", "0", "programs that run at a time; 0 is one for each processor")
    .option("cpu_secs", "5", "seconds of processor time for one test")
    .option("wall_secs", "20", "seconds on the clock for one test")
    .option("memory_mb", "1024", "MiB of memory")
    .option("file_mb", "16", "MiB of the largest file; all files together may have four times as much")
    .option("output_kb", "1024", "KiB of stdout, and of stderr; a program that prints more is ended")
    .option("processes", "64", "processes and threads at a time")
    .option("read", "[]", "folders that programs may read, beside the system's and the interpreter's");
    // What runs it is a launcher, which not every program that links this library is.
    code.example.value = None;
    code
}

fn process() -> Entry {
    let mut process = entry(
        "process",
        "a Python function with the signature of verl, TRL or EasyR1 or of one's own, or any program that speaks JSON \
         lines; see sapo reward schema",
        json!(85),
        "85",
        0.0,
    )
    .option("command", "[]", "the program and its arguments; it speaks JSON lines itself")
    .option("python", "none", "instead of command: file.py:function")
    .option("interpreter", "python3", "what runs the file")
    .option("messages", "false", "TRL functions get lists of messages instead of texts")
    .option("workers", "2", "processes at a time")
    .option("batch_size", "64", "items in a request at most")
    .option("timeout_secs", "30", "seconds for one request; then the worker is killed and the batch halved")
    .option("start_timeout_secs", "60", "seconds until a worker must be ready")
    .option(
        "max_restarts",
        "32",
        "deaths of workers over one batch without a score between; one more and its rest fails",
    )
    .option("env", "[]", "environment variables for the workers, beside PATH, HOME, USER, LANG, TMPDIR and the like")
    .option("pictures", "false", "items have the paths of their pictures in images")
    .option("range", "[0, 1]", "the least and the greatest value; others are failures")
    .option("sandbox", "none", "walls for a plugin that you do not trust: auto, strict or standard; no network then")
    .option("read", "[]", "in a sandbox: what workers may read beside the program, its folder and the system's")
    .option("memory_mb", "4096", "in a sandbox: MiB of memory");
    process.example.value = None;
    process
}

fn http() -> Entry {
    let mut http = entry("http", "a server that takes the JSON of process as a POST", json!(85), "85", 0.0)
        .option("url", "required", "where requests are sent to")
        .option("workers", "2", "requests at a time")
        .option("batch_size", "64", "items in a request at most")
        .option("timeout_secs", "30", "seconds for one try")
        .option("deadline_secs", "120", "seconds for one request with all its tries")
        .option("max_tries", "5", "tries when the server is overloaded or faulty")
        .option("retry_base_secs", "0.5", "seconds before the second try, doubling")
        .option("api_key_env", "none", "the environment variable that holds the key")
        .option("range", "[0, 1]", "the least and the greatest value; others are failures");
    http.example.value = None;
    http
}

fn custom() -> Entry {
    let mut custom = entry(
        "custom",
        "a type that a Rust program brings along: it calls sapo::main with its types",
        json!(85),
        "85",
        0.0,
    )
    .option("type", "required", "the name under which the program registered it")
    .option("options", "{}", "its own options");
    custom.example.value = None;
    custom
}

fn judge() -> Entry {
    let mut judge = entry(
        "judge",
        "the verdict of a model behind an OpenAI-compatible endpoint",
        json!("a red bus"),
        "a bus that is red",
        0.0,
    )
    .option("endpoint", "serve:judge", "base URL, or serve:NAME for one that the run starts")
    .option("model", "judge", "the model's name in requests")
    .option("more_endpoints", "[]", "further servers of the same model; the one with least to do is asked")
    .option("served_model", "none", "the name that replies give, where it is not `model`; * takes any")
    .option("prompt", "reference-v1", "reference-v1, criteria-v1, pairwise-v1, or same-v1 for the small judge")
    .option("criteria", "[]", "for criteria-v1: { name, text, weight = 1, needs_image = false } each")
    .option("against", "none", "for pairwise-v1: the column with the other answer; else the ground truth")
    .option("needs_image", "false", "the query's pictures are shown to the judge")
    .option("min_balanced_accuracy", "0.9", "least agreement with the rule for a phase to start")
    .option("calibration", "none", "labelled items: { data, only = { COLUMN = VALUE }, seed = 0 }")
    .option("canary_share", "0.005", "how often a row with a known verdict is asked beside an answer")
    .option("max_canary_failures", "0.02", "the run stops when more of the last 50 such rows are judged wrong")
    .option("max_concurrency", "8", "requests at a time to each server")
    .option("requests_per_minute", "none", "requests in any minute, over all servers")
    .option("tokens_per_minute", "none", "tokens in any minute, prompts and replies, over all servers")
    .option("budget", "none", "of a run: { calls, tokens, price, prompt_price, reply_price } (prices a million)")
    .option("timeout_secs", "60", "seconds for one request")
    .option("deadline_secs", "180", "seconds for one verdict with all its retries")
    .option("max_tries", "5", "tries when the server is overloaded or faulty")
    .option("retry_base_secs", "0.5", "the second try comes within so many seconds, the next within twice, ...")
    .option("max_retry_after_secs", "30", "longest pause that a server may ask for")
    .option("max_tokens", "512", "longest reply")
    .option("temperature", "0", "of the judge's sampling")
    .option("votes", "1", "verdicts on each answer, of which the majority counts; odd, with a temperature")
    .option("seed", "0", "of requests, jitter, fences and canaries")
    .option("longest_answer_chars", "1000", "longer answers are wrong without a call")
    .option("cache", "run", "where verdicts are kept: run (its folder), off, or a folder that runs may share")
    .option("api_key_env", "none", "the environment variable that holds the key")
    .option("extra_body", "{}", "further fields of the request");
    judge.example.value = None;
    judge
}

fn entry(kind: &'static str, summary: &'static str, ground_truth: Value, response: &'static str, value: f64) -> Entry {
    let example = Example { ground_truth, columns: json!({}), response, value: Some(value) };
    Entry { kind, summary, options: Vec::new(), example }
}

impl Entry {
    fn option(mut self, name: &'static str, default: &'static str, summary: &'static str) -> Self {
        self.options.push(Parameter { name, default, summary });
        self
    }

    fn columns(mut self, columns: Value) -> Self {
        self.example.columns = columns;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sapo_datasets::Transcript;

    use super::*;
    use crate::judge::Endpoints;
    use crate::registry::{Registry, RewardConfig};
    use crate::reward::tests::{now, query};
    use crate::reward::{Item, score_all};

    #[test]
    fn the_catalogue_says_what_the_code_does() {
        for entry in catalogue() {
            let mut config = json!({"kind": entry.kind});
            if entry.kind == "length" {
                config["buffer_tokens"] = json!(16);
            }
            if entry.kind == "custom" {
                config["type"] = json!("mine");
            }
            let read: RewardConfig = serde_json::from_value(config).unwrap();
            assert_eq!(read.kind(), entry.kind);
            let written = serde_json::to_value(&read).unwrap();
            for key in written.as_object().unwrap().keys().filter(|key| *key != "kind") {
                assert!(
                    entry.options.iter().any(|option| option.name == key),
                    "{}: {key} is not documented",
                    entry.kind
                );
            }
            let Some(value) = entry.example.value else { continue };
            let configs = BTreeMap::from([("x".to_owned(), read)]);
            let reward = Registry::build(&configs, &Endpoints::default()).unwrap().get("x").unwrap();
            let mut query = query("?", entry.example.ground_truth.clone());
            query.columns = entry.example.columns.as_object().unwrap().clone();
            let transcript = Transcript::of_answer("q", entry.example.response);
            let score = now(score_all(&*reward, &[Item { query: &query, transcript: &transcript }])).remove(0);
            assert_eq!(score.outcome.value(), Some(value), "{}: {score:?}", entry.kind);
        }
    }

    #[test]
    fn every_kind_is_listed() {
        let error = serde_json::from_str::<RewardConfig>("{\"kind\": \"?\"}").unwrap_err().to_string();
        let listed = catalogue();
        let known = error.split('`').skip(3).step_by(2).collect::<Vec<_>>();
        assert_eq!(known.len(), listed.len(), "{error}");
        assert!(known.iter().all(|kind| listed.iter().any(|entry| entry.kind == *kind)), "{error}");
    }
}
