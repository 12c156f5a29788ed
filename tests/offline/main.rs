//! The real binary without a server: data that it makes, shows and evaluates on, and input that it refuses.

mod rollouts;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sapo_datasets::{Split, Task, synthetic};
use serde_json::{Value, json};
use tempfile::TempDir;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sapo"));
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command
}

fn sapo(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeded(arguments: &[&str]) -> String {
    let output = sapo(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn object(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeeded(arguments)).expect("one JSON object alone on stdout")
}

fn refused(arguments: &[&str], says: &[&str]) {
    let output = sapo(arguments);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    for says in says {
        assert!(errors.contains(says), "`{says}` is not in: {errors}");
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// An evaluation of the preset that is over in a moment.
/// What an evaluation says, but for how long it took.
fn evaluated(more: &[&str]) -> Value {
    let mut said = object(&[&quick(), more, &["--json"]].concat());
    let secs = said.as_object_mut().and_then(|said| said.remove("secs")).expect("how long it took");
    assert!(secs["all"].as_f64() >= secs["answers"].as_f64(), "{secs}");
    said
}

fn quick() -> [&'static str; 7] {
    ["eval", "--model", "tiny", "--samples", "2", "--max-new-tokens", "6"]
}

fn rows(evaluated: &Value) -> Vec<Value> {
    let without_place = |row: &Value| {
        let mut row = row.clone();
        row["after"].take();
        row
    };
    evaluated["evals"].as_array().expect("rows").iter().map(without_place).collect()
}

/// A query file with one line.
fn file_of(folder: &TempDir, name: &str, row: &Value) -> String {
    let path = path(folder, name);
    std::fs::write(&path, format!("{row}\n")).expect("written");
    path
}

fn question(images: &[String]) -> Value {
    let marks = "<image>".repeat(images.len());
    json!({
        "id": "q1",
        "messages": [{"role": "user", "content": format!("{marks}What time is it?")}],
        "images": images,
        "ground_truth": "3:00",
    })
}

fn data_uri(bytes: &[u8]) -> String {
    format!("data:image/png;base64,{}", BASE64.encode(bytes))
}

#[test]
fn files_and_generated_tasks_give_the_same_numbers() {
    let dir = folder();
    let (clock, arith) = (path(&dir, "clock.parquet"), path(&dir, "made/arith.jsonl"));
    let of_test = ["--split", "test", "--seed", "7"];
    succeeded(&[&["data", "make", "clock", "--out", &clock, "--count", "4"][..], &of_test].concat());
    succeeded(&[&["data", "make", "arith", "--out", &arith, "--count", "3"][..], &of_test].concat());

    let generated = evaluated(&["--tasks", "clock,arith", "--queries", "3"]);
    let read = evaluated(&["--data", &clock, "--data", &arith, "--limit", "3"]);
    let named = evaluated(&["--data", "synthetic:clock@test[0:3]", "--data", "synthetic:arith@test[0:3]"]);
    let of_each = evaluated(&["--data", &clock, "--data", "synthetic:arith@test", "--queries", "3"]);
    assert_eq!(generated, read);
    assert_eq!(generated, of_each);
    assert_eq!(generated, named);
    assert_eq!((&generated["model"], &generated["seed"]), (&json!("tiny"), &json!(7)));
    let tasks: Vec<&Value> = generated["evals"].as_array().expect("rows").iter().map(|row| &row["task"]).collect();
    assert_eq!(tasks, ["clock", "arith", "all"]);

    let apart = rows(&evaluated(&["--data", &clock, "--data", &arith, "--limit", "3", "--apart", "arith"]));
    assert_eq!(apart[..2], rows(&generated)[..2]);
    assert_eq!((&apart[2]["queries"], &apart[2]["mean_tokens"]), (&json!(3), &apart[0]["mean_tokens"]));
}

#[test]
fn an_evaluation_is_written_as_a_run_writes_it() {
    let dir = folder();
    let out = path(&dir, "new/evaluation");
    let more = ["--tasks", "digits", "--queries", "2", "--samples", "16", "--rubric", "exact", "--out", &out];
    let printed = succeeded(&[&quick()[..3], &["--max-new-tokens", "4"], &more].concat());
    assert!(printed.contains("digits") && printed.contains("all") && printed.contains("pass@16"), "{printed}");
    let read = |name: &str| std::fs::read_to_string(Path::new(&out).join(name)).expect("a file of the evaluation");
    let results: Value = serde_json::from_str(&read("results.json")).expect("JSON");
    assert_eq!((&results["v"], &results["seed"], &results["samples"]), (&json!(1), &json!(7), &json!(16)));
    assert_eq!(results["tasks"][1]["task"], "all");
    let samples: Vec<Value> =
        read("samples.jsonl").lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(samples.len(), 2 * 17, "16 samples and a greedy answer for each query");
    assert!(samples.iter().all(|sample| sample["score"]["parts"]["correct"].is_object()));
    refused(&[&quick()[..], &more[..4], &["--out", &out]].concat(), &["--out", "exists already"]);
}

#[test]
fn what_a_configuration_says_is_used() {
    let configured = evaluated(&["--config", "configs/smoke.toml", "--tasks", "arith"]);
    let row = &configured["evals"][0];
    assert_eq!((&row["queries"], &row["scored"]), (&json!(4), &json!(8)), "queries of the file, samples as given");
    let config = [
        "--config",
        "configs/smoke.toml",
        "eval.heldout.unaveraged=[\"describe\"]",
        "eval.heldout.data=[\"arith\", \"count\", \"clock\", \"digits\", \"locate\", \"logic\", \"describe\"]",
    ];
    let tasks = rows(&object(
        &[&["eval", "--model", "tiny", "--queries", "1", "--samples", "1", "--json"][..], &config].concat(),
    ));
    let tasks: Vec<&str> = tasks.iter().filter_map(|row| row["task"].as_str()).collect();
    assert_eq!(tasks, ["arith", "count", "clock", "digits", "locate", "logic", "describe", "all"]);
    refused(
        &[&quick()[..], &["--rubric", "strict", "--config", "configs/smoke.toml"]].concat(),
        &["--rubric strict", "reasoning"],
    );
}

/// A policy that has learnt to answer at once, which a random one never does.
fn answering(folder: &TempDir) -> String {
    let place = format!("run.dir={}", folder.path().display());
    let overrides = [
        "run.phases=[\"cold_start\"]",
        "phases.cold_start={kind=\"sft\", steps=12, batch_size=8, data=[{use=\"logic\", hasty=1.0}], \
         optimizer={lr=5e-3, warmup_steps=1}}",
        "eval.heldout.data=[\"logic\"]",
        "eval.heldout.unaveraged=[]",
        "eval.heldout.queries_per_source=1",
        "eval.heldout.samples=1",
    ];
    succeeded(&[&["train", "configs/smoke.toml", &place][..], &overrides].concat());
    path(folder, "smoke/checkpoints/step-000012")
}

#[test]
fn a_score_that_fails_is_counted_and_denominators_add_up() {
    let dir = folder();
    let model = answering(&dir);
    let file = file_of(&dir, "odd.jsonl", &json!({"prompt": "Who is it?", "answer": {"no": "one"}}));
    let rows_of = ["--data", &file, "--data", "synthetic:logic@test[0:2]", "--rubric", "text"];
    let sampling = ["--samples", "3", "--max-new-tokens", "12"];
    let read = object(&[&["eval", "--model", &model, "--json"][..], &rows_of, &sampling].concat());
    for row in read["evals"].as_array().expect("rows") {
        let count = |key: &str| row[key].as_u64().expect("a count");
        assert_eq!(count("scored") + count("failed"), count("queries") * 3, "{row}");
    }
    let (odd, logic, all) = (&read["evals"][0], &read["evals"][1], &read["evals"][2]);
    assert_eq!((&odd["task"], &odd["failed"], &all["failed"]), (&json!("odd"), &json!(3), &json!(3)));
    assert_eq!(all["pass_at_1"], logic["pass_at_1"], "what cannot be scored is not 0");
}

#[test]
fn rows_that_cannot_be_used_are_named() {
    let dir = folder();
    let eval = |more: &[&str], says: &[&str]| refused(&[&quick()[..], more].concat(), says);
    let mut row = question(&[]);
    row["ground_truth"].take();
    let without = file_of(&dir, "without.jsonl", &row);
    eval(&["--data", &without], &["without.jsonl row 1", "no ground truth"]);
    eval(&["--data", &path(&dir, "missing.parquet")], &["missing.parquet"]);
    eval(&["--data", "synthetic:clock@test"], &["synthetic:clock@test", "--queries"]);
    eval(&["--data", "synthetic:clok[0:2]"], &["clok", "did you mean `clock`"]);

    let good = file_of(&dir, "good.jsonl", &question(&[]));
    eval(&["--data", &good, "--data", &good], &["`q1` comes twice"]);
    eval(&["--data", &good, "--apart", "clock"], &["`clock`", "good"]);
    eval(&["--data", &good, "--rubric", "strictest"], &["--rubric strictest", "truth"]);
    eval(&["--data", &good, "--rubric", "judge"], &["--rubric judge", "judges"]);
    eval(&["--data", &good, "--rubric", "repetition"], &["--rubric repetition", "penalty"]);
    eval(&["--data", &good, "--tasks", "arith"], &["--data", "--tasks"]);
    row = question(&[]);
    row["rubric"] = "strict".into();
    let asking = file_of(&dir, "asking.jsonl", &row);
    eval(&["--data", &asking], &["asking.jsonl query `q1`", "--rubric strict"]);
    for (option, value) in [("--samples", "0"), ("--max-new-tokens", "0"), ("--queries", "0"), ("--queries", "many")] {
        refused(&["eval", "--model", "tiny", option, value], &[option]);
    }
    refused(&["eval", "--model", "no-such-model", "--queries", "1"], &["no-such-model"]);
}

#[test]
fn videos_and_pictures_are_evaluated_together() {
    let folder = folder();
    let picture = synthetic::query(Task::Clock, Split::Test, 3, 0).images.remove(0);
    std::fs::create_dir(folder.path().join("clip")).expect("a folder");
    for number in [1, 2, 3, 10, 9] {
        let shown = synthetic::query(Task::Clock, Split::Test, 3, number).images.remove(0);
        std::fs::write(folder.path().join(format!("clip/frame-{number}.png")), shown.bytes()).expect("written");
    }
    let mut row = json!({"prompt": "<image>How often is it shown in <video>?", "answer": "4", "videos": ["clip"],
        "images": [data_uri(picture.bytes())]});
    let file = file_of(&folder, "moving.jsonl", &row);
    assert!(!rows(&evaluated(&["--data", &file, "--rubric", "number"])).is_empty());
    let shown = object(&["data", "show", &file, "--json"]);
    assert!(shown["queries"][0]["videos"][0].as_str().is_some_and(|path| path.ends_with("clip")), "{shown}");
    let limited = ["--data", &file, "--config", "configs/smoke.toml", "policy.max_prompt_tokens=60"];
    refused(&[&quick()[..], &limited].concat(), &["query `moving-1`", "at most 60 are taken"]);
    succeeded(&[&quick()[..], &limited, &["policy.too_long=drop_pictures"]].concat());
    std::fs::write(folder.path().join("clip.mp4"), b"\0\0\0\x18ftypmp42").expect("written");
    row["videos"] = json!(["clip.mp4"]);
    let file = file_of(&folder, "container.jsonl", &row);
    refused(&[&quick()[..], &["--data", &file, "--rubric", "number"]].concat(), &["clip.mp4", "ffmpeg", "container-1"]);
}

#[test]
fn pictures_that_cannot_be_used_are_named() {
    let dir = folder();
    let eval = |file: &str, says: &[&str]| refused(&[&quick()[..], &["--data", file]].concat(), says);
    let whole = synthetic::query(Task::Clock, Split::Test, 1, 0).images[0].bytes().to_vec();
    let truncated = file_of(&dir, "truncated.jsonl", &question(&[data_uri(&whole[..whole.len() / 2])]));
    eval(&truncated, &["truncated", "query `q1`", "picture"]);
    let large = file_of(&dir, "large.jsonl", &question(&[data_uri(&png(20_000, 20_000, 0))]));
    eval(&large, &["large", "query `q1`", "20000 x 20000", "scale it down"]);
    let none = file_of(&dir, "none.jsonl", &question(&[data_uri(b"no picture")]));
    eval(&none, &["none.jsonl row 1", "PNG"]);
    let gone = file_of(&dir, "gone.jsonl", &question(&["gone.png".to_owned()]));
    eval(&gone, &["gone.jsonl row 1", "gone.png"]);
    let thin = file_of(&dir, "thin.jsonl", &question(&[data_uri(&png(1, 1000, 1000))]));
    eval(&thin, &["query `q1`"]);
}

/// A PNG whose header says that it is so large, with so many rows of black pixels.
fn png(width: u32, height: u32, rows: usize) -> Vec<u8> {
    let pixels = vec![0; rows * (1 + 3 * width as usize)];
    let length = u16::try_from(pixels.len()).expect("one stored block");
    let (low, high) = pixels.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    let zlib = [
        &[0x78, 0x01, 0x01][..],
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        &pixels,
        &((high << 16) | low).to_be_bytes(),
    ];
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    let chunks = [chunk(b"IHDR", &header), chunk(b"IDAT", &zlib.concat()), chunk(b"IEND", &[])];
    [&b"\x89PNG\r\n\x1a\n"[..], &chunks.concat()].concat()
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let named = [&kind[..], data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &named, &crc32(&named).to_be_bytes()].concat()
}

/// The checksum of a PNG chunk, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn data_is_made_once_and_shown() {
    let dir = folder();
    let (count, logic) = (path(&dir, "count.parquet"), path(&dir, "logic.jsonl"));
    let make = ["data", "make", "count", "--out", &count, "--count", "3", "--responses", "careful"];
    assert_eq!(succeeded(&make).trim(), count);
    refused(&make, &["--out", "exists already"]);
    succeeded(&["data", "make", "logic", "--out", &logic, "--count", "2", "--split", "validation"]);

    let shown = object(&["data", "show", &count, "--json"]);
    let generated = object(&["data", "show", "count", "--count", "3", "--json"]);
    for (read, made) in
        shown["queries"].as_array().expect("rows").iter().zip(generated["queries"].as_array().expect("rows"))
    {
        for key in ["id", "task", "question", "ground_truth", "response", "pictures"] {
            assert_eq!(read[key], made[key], "{key}");
        }
        assert!(read["response"].as_str().is_some_and(|text| text.contains("</think>")));
        assert!(read["pictures"][0]["width"].as_u64() > Some(0));
    }
    assert_eq!(shown["queries"].as_array().map(Vec::len), Some(3));
    let plain = object(&["data", "show", &logic, "--json"]);
    assert_eq!((&plain["queries"][0]["response"], &plain["queries"][0]["pictures"]), (&Value::Null, &json!([])));
    let sheet = path(&dir, "sheet.png");
    let printed = succeeded(&["data", "show", &count, "--sheet", &sheet, "--pictures", &path(&dir, "pictures")]);
    assert!(printed.contains("count-train-1-0") && printed.contains(" x "), "{printed}");
    assert!(Path::new(&sheet).is_file() && dir.path().join("pictures/2.png").is_file());
    refused(&["data", "show", &count, "--sheet", &sheet], &["--sheet", "exists already"]);
}

#[test]
fn a_generated_task_is_made_as_hard_as_asked() {
    let dir = folder();
    let mazes = path(&dir, "mazes.parquet");
    succeeded(&["data", "make", "maze", "--out", &mazes, "--count", "2", "--difficulty", "hard"]);
    let read = object(&["data", "show", &mazes, "--json"]);
    let made = object(&["data", "show", "maze", "--count", "2", "--difficulty", "hard", "--json"]);
    for key in ["id", "question", "ground_truth", "pictures"] {
        assert_eq!(read["queries"][1][key], made["queries"][1][key], "{key}");
    }
    assert_eq!(made["queries"][0]["id"], "maze-hard-train-1-0");
    refused(&["data", "show", "maze", "--difficulty", "hrad"], &["did you mean `hard`?"]);
    refused(&["data", "show", &mazes, "--difficulty", "hard"], &["difficulty", "only generated tasks"]);
    let help = succeeded(&["data", "make", "--help"]);
    assert!(Task::ALL.iter().all(|task| help.contains(task.about())), "{help}");
}

/// The tokenizer of the small presets is what the command makes, however many tasks there are by now.
#[test]
fn the_tokenizer_that_is_shipped_can_be_made_again() {
    let dir = folder();
    let made = path(&dir, "tokenizer.json");
    succeeded(&["data", "tokenizer", "--out", &made]);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/presets/tiny/tokenizer.json");
    assert!(std::fs::read(made).expect("made") == std::fs::read(shipped).expect("shipped"), "another tokenizer");
}

#[test]
fn data_that_makes_no_sense_is_refused() {
    let dir = folder();
    let out = path(&dir, "x.jsonl");
    refused(&["data", "make", "clok", "--out", &out], &["did you mean `clock`"]);
    refused(&["data", "make", "clock", "--out", &path(&dir, "x.csv")], &["x.csv", ".parquet"]);
    refused(&["data", "make", "clock", "--out", &out, "--split", "tests"], &["did you mean `test`"]);
    refused(&["data", "make", "clock", "--out", &out, "--count", "0"], &["--count"]);
    refused(&["data", "make", "clock", "--out", &out, "--responses", "slow"], &["careful or hasty"]);
    refused(&["data", "show", "clok"], &["neither a file nor a task", "did you mean `clock`"]);
    refused(&["data", "show", &path(&dir, "none.jsonl")], &["none.jsonl"]);
    refused(&["data", "show", "arith", "--sheet", &path(&dir, "sheet.png")], &["picture"]);
    refused(&["data", "show", "clock", "--sheet", &path(&dir, "sheet.jpg")], &["sheet.jpg", ".png"]);
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0, "nothing was written");
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let mut shown = command(&["data", "show", "arith", "--count", "5000"]);
    let mut child = shown.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", text(&output.stderr));
}
