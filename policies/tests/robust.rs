//! Files and texts from anywhere: chat templates, pictures, processor settings and tokenizers end in a value or an
//! error, never in a panic, and never in more memory or time than a few seconds of a small machine.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;
use sapo_policies::Config;
use sapo_policies::processor::{
    ChatMessage, ChatOptions, ChatTemplate, ImageProcessor, Processor, Tokenizer, VideoProcessor, decode, smart_resize,
};
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl")
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(path)).expect("the fixture is in the repository")
}

fn rendered(source: &str) -> Result<String, String> {
    let template = ChatTemplate::new(source, "chat_template.jinja").map_err(|error| error.to_string())?;
    let message = |role: &str, content: Value| ChatMessage { role: role.to_owned(), content, tool_calls: None };
    let messages = [message("system", json!("Be brief.")), message("user", json!([{"type": "text", "text": "Hi"}]))];
    template.render(&messages, &ChatOptions::default()).map_err(|error| error.to_string())
}

#[test]
fn hostile_templates_end_in_an_error() {
    let nested = "{% set n = namespace(x=[]) %}{% for i in range(100000) %}{% set n.x = [n.x] %}{% endfor %}";
    let doubled = "{% set n = namespace(x='ab') %}{% for i in range(64) %}{% set n.x = n.x ~ n.x %}{% endfor %}";
    let pairs = "{% set n = namespace(x='ab') %}{% for i in range(64) %}{% set n.x = [n.x, n.x] %}{% endfor %}";
    let sources = [
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}".to_owned(),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".to_owned(),
        "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('xxxx') }}".to_owned(),
        format!("{doubled}{{{{ n.x }}}}"),
        format!("{nested}{{{{ n.x | tojson }}}}"),
        format!("{pairs}{{{{ n.x | tojson }}}}"),
        format!("{pairs}{{{{ n.x }}}}"),
        "{{ 'x' * 99999999999 }}".to_owned(),
        "{{ [0] * 99999999999 }}".to_owned(),
        "{{ range(999999999999) | list }}".to_owned(),
        "{{ messages[0].nothing.at.all }}".to_owned(),
        "{{ messages[99].role }}".to_owned(),
        "{{ raise_exception('no') }}".to_owned(),
        "{{ messages | nofilter }}".to_owned(),
        "{{ strange() }}".to_owned(),
        "{{ 1 // 0 }}".to_owned(),
        "{% include 'other' %}".to_owned(),
        "{% extends 'other' %}".to_owned(),
        "{% for %}".to_owned(),
        "{{ ".to_owned(),
        "{% if %}{% endif %}".to_owned(),
        "{% generation %}".to_owned(),
        "{{ (".repeat(30_000),
        format!("{{{{ {}1", "not ".repeat(30_000)),
        format!("{{{{ {}a", "-".repeat(120_000)),
        format!("{{{{ a{}", " ~ a".repeat(30_000)),
        format!("{{{{ a{}", "|f".repeat(60_000)),
        format!("{{{{ a{}", "[a]".repeat(40_000)),
        "{% if a %}".repeat(12_000),
        format!("{{% if a %}}{}", "{% elif a %}".repeat(10_000)),
        format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)),
        format!("{{{{ {} }}}}", "[".repeat(50_000)),
        "x".repeat(2 << 20),
        // A list that is put together with itself, and looked at or not.
        added("[1]", "n.x + n.x", "{{ n.x | length }}"),
        added("[1]", "n.x + n.x", ""),
        added("[1]", "n.x + n.x", "{{ n.x[0] }}"),
        added("(1, 2)", "n.x + n.x", "{{ n.x | length }}"),
        added("'ab'", "n.x + n.x", "{{ n.x | length }}"),
        added("messages", "n.x + n.x[:]", "{{ n.x | length }}"),
        added("[1]", "n.x | chain(n.x)", "{{ n.x | length }}"),
        added("[1]", "n.x * 2", "{{ n.x | length }}"),
    ];
    for source in sources {
        let shown: String = source.chars().take(80).collect();
        assert!(rendered(&source).is_err(), "{shown}");
    }
}

/// A template that makes a value out of itself 60 times, and then uses it.
fn added(value: &str, out_of: &str, used: &str) -> String {
    format!(
        "{{% set n = namespace(x={value}) %}}{{% for i in range(60) %}}{{% set n.x = {out_of} %}}{{% endfor %}}{used}"
    )
}

