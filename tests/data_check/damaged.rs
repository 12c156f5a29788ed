//! Kinds of damage, each between two good rows: it is named, counted, and spoils no other row.

use std::path::Path;

use image::ImageFormat;
use serde_json::{Value, json};

use super::rows::{file, good, with};
use super::{Held, encoded, of_toml, picture, run, targets};

/// The reason that a row between two good ones is counted by.
fn reason(folder: &Path, row: Vec<u8>, held: Held<'_>) -> String {
    let lines = [good(0).to_string().into_bytes(), row, good(2).to_string().into_bytes()];
    let path = file(folder, "rows.jsonl", &lines);
    let outcome = run(targets(&path, false, held), folder, held);
    assert_eq!((outcome.rows, outcome.of("rows", 0), outcome.of("rows", 2)), (3, String::new(), String::new()));
    outcome.of("rows", 1).split(' ').next().unwrap_or_default().to_owned()
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// A PNG whose header claims a size that its data does not have.
fn claiming(width: u32, height: u32) -> Vec<u8> {
    let mut png = encoded(&picture(1, 32, 32), ImageFormat::Png);
    png[16..20].copy_from_slice(&width.to_be_bytes());
    png[20..24].copy_from_slice(&height.to_be_bytes());
    let sum = crc(&png[12..29]).to_be_bytes();
    png[29..33].copy_from_slice(&sum);
    png
}

/// Files that are no pictures, by name.
fn write_pictures(folder: &Path) {
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("a file");
    let [png, jpeg, webp] =
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP].map(|format| encoded(&picture(1, 64, 48), format));
    write("good.png", &png);
    write("half.png", &png[..png.len() / 2]);
    write("half.jpg", &jpeg[..jpeg.len() / 8]);
    write("half.webp", &webp[..webp.len() / 2]);
    write("head.png", &png[..8]);
    write("start.jpg", &jpeg[..4]);
    write("magic.png", &[b"XXXX", &png[4..]].concat());
    write("empty.png", b"");
    write("text.png", b"This is no picture.");
    write("page.png", b"<!DOCTYPE html><title>404</title>");
    write("moving.gif", &encoded(&picture(1, 16, 16), ImageFormat::Gif));
    let mut flipped = png.clone();
    let at = png.len() / 2;
    flipped[at] ^= 0x55;
    write("flipped.png", &flipped);
    write("huge.png", &claiming(30_000, 30_000));
    write("none.png", &claiming(0, 32));
    write("more.png", &claiming(64, 64));
    write("flat.png", &encoded(&picture(1, 900, 3), ImageFormat::Png));
    write("tall.png", &encoded(&picture(1, 1, 201), ImageFormat::Png));
    std::fs::File::create(folder.join("heavy.png")).expect("a file").set_len((64 << 20) + 1).expect("a size");
    std::fs::create_dir(folder.join("folder.png")).expect("a folder");
    std::fs::create_dir(folder.join("frames")).expect("a folder");
    write("frames/1.png", &png);
    write("frames/2.png", &png[..png.len() / 2]);
    std::fs::create_dir(folder.join("no-frames")).expect("a folder");
}