#[test]
fn sums_are_those_of_jinja() {
    let many = "{% set n = namespace(x=[]) %}{% for i in range(1500) %}{% set n.x = n.x + [i] %}{% endfor %}{{ n.x | length }}";
    for (source, wanted) in [
        ("{{ 'a' + 'b' + messages[0].role }}", "absystem"),
        ("{{ 1 + 2 }} {{ 1 + 2.5 }} {{ messages | length + 1 }}", "3 3.5 3"),
        ("{{ [1] + [2, 'x'] }}", "[1, 2, 'x']"),
        ("{{ (messages[:1] + messages)[2].role }}", "user"),
        ("{{ ((1,) + (2,)) | length }}", "2"),
        ("{% macro m(x) %}{{ x + x }}{% endmacro %}{{ m('ab') }}", "abab"),
        (many, "1500"),
    ] {
        assert_eq!(rendered(source).as_deref(), Ok(wanted), "{source}");
    }
    for source in ["{{ 1 + 'a' }}", "{{ messages[0].role + 1 }}", "{{ [1] + 'a' }}", "{{ nothing.at.all + 1 }}"] {
        assert!(rendered(source).is_err(), "{source}");
    }
    let error = rendered("{{ messages[1].content[0].text + 1 }}").expect_err("text and a number");
    assert!(!error.contains("Hi"), "an error does not repeat what was said: {error}");
}

#[test]
fn what_is_large_stays_within_bounds() {
    let nested = "{% set n = namespace(x=[]) %}{% for i in range(100000) %}{% set n.x = [n.x] %}{% endfor %}";
    for source in [
        // Deep lists are dropped, or refused, without a fault.
        nested.to_owned(),
        format!("{nested}{{{{ n.x }}}}"),
        "{{ 'x' | center(99999999) }}".to_owned(),
        "{{ 'a\nb' | indent(99999999) }}".to_owned(),
        "{{ '%099999999d' | format(1) }}".to_owned(),
        "{{ 'x'.ljust(99999999) }}".to_owned(),
        "{{ range(9) | batch(99999999, 0) | list }}".to_owned(),
        "{{ range(9) | slice(99999999, 0) | list }}".to_owned(),
        "{{ messages | tojson(indent=99999999) }}".to_owned(),
        "{{ 'x'.replace('', 'yyyyyyyyyyyyyyyy' * 1000) }}".to_owned(),
        "{% for c in 'x' * 100000 %}{{ loop.index * 99999999999999999999 }}{% endfor %}".to_owned(),
    ] {
        let shown: String = source.chars().take(80).collect();
        if let Ok(text) = rendered(&source) {
            assert!(text.len() <= 1 << 28, "{shown}: {}", text.len());
        }
    }
}

/// Pieces that templates are made of, so that random ones get far.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "{{ ",
        " }}",
        "{% ",
        " %}",
        "{%- ",
        " -%}",
        "{#",
        "#}",
        "for m in messages",
        "endfor",
        "if tools",
        "else",
        "endif",
        "set x = ",
        "set ns = namespace(a=1)",
        "ns.a",
        "m.content",
        "m.role",
        "messages",
        "loop.index0",
        "[0]",
        "[-1:]",
        "(",
        ")",
        "|tojson",
        "|trim",
        "|length",
        "|join(',')",
        " ~ ",
        " + ",
        " * ",
        "'a'",
        "9999999999",
        "1.5",
        "none",
        "is string",
        "is defined",
        "macro f(x)",
        "endmacro",
        "f(1)",
        "raise_exception('x')",
        "\n",
        "generation",
        "endgeneration",
        "<|im_start|>",
        "é🙂",
        ".split('')",
        ".items()",
        "range(5)",
        "not ",
        "in ",
        "==",
        "\0",
    ];
    prop::sample::select(pieces.to_vec()).prop_map(str::to_owned)
}

/// A small picture in every format that is read.
fn pictures() -> Vec<Vec<u8>> {
    let picture = RgbImage::from_fn(23, 17, |x, y| Rgb([(x * 11) as u8, (y * 13) as u8, (x * y) as u8]));
    let encode = |format: ImageFormat| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("encodes");
        bytes.into_inner()
    };
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif].map(encode).to_vec()
}

#[test]
fn heads_that_promise_too_much_are_refused() {
    let mut png = pictures().remove(0);
    // Width and height of a PNG, whose checksum is then wrong: whichever is found first, it is no picture.
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let mut gif = pictures().remove(3);
    gif[6..10].fill(0xff);
    for bytes in
        [png, gif, Vec::new(), b"GIF89a".to_vec(), b"\x89PNG\r\n\x1a\n".to_vec(), b"RIFF\0\0\0\0WEBPVP8X".to_vec()]
    {
        let error = decode(&bytes, "here.png").expect_err("no picture").to_string();
        assert!(error.starts_with("here.png: "), "{error}");
    }
    let images = ImageProcessor::from_json(&json_of("tiny-dense/preprocessor_config.json"), "p").expect("settings");
    for (width, height) in [(0, 0), (0, 5), (5, 0), (1, 201), (40_000, 1), (4, 801)] {
        assert!(images.process(&RgbImage::new(width, height)).is_err(), "{width} x {height}");
    }
    for (width, height) in [(1, 1), (1, 200), (200, 1), (4, 800)] {
        let input = images.process(&RgbImage::new(width, height)).expect("patches");
        assert!(input.patches() * 256 <= images.max_pixels, "{width} x {height}");
    }
}