/// Kinds of pictures, what a row says of them, and what is found; `inline` is a picture in base64.
fn kinds_of_pictures(inline: &str) -> Vec<(&'static str, Value, &'static str)> {
    let shows = |value: Value| json!({"images": value});
    vec![
        ("a whole PNG", shows(json!(["good.png"])), ""),
        ("base64", shows(json!([inline])), ""),
        ("half a PNG", shows(json!(["half.png"])), "picture_damaged"),
        ("the start of a JPEG", shows(json!(["half.jpg"])), "picture_damaged"),
        ("half a WebP", shows(json!(["half.webp"])), "picture_damaged"),
        ("nothing but the signature", shows(json!(["head.png"])), "picture_damaged"),
        ("nothing but the start of a JPEG", shows(json!(["start.jpg"])), "picture_damaged"),
        ("a wrong signature", shows(json!(["magic.png"])), "picture_damaged"),
        ("no bytes", shows(json!(["empty.png"])), "picture_damaged"),
        ("a text", shows(json!(["text.png"])), "picture_damaged"),
        ("a web page", shows(json!(["page.png"])), "picture_damaged"),
        ("a GIF", shows(json!(["moving.gif"])), ""),
        ("a byte that was flipped", shows(json!(["flipped.png"])), "picture_damaged"),
        ("no width", shows(json!(["none.png"])), "picture_damaged"),
        ("less data than its header claims", shows(json!(["more.png"])), "picture_damaged"),
        ("too many pixels", shows(json!(["huge.png"])), "picture_too_large"),
        ("too many bytes", shows(json!(["heavy.png"])), "picture_too_large"),
        ("too far from square", shows(json!(["flat.png"])), "picture_shape"),
        ("one pixel wide", shows(json!(["tall.png"])), "picture_shape"),
        ("a path that is not there", shows(json!(["gone.png"])), "picture_missing"),
        ("the second of two is not there", json!({"images": ["good.png", "gone.png"]}), "picture_missing"),
        ("a folder", shows(json!(["folder.png"])), "picture_missing"),
        ("a text outside of the folder", shows(json!(["../secret.txt"])), "picture_damaged"),
        ("an address on the web", shows(json!(["https://example.org/a.png"])), "picture_missing"),
        ("no path", shows(json!([""])), "picture_missing"),
        ("base64 that was cut", shows(json!([&inline[..inline.len() - 3]])), "picture_damaged"),
        ("base64 of other letters", shows(json!([format!("{}!!", &inline[..40])])), "picture_damaged"),
        ("a data URL without base64", shows(json!(["data:image/png,abc"])), "picture_damaged"),
        ("a data URL of a text", shows(json!(["data:text/plain;base64,aGVsbG8="])), "picture_damaged"),
        ("a data URL of a drawing", shows(json!(["data:image/svg+xml;base64,PHN2Zy8+"])), "picture_damaged"),
        ("a number", shows(json!([7])), "picture_damaged"),
        ("an object without bytes", shows(json!([{"width": 3}])), "picture_damaged"),
        ("bytes that are none", shows(json!([{"bytes": [300]}])), "picture_damaged"),
    ]
}

/// Kinds of rows whose marks, columns or videos do not fit.
fn kinds_of_rows() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("null for a picture that is named", json!({"problem": "<image> What?", "images": [null]}), "placeholders"),
        ("no picture for a mark", json!({"problem": "<image> What?", "images": []}), "placeholders"),
        (
            "more marks than pictures",
            json!({"problem": "<image><image> What?", "images": ["good.png"]}),
            "placeholders",
        ),
        (
            "fewer marks than pictures",
            json!({"problem": "<image> What?", "images": ["good.png", "good.png"]}),
            "placeholders",
        ),
        ("a mark of no picture", json!({"problem": "<image 3> What?", "images": ["good.png"]}), "placeholders"),
        (
            "marks with and without numbers",
            json!({"problem": "<image 1><image> What?", "images": ["good.png", "good.png"]}),
            "placeholders",
        ),
        ("pictures in two columns", json!({"images": ["good.png"], "image": "half.png"}), "columns"),
        ("a video that is not there", json!({"video": "gone"}), "video"),
        ("a folder without frames", json!({"video": "no-frames"}), "video"),
        ("half a frame", json!({"video": "frames"}), "video"),
        ("a rate of nothing", json!({"video": {"path": "frames", "fps": 0}}), "video"),
        ("a text for a video", json!({"video": "text.png"}), "video"),
    ]
}

#[test]
fn pictures() {
    let place = tempfile::tempdir().expect("a folder");
    std::fs::write(place.path().join("secret.txt"), "a secret").expect("a file");
    let folder = &place.path().join("data");
    std::fs::create_dir(folder).expect("a folder");
    write_pictures(folder);
    let png = encoded(&picture(1, 64, 48), ImageFormat::Png);
    let base64 = sapo_datasets::Picture::from_bytes(png, "test").expect("a picture");
    let url = data_url(&base64);
    let inline = url.split_once(',').expect("a data URL").1;
    let mut kinds = [kinds_of_pictures(inline), kinds_of_rows()].concat();
    if cfg!(target_os = "linux") {
        kinds.push(("a device without end", json!({"images": ["/dev/zero"]}), "picture_missing"));
    }
    for (kind, keys, wanted) in kinds {
        // The column must be known from other rows.
        let lines = [with(0, &json!({"images": [], "image": null, "video": null})), with(1, &keys)];
        let path = file(folder, "rows.jsonl", &lines);
        let outcome = run(targets(&path, false, Held::default()), place.path(), Held::default());
        let found = outcome.of("rows", 1);
        assert_eq!(found.split(' ').next(), Some(wanted), "{kind}");
        assert_eq!((outcome.rows, outcome.of("rows", 0).as_str()), (2, ""), "{kind}");
    }
}

fn data_url(picture: &sapo_datasets::Picture) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.jsonl");
    let mut query = sapo_datasets::synthetic::query(sapo_datasets::Task::Clock, sapo_datasets::Split::Train, 1, 0);
    query.images = vec![picture.clone()];
    let row = sapo_datasets::Example { query, response: None, spoken: false };
    let store = sapo_datasets::written::jsonl::PictureStore::Inside;
    sapo_datasets::written::jsonl::write(&path, [Ok(row)], store).expect("a file");
    let line: Value = serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON");
    line["images"][0].as_str().expect("a data URL").to_owned()
}

/// Every prefix and many mutations of pictures end as a reason or as a picture, and never in a panic.
#[test]
fn cut_and_changed_pictures_never_panic() {
    let place = tempfile::tempdir().expect("a folder");
    let mut lines = Vec::new();
    for (format, ending) in [(ImageFormat::Png, "png"), (ImageFormat::Jpeg, "jpg"), (ImageFormat::WebP, "webp")] {
        let whole = encoded(&picture(3, 24, 20), format);
        for at in (0..whole.len()).step_by(whole.len() / 60 + 1) {
            let mut changed = whole.clone();
            changed[at] = changed[at].wrapping_add(97);
            for (kind, bytes) in [("cut", &whole[..at]), ("changed", &changed[..])] {
                let name = format!("{kind}-{at}.{ending}");
                std::fs::write(place.path().join(&name), bytes).expect("a file");
                lines.push(with(1, &json!({"id": name, "images": [name]})));
            }
        }
    }
    let rows = lines.len() as u64;
    let path = file(place.path(), "rows.jsonl", &lines);
    let outcome = run(targets(&path, false, Held::default()), place.path(), Held::default());
    assert!(outcome.rows == rows && outcome.good < rows / 2, "{} of {rows} are good", outcome.good);
}