fn json_of(path: &str) -> Value {
    serde_json::from_slice(&read(path)).expect("JSON")
}

/// Values that settings do not have.
fn strange() -> impl Strategy<Value = Value> {
    let values = [
        Value::Null,
        json!(-1),
        json!(0),
        json!(1),
        json!(3),
        json!(7.5),
        json!(1e300),
        json!(u64::MAX),
        json!("x"),
        json!([]),
        json!({}),
        json!([0, 0, 0]),
        json!([1e-300, 1, 1]),
        json!(true),
        json!(1_u64 << 33),
        json!({"shortest_edge": -4}),
        json!({"shortest_edge": 1, "longest_edge": 1}),
        json!({"shortest_edge": 5000, "longest_edge": 4000}),
        json!({"longest_edge": 1_u64 << 62, "shortest_edge": 4096}),
    ];
    prop::sample::select(values.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_template_is_a_text_or_an_error(pieces in prop::collection::vec(piece(), 0..40)) {
        drop(rendered(&pieces.concat()));
    }

    #[test]
    fn a_damaged_template_is_a_text_or_an_error(at in any::<prop::sample::Index>(), with in "[ -~]{0,3}", cut in 0_usize..8) {
        let mut source = String::from_utf8(read("tiny-dense/chat_template.jinja")).expect("text");
        let at = at.index(source.len() - 8);
        source.replace_range(at..at + cut, &with);
        drop(rendered(&source));
    }

    #[test]
    fn a_damaged_picture_is_a_picture_or_an_error(
        which in 0_usize..4, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(), whole in any::<bool>(),
    ) {
        let mut bytes = pictures().remove(which);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(picture) = decode(&bytes, "damaged") {
            prop_assert!(picture.width() > 0 && picture.height() > 0);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes, "bytes").is_err());
        prop_assert!(Tokenizer::from_bytes(&bytes, "tokenizer.json").is_err());
    }

    #[test]
    fn sizes_of_any_rule_are_multiples_or_errors(
        height in 0_usize..100_000, width in 0_usize..100_000, factor in 1_usize..200, least in 1_usize..1_000_000, most in 1_usize..100_000_000,
    ) {
        if let Ok((h, w)) = smart_resize(height, width, factor, least, most) {
            prop_assert!(h % factor == 0 && w % factor == 0);
        }
    }

    #[test]
    fn strange_settings_are_refused_or_work(key in any::<prop::sample::Index>(), value in strange(), second in any::<prop::sample::Index>(), other in strange()) {
        let mut settings = json_of("tiny-dense/video_preprocessor_config.json");
        let names: Vec<String> = settings.as_object().expect("an object").keys().cloned().collect();
        settings[key.get(&names)] = value;
        settings[second.get(&names)] = other;
        let picture = RgbImage::new(50, 40);
        let images = ImageProcessor::from_json(&settings, "settings");
        if let Ok((images, input)) = images.and_then(|images| Ok((images.clone(), images.process(&picture)?))) {
            prop_assert_eq!(input.pixels.len(), input.patches() * 3 * images.temporal_patch_size * images.patch_size.pow(2));
        }
        let clip = sapo_policies::processor::Clip::of_frames(vec![picture; 3], Some(5.0)).expect("a clip");
        let videos = VideoProcessor::from_json(&settings, "settings");
        if let Ok(video) = videos.and_then(|videos| videos.process(&clip)) {
            prop_assert_eq!(video.input.grid[0], video.timestamps.len());
        }
    }

    #[test]
    fn a_damaged_tokenizer_is_refused_or_works(at in any::<prop::sample::Index>(), with in "[ -~]{0,2}", cut in 0_usize..4) {
        let text = String::from_utf8(read("tiny-dense/tokenizer.json")).expect("text");
        let at = (0..=at.index(text.len() - 8)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let end = (at + cut..).find(|end| text.is_char_boundary(*end)).unwrap_or(at);
        let damaged = format!("{}{with}{}", &text[..at], &text[end..]);
        let files = [("tokenizer.json", damaged.into_bytes())].into_iter().map(|(name, bytes)| (name.to_owned(), bytes));
        let mut files: BTreeMap<String, Vec<u8>> = files.collect();
        for name in ["tokenizer_config.json", "chat_template.jinja", "preprocessor_config.json", "video_preprocessor_config.json"] {
            files.insert(name.to_owned(), read(&format!("tiny-dense/{name}")));
        }
        let config = Config::from_json(&json_of("tiny-dense/config.json").to_string(), "config.json").expect("a config");
        if let Ok(processor) = Processor::from_files(files, &config) {
            let message = ChatMessage { role: "user".to_owned(), content: json!("What is 17 + 25?"), tool_calls: None };
            drop(processor.encode(&[message], &[], &ChatOptions::default()));
        }
    }
}