#[test]
fn texts_and_rows() {
    let place = tempfile::tempdir().expect("a folder");
    let said = |messages: Value| with(1, &json!({"problem": "-", "response": "-", "messages": messages}));
    let user = json!({"role": "user", "content": "What is it?"});
    let bytes = |text: &str| text.as_bytes().to_vec();
    for (kind, row, wanted) in [
        ("a good row", with(1, &json!({})), ""),
        ("half an object", bytes("{\"problem\": \"What?\", \"ans"), "unreadable"),
        ("no UTF-8", b"{\"problem\": \"What \xff\xfe?\", \"answer\": \"1\"}".to_vec(), "unreadable"),
        ("not a number", bytes("{\"problem\": \"What?\", \"answer\": NaN}"), "unreadable"),
        ("an infinite number", bytes("{\"problem\": \"What?\", \"answer\": Infinity}"), "unreadable"),
        ("a list", bytes("[1, 2]"), "unreadable"),
        ("a word", bytes("nothing"), "unreadable"),
        ("two objects", bytes("{\"problem\": \"a\"}{\"problem\": \"b\"}"), "unreadable"),
        ("single quotes", bytes("{'problem': 'What?'}"), "unreadable"),
        ("nothing but zeros", vec![0; 40], "unreadable"),
        ("deep brackets", bytes(&"[".repeat(4000)), "unreadable"),
        ("an empty question", with(1, &json!({"problem": ""})), "no_question"),
        ("a blank question", with(1, &json!({"problem": " \n\t"})), "no_question"),
        ("a null question", with(1, &json!({"problem": null})), "no_question"),
        ("no question at all", with(1, &json!({"problem": "-"})), "no_question"),
        ("a question that is a number", with(1, &json!({"problem": 7})), "columns"),
        ("no messages", said(json!([])), "no_question"),
        ("messages of the assistant alone", said(json!([{"role": "assistant", "content": "7"}])), "no_question"),
        ("a system message at the end", said(json!([user, {"role": "system", "content": "a"}])), "no_question"),
        ("an unknown role", said(json!([{"role": "teacher", "content": "a"}])), "messages"),
        ("a message that is a text", said(json!(["What?"])), "messages"),
        ("a message without content", said(json!([{"role": "user"}])), "messages"),
        ("content that is a number", said(json!([{"role": "user", "content": 7}])), "messages"),
        ("a part of sound", said(json!([{"role": "user", "content": [{"type": "audio"}]}])), "messages"),
        ("a part without text", said(json!([{"role": "user", "content": [{"type": "text"}]}])), "messages"),
        ("calls of tools", said(json!([{"role": "user", "content": "a", "tool_calls": [1]}])), "messages"),
        ("a special token", with(1, &json!({"problem": "Say <|im_end|> now."})), "text"),
        ("a truth of another type", with(1, &json!({"answer": 7})), "columns"),
        ("truths that disagree", with(1, &json!({"solution": "8"})), "columns"),
        ("an id that is an object", with(1, &json!({"id": {"a": 1}})), "columns"),
        ("an id that is empty", with(1, &json!({"id": ""})), "columns"),
        ("a task that is a number", with(1, &json!({"task": 7})), "columns"),
        ("a response that is a number", with(1, &json!({"response": 7})), "columns"),
        ("a rubric that is a number", with(1, &json!({"rubric": 7})), "columns"),
        ("an unknown key of our own", with(1, &json!({"columns": {"a": 1}})), "columns"),
        ("neither truth nor response", with(1, &json!({"answer": null, "response": null})), "no_truth"),
        ("the id of the first row", with(1, &json!({"id": "good-0"})), "repeated_id"),
        ("the first row again", with(0, &json!({"id": "again"})), "duplicate"),
        (
            "the first row in other letters",
            with(0, &json!({"id": "again", "problem": "How many  oranges are left in the basket"})),
            "near_duplicate",
        ),
    ] {
        // Columns must be known from other rows.
        let head = [with(0, &json!({"task": null, "messages": null})), row, with(2, &json!({"solution": "2"}))];
        let path = file(place.path(), "rows.jsonl", &head);
        let outcome = run(targets(&path, false, Held::default()), place.path(), Held::default());
        assert_eq!(outcome.of("rows", 1).split(' ').next(), Some(wanted), "{kind}");
        assert_eq!((outcome.rows, outcome.good), (3, if wanted.is_empty() { 3 } else { 2 }), "{kind}: {outcome:?}");
    }
}

#[test]
fn truths_that_the_reward_cannot_read() {
    let place = tempfile::tempdir().expect("a folder");
    for (reward, truth, wanted) in [
        ("math", json!("\\frac{1}{2}"), ""),
        ("math", json!("x^{2"), "bad_truth"),
        ("math", json!(null), "no_truth"),
        ("text", json!(" "), "bad_truth"),
        ("clock", json!("a quarter past"), "bad_truth"),
        ("multiple_choice", json!("B"), "bad_truth"),
        ("format", json!(null), ""),
    ] {
        let held = Held { reward: Some(reward), ..Held::default() };
        let lines = [with(1, &json!({"answer": truth}))];
        let path = file(place.path(), "rows.jsonl", &lines);
        assert_eq!(run(targets(&path, false, held), place.path(), held).of("rows", 0), wanted, "{reward} {truth}");
    }
    let held = Held { reward: Some("number"), ..Held::default() };
    assert_eq!(reason(place.path(), with(1, &json!({"answer": "four"})), held), "bad_truth");
}

#[test]
fn what_is_too_long() {
    let place = tempfile::tempdir().expect("a folder");
    let long = |count: usize| "and then another one ".repeat(count);
    let prompts = Held { prompt_tokens: Some(64), ..Held::default() };
    assert_eq!(reason(place.path(), with(1, &json!({"problem": long(200)})), prompts), "prompt_too_long");
    let shown = encoded(&picture(1, 640, 640), ImageFormat::Png);
    std::fs::write(place.path().join("wide.png"), shown).expect("a file");
    let lines = [with(1, &json!({"images": ["wide.png"]}))];
    let path = file(place.path(), "rows.jsonl", &lines);
    assert_eq!(run(targets(&path, false, prompts), place.path(), prompts).of("rows", 0), "prompt_too_long");
    let responses = Held { response_tokens: Some(16), ..Held::default() };
    assert_eq!(reason(place.path(), with(1, &json!({"response": long(40)})), responses), "response_too_long");
}

/// What only a configuration can say: templates, rubrics, phases that imitate, what is evaluated.
#[test]
fn what_a_configuration_asks_for() {
    let place = tempfile::tempdir().expect("a folder");
    let lines = [
        with(0, &json!({"hint": "a"})),
        with(1, &json!({})),
        with(2, &json!({"hint": "a", "rubric": "unknown"})),
        with(3, &json!({"hint": "a", "answer": "x"})),
        with(4, &json!({"hint": "a", "response": null})),
        with(5, &json!({"hint": "a", "response": " "})),
    ];
    let path = file(place.path(), "rows.jsonl", &lines);
    let toml = format!(
        "[run]\nname = \"check\"\nseed = 1\nphases = [\"cold\", \"rl\"]\n[policy]\nmodel = \"tiny\"\n\
         [data.rows]\nsource = \"{}\"\nprompt = \"{{{{ content }}}} {{{{ hint }}}}\"\n\
         [data.clocks]\nsource = \"synthetic:clock\"\n[rubrics.right]\ncorrect = \"number\"\n\
         [eval.held]\ndata = [\"clocks\"]\nsamples = 1\nmax_new_tokens = 4\nrubric = \"right\"\nqueries_per_source = 3\n\
         [phases.cold]\nkind = \"sft\"\ndata = [{{ use = \"rows\" }}]\nsteps = 1\nbatch_size = 1\n\
         optimizer = {{ lr = 1e-4 }}\n\
         [phases.rl]\nkind = \"rl\"\ndata = [{{ use = \"rows\" }}]\nsteps = 1\nprompts_per_step = 2\nrollouts_per_prompt = 2\n\
         sampling = {{ max_new_tokens = 4 }}\nrubric = \"right\"\nalgorithm = {{ kind = \"sapo\" }}\noptimizer = {{ lr = 1e-4 }}\n",
        path.display()
    );
    let outcome = run(of_toml(&toml, place.path()), place.path(), Held::default());
    assert_eq!(outcome.rows, 6 + 3);
    let found: Vec<String> = (0..6).map(|row| outcome.of("rows", row)).collect();
    assert_eq!(found, ["", "template", "rubric", "bad_truth", "no_response", "no_response"]);
    // The truths of clocks are times, which `number` does not read.
    assert!((0..3).all(|row| outcome.of("clocks", row) == "bad_truth"), "{outcome:?}");
}

/// Bytes that changed within a Parquet file.
#[test]
fn damage_within_parquet() {
    let place = tempfile::tempdir().expect("a folder");
    let rows = (0..6).map(|index| sapo_datasets::Example {
        query: sapo_datasets::synthetic::query(sapo_datasets::Task::Clock, sapo_datasets::Split::Train, 1, index),
        response: None,
        spoken: false,
    });
    let rows: Vec<sapo_datasets::Example> = rows.collect();
    let path = place.path().join("clocks.parquet");
    sapo_datasets::written::parquet::write(&path, rows.iter().cloned().map(Ok)).expect("a file");
    let mut bytes = std::fs::read(&path).expect("a file");
    let third = rows[2].query.images[0].bytes();
    let at = bytes.windows(third.len()).position(|window| window == third).expect("the picture lies in the file");
    bytes[at + third.len() / 2..at + third.len() / 2 + 8].fill(0);
    std::fs::write(&path, bytes).expect("a file");
    let outcome = run(targets(&path, false, Held::default()), place.path(), Held::default());
    assert_eq!((outcome.rows, outcome.of("clocks", 2).as_str()), (6, "picture_damaged"), "{outcome:?}");
    assert!(outcome.bad.keys().all(|(_, row)| *row == 2), "{outcome:?}");
}
