//! Videos: prompts and pixels against the reference implementation's, clips of every kind, and what cannot be used.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use image::codecs::gif::GifEncoder;
use image::{Delay, Frame, Rgb, RgbImage, RgbaImage};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView, serialize};
use sapo_policies::golden::{Case, check};
use sapo_policies::processor::{
    ChatMessage, ChatOptions, Clip, Processor, PromptLimit, TooLong, VideoProcessor, Visuals, decode,
    video_smart_resize,
};
use sapo_policies::to_vec;
use sapo_policies::{Batch, Config, Policy, PolicyInput, Trace};
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl")
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(path)).expect("the fixture is in the repository")
}

fn read_json(path: &str) -> Value {
    serde_json::from_slice(&read(path)).expect("JSON")
}

fn config() -> Config {
    Config::from_json(&read_json("tiny-dense/config.json").to_string(), "config.json").expect("a config")
}

/// The processor of the fixture with some settings of videos changed.
fn processor(changes: Value) -> Processor {
    let mut settings = read_json("tiny-dense/video_preprocessor_config.json");
    for (name, value) in changes.as_object().expect("an object") {
        settings[name] = value.clone();
    }
    let names = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "preprocessor_config.json"];
    let mut files: std::collections::BTreeMap<String, Vec<u8>> =
        names.into_iter().map(|name| (name.to_owned(), read(&format!("tiny-dense/{name}")))).collect();
    files.insert("video_preprocessor_config.json".to_owned(), settings.to_string().into_bytes());
    Processor::from_files(files, &config()).expect("a processor")
}

fn picture(name: &str) -> RgbImage {
    decode(&read(&format!("pictures/{name}.png")), name).expect("a picture")
}

fn golden_clip() -> Clip {
    let frames = (0..7).map(|index| picture(&format!("frame-{index:02}"))).collect();
    Clip::of_frames(frames, Some(3.0)).expect("a clip")
}

fn messages(case: &str) -> Vec<ChatMessage> {
    serde_json::from_value(read_json(&format!("cases-dense/{case}.json"))["messages"].clone()).expect("messages")
}

fn golden(case: &str) -> Case {
    Case::open(&fixtures().join(format!("cases-dense/{case}.safetensors"))).expect("the golden case")
}

fn ids(input: &PolicyInput) -> Vec<i64> {
    input.ids().iter().map(|id| i64::from(*id)).collect()
}

fn visuals<'a>(pictures: &'a [RgbImage], videos: &'a [Clip]) -> Visuals<'a> {
    Visuals { pictures, videos }
}

fn asked(parts: Value) -> Vec<ChatMessage> {
    vec![ChatMessage { role: "user".to_owned(), content: parts, tool_calls: None }]
}

fn open_turn() -> ChatOptions {
    ChatOptions { add_generation_prompt: true, tools: Vec::new() }
}

#[test]
fn prompts_have_the_references_tokens_and_pixels() {
    let processor = processor(json!({"do_sample_frames": false}));
    let clips = [golden_clip()];
    let pictures = [0, 1, 2].map(|index| picture(&format!("picture-{index}")));
    for (case, visuals, pixels) in [
        ("text", visuals(&[], &[]), None),
        ("image", visuals(&pictures[..1], &[]), Some("pixel_values")),
        ("images", visuals(&pictures[1..], &[]), Some("pixel_values")),
        ("video", visuals(&[], &clips), Some("pixel_values_videos")),
    ] {
        let golden = golden(case);
        let ours = processor.encode_with(&messages(case), visuals, &ChatOptions::default()).expect("encodes");
        assert_eq!(ids(&ours), golden.ints("input_ids").expect("ids"), "{case}");
        let values: Vec<f32> = ours.pictures().iter().flat_map(|picture| picture.pixels.iter().copied()).collect();
        let expected = pixels.map_or(&[][..], |name| golden.floats(name).expect("pixels"));
        assert_eq!(values.len(), expected.len(), "{case}");
        for (a, b) in values.iter().zip(expected) {
            let levels = (f64::from(a - b) * 127.5).abs();
            assert!(levels < 1e-4 || (levels - 1.0).abs() < 1e-4, "{case}: {a} and not {b}");
        }
    }
}

#[test]
fn a_video_has_a_span_for_each_pair_of_frames() {
    let processor = processor(json!({}));
    let input = processor
        .encode_with(
            &asked(json!([{"type": "image"}, {"type": "video"}, {"type": "text", "text": "and"}, {"type": "image"}])),
            visuals(&[picture("picture-1"), picture("picture-0")], &[golden_clip()]),
            &open_turn(),
        )
        .expect("encodes");
    // Two frames a second of seven at three a second are four.
    let slots: Vec<(usize, usize)> = input.spans().iter().map(|span| (span.picture, span.slot)).collect();
    assert_eq!(slots, [(0, 0), (1, 0), (1, 1), (2, 0)]);
    let config = config();
    let placeholder = |id: u32| id == config.image_token_id || id == config.video_token_id;
    let spanned: usize = input.spans().iter().map(|span| span.len).sum();
    assert_eq!(input.ids().iter().filter(|id| placeholder(**id)).count(), spanned);
    assert_eq!(input.pictures().iter().map(|picture| picture.tokens(2)).sum::<usize>(), spanned);
    let text = processor.decode(input.ids(), false);
    assert!(text.contains("<|vision_end|><0.3 seconds><|vision_start|><|video_pad|>"), "{text}");
    assert!(text.contains("<|video_pad|><|vision_end|><1.7 seconds><|vision_start|><|video_pad|>"), "{text}");
    assert!(text.contains("<|video_pad|><|vision_end|>and<|vision_start|><|image_pad|>"), "{text}");
    for (pictures, clips, says) in
        [(1, 1, "name 2 pictures, but 1 are given"), (2, 0, "name 1 videos, but 0 are given")]
    {
        let error = processor.encode_with(
            &asked(json!([{"type": "image"}, {"type": "video"}, {"type": "image"}])),
            visuals(&vec![picture("picture-0"); pictures], &vec![golden_clip(); clips]),
            &open_turn(),
        );
        assert!(error.expect_err("a mismatch").to_string().contains(says));
    }
}

#[test]
fn decoding_goes_on_behind_pictures_and_videos_as_one_pass_does() {
    let policy = Policy::load(&fixtures().join("tiny-dense"), &Device::flex()).expect("the fixture loads");
    let prompt = processor(json!({}))
        .encode_with(
            &asked(json!([{"type": "video"}, {"type": "text", "text": "or"}, {"type": "image"}])),
            visuals(&[picture("picture-2")], &[golden_clip()]),
            &open_turn(),
        )
        .expect("encodes");
    let merge = policy.config.vision.spatial_merge_size;
    let answer = [40_u32, 41, 42];
    let mut whole = prompt.clone();
    whole.push_text(&answer);
    let batch = Batch::prompts(&[&whole], merge);
    let at_once = to_vec(policy.logits(policy.forward(&batch, &mut Trace::off())));
    let next = sapo_policies::input::positions(&prompt, merge).next;
    let mut state = policy.start_decoding(&[&prompt], 4).expect("starts");
    let mut fed = *prompt.ids().last().expect("a token");
    let vocabulary = policy.config.text.vocab_size;
    for (step, token) in answer.iter().enumerate() {
        let logits = to_vec(state.feed(&policy, &[fed], &[next - 1 + step as u32]));
        let row = prompt.ids().len() - 1 + step;
        for (a, b) in logits.iter().zip(&at_once[row * vocabulary..]) {
            // What is banned is so in both.
            assert!(a == b || (a - b).abs() < 1e-4, "step {step}: {a} and not {b}");
        }
        fed = *token;
    }
}

/// A tensor of a golden case, to be written into another.
fn tensor(case: &Case, name: &str) -> (Dtype, Vec<usize>, Vec<u8>) {
    let shape = case.shape(name).expect("in the case").to_vec();
    match case.floats(name) {
        Ok(values) => (Dtype::F32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        Err(_) => {
            let values = case.ints(name).expect("whole numbers");
            (Dtype::I64, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
    }
}

#[test]
fn pictures_and_videos_in_one_prompt_have_the_features_that_each_has_alone() {
    let (still, moving) = (golden("images"), golden("video"));
    let mut tensors = Vec::new();
    let mut all: Vec<i64> = moving.ints("input_ids").expect("ids").to_vec();
    all.extend(still.ints("input_ids").expect("ids"));
    let bytes = |values: &[i64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    tensors.push(("input_ids".to_owned(), (Dtype::I64, vec![1, all.len()], bytes(&all))));
    tensors.push(("attention_mask".to_owned(), (Dtype::I64, vec![1, all.len()], bytes(&vec![1; all.len()]))));
    for name in ["pixel_values", "image_grid_thw"] {
        tensors.push((name.to_owned(), tensor(&still, name)));
    }
    for name in ["pixel_values_videos", "video_grid_thw"] {
        tensors.push((name.to_owned(), tensor(&moving, name)));
    }
    // The reference runs the tower for all pictures first, then for all videos.
    let mut compared = 0;
    for (call, case) in [(0, &still), (1, &moving)] {
        let of_tower: Vec<String> = case
            .names()
            .filter(|name| name.starts_with("vision") || name.starts_with("deepstack"))
            .map(str::to_owned)
            .collect();
        compared += of_tower.len();
        for name in of_tower {
            tensors.push((name.replacen("_0", &format!("_{call}"), 1), tensor(case, &name)));
        }
    }
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), data).expect("a tensor"))
    });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mixed.safetensors");
    std::fs::write(&path, serialize(views, None).expect("safetensors")).expect("written");
    let policy = Policy::load(&fixtures().join("tiny-dense"), &Device::flex()).expect("the fixture loads");
    let parity = check(&policy, &Case::open(&path).expect("a case")).expect("runs");
    assert!(parity.left.is_empty(), "{:?}", parity.left);
    assert_eq!(parity.differences.len(), compared);
    assert!(parity.differences.iter().all(|one| !one.is_out()), "{:?}", parity.differences);
}

/// A GIF of plain frames with these delays in milliseconds.
fn gif(colours: &[[u8; 3]], delays: &[u32], [width, height]: [u32; 2]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    for ([red, green, blue], delay) in colours.iter().zip(delays) {
        let frame = RgbaImage::from_pixel(width, height, image::Rgba([*red, *green, *blue, 255]));
        encoder.encode_frame(Frame::from_parts(frame, 0, 0, Delay::from_numer_denom_ms(*delay, 1))).expect("encodes");
    }
    drop(encoder);
    bytes
}

const COLOURS: [[u8; 3]; 5] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255]];

fn colours(clip: &Clip, indices: &[usize]) -> Vec<[u8; 3]> {
    let mut colours = Vec::new();
    clip.read(indices, &mut |frame| colours.push(frame.get_pixel(3, 3).0)).expect("frames");
    colours
}

#[test]
fn an_animated_file_is_a_clip() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("clip.gif");
    std::fs::write(&path, gif(&COLOURS, &[100, 200, 100, 200, 200], [40, 30])).expect("written");
    let clip = Clip::open(&path, None).expect("a clip");
    assert_eq!((clip.len(), clip.size(), clip.fps()), (5, [30, 40], Some(6.25)));
    assert_eq!(colours(&clip, &[1, 4]), [COLOURS[1], COLOURS[4]]);
    assert_eq!(Clip::open(&path, Some(12.0)).expect("a clip").fps(), Some(12.0));
    // Viewers show a frame without a delay for a tenth of a second.
    let clip = Clip::animated(gif(&COLOURS, &[0; 5], [40, 30]).into(), "clip", None).expect("a clip");
    assert_eq!(clip.fps(), Some(10.0));
}

#[test]
fn a_folder_is_a_clip_in_natural_order() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, colour) in ["f10.png", "f2.png", "f1.png", "F9.PNG", ".f3.png"].iter().zip(COLOURS) {
        let frame = RgbImage::from_pixel(64, 48, Rgb(colour));
        frame.save_with_format(folder.path().join(name), image::ImageFormat::Png).expect("written");
    }
    std::fs::write(folder.path().join("notes.txt"), "no frame").expect("written");
    let clip = Clip::open(folder.path(), None).expect("a clip");
    assert_eq!((clip.len(), clip.size(), clip.fps()), (4, [48, 64], None));
    assert_eq!(colours(&clip, &[0, 1, 2, 3]), [COLOURS[3], COLOURS[2], COLOURS[1], COLOURS[0]]);
    // Frames of unknown rate are taken to be sampled already, at the processor's rate.
    let processor = processor(json!({}));
    let video = processor.videos().process(&clip).expect("a video");
    assert_eq!((video.indices, video.input.grid[0]), (vec![0, 1, 2, 3], 2));
    assert_eq!(video.timestamps, ["<0.2 seconds>", "<1.2 seconds>"]);
    RgbImage::new(64, 47).save(folder.path().join("f11.png")).expect("written");
    let clip = Clip::open(folder.path(), None).expect("a clip");
    let error = clip.read(&[4], &mut |_| ()).expect_err("another size").to_string();
    assert!(error.contains("f11.png") && error.contains("64 x 47"), "{error}");
}

#[test]
fn what_is_no_clip_is_refused_with_a_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |name: &str, bytes: &[u8], says: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        let error = Clip::open(&path, None).expect_err("no clip").to_string();
        assert!(error.contains(name) && error.contains(says), "{name}: {error}");
    };
    for name in ["a.mp4", "a.MKV", "a.webm", "a.avi", "a.mov"] {
        refused(name, b"anything", "ffmpeg");
    }
    refused("b", b"\0\0\0\x20ftypisom", "mp4 container");
    refused("c", b"\x1a\x45\xdf\xa3\x01", "mkv container");
    refused("d", b"RIFF\0\0\0\0AVI LIST", "avi container");
    refused("e.gif", b"plain text", "is not a video");
    refused("f.gif", b"", "it is empty");
    refused("g.png", &read("pictures/picture-0.png"), "give it as a picture");
    refused("h.gif", &gif(&COLOURS[..1], &[100], [8, 8]), "give it as a picture");
    let whole = gif(&COLOURS, &[100; 5], [40, 30]);
    refused("i.gif", &whole[..whole.len() / 2], "cannot be decoded");
    let empty = tempfile::tempdir().expect("a folder");
    let error = |fps: Option<f64>, path: &Path| Clip::open(path, fps).expect_err("no clip").to_string();
    assert!(error(None, empty.path()).contains("holds no frames"));
    std::fs::write(empty.path().join("clip.mp4"), "anything").expect("written");
    assert!(error(None, empty.path()).contains("ffmpeg"));
    assert!(error(None, &folder.path().join("gone")).contains("gone"));
    assert!(error(Some(0.0), empty.path()).contains("not a number of frames"));
    assert!(Clip::of_frames(Vec::new(), None).is_err());
    let one = Clip::of_frames(vec![RgbImage::new(64, 64)], Some(1.0)).expect("a clip");
    let error = processor(json!({})).videos().process(&one).expect_err("one frame").to_string();
    assert!(error.contains("too short"), "{error}");
}

#[test]
fn a_bomb_is_refused_before_it_is_unpacked() {
    // A head that promises 65535 x 65535 pixels.
    let mut bytes = gif(&COLOURS, &[100; 5], [40, 30]);
    bytes[6..10].fill(0xff);
    let error = Clip::animated(bytes.into(), "bomb.gif", None).expect_err("a bomb").to_string();
    assert!(error.contains("bomb.gif") && error.contains("65535 x 65535"), "{error}");
    for settings in [
        json!({"size": {"shortest_edge": 1_u64 << 39, "longest_edge": 1_u64 << 40}}),
        json!({"max_frames": 0}),
        json!({"fps": -1}),
    ] {
        let mut all = read_json("tiny-dense/video_preprocessor_config.json");
        for (name, value) in settings.as_object().expect("an object") {
            all[name] = value.clone();
        }
        assert!(VideoProcessor::from_json(&all, "video.json").is_err(), "{settings}");
    }
}

#[test]
fn settings_come_from_the_checkpoint() {
    let frames: Vec<RgbImage> = (0..20).map(|index| RgbImage::from_pixel(160, 96, Rgb([index * 12, 0, 9]))).collect();
    let clip = Clip::of_frames(frames, Some(10.0)).expect("a clip");
    let of = |changes: Value| processor(changes).videos().process(&clip).expect("a video");
    assert_eq!(of(json!({})).indices, [0, 6, 13, 19]);
    assert_eq!(of(json!({"fps": 5})).indices.len(), 10);
    assert_eq!(of(json!({"fps": 5, "max_frames": 6})).indices.len(), 6);
    assert_eq!(of(json!({"min_frames": 8})).indices.len(), 8);
    assert_eq!(of(json!({"fps": null, "num_frames": 5})).indices, [0, 5, 10, 14, 19]);
    assert_eq!(of(json!({"do_sample_frames": false})).indices.len(), 20);
    let largest = |edge: usize| of(json!({"size": {"shortest_edge": 4096, "longest_edge": edge}})).input.grid;
    assert_eq!((largest(131_072), largest(32_768)), ([2, 6, 10], [2, 4, 6]));
    // With the cap a frame has at most its share of the largest volume.
    let capped = |cap: bool| {
        let settings = json!({"cap_pixels_per_frame": cap, "size": {"shortest_edge": 4096, "longest_edge": 8_388_608}});
        let huge = vec![RgbImage::new(2000, 1500); 2];
        let clip = Clip::of_frames(huge, Some(2.0)).expect("a clip");
        processor(settings).videos().tokens(&clip).expect("tokens")
    };
    assert_eq!((capped(false), capped(true)), (47 * 62, 24 * 32));
    let plain = of(json!({"do_normalize": false, "do_rescale": false}));
    assert!(plain.input.pixels.iter().all(|value| (0.0..=255.0).contains(value) && value.fract() == 0.0));
    assert_ne!(
        of(json!({"resample": 2})).input.pixels,
        of(json!({"size": {"shortest_edge": 200_000, "longest_edge": 900_000}})).input.pixels
    );
}

#[test]
fn a_prompt_that_is_too_long_is_refused_or_loses_whole_pictures() {
    let processor = processor(json!({}));
    let pictures = [picture("picture-0"), picture("picture-1")];
    let clips = [golden_clip()];
    let parts = json!([{"type": "image"}, {"type": "text", "text": "a"}, {"type": "video"}, {"type": "image"}]);
    let (messages, visuals) = (asked(parts), visuals(&pictures, &clips));
    let within = |tokens: usize, too_long: TooLong| {
        processor.encode_within(&messages, visuals, &open_turn(), Some(PromptLimit { tokens, too_long }))
    };
    let whole = processor.encode_with(&messages, visuals, &open_turn()).expect("encodes");
    let all = whole.ids().len();
    assert_eq!(within(all, TooLong::Refuse).expect("fits").input, whole);
    let error = within(all - 1, TooLong::Refuse).expect_err("too long").to_string();
    assert!(error.contains(&format!("has {all} tokens, and at most {}", all - 1)), "{error}");
    let mut seen = std::collections::BTreeSet::new();
    for tokens in 0..=all {
        match within(tokens, TooLong::DropPictures) {
            Ok(encoded) => {
                assert!(encoded.input.ids().len() <= tokens);
                let dropped = encoded.dropped_pictures.len() + encoded.dropped_videos.len();
                assert_eq!(encoded.input.dropped_pictures(), dropped);
                let kept = (encoded.input.pictures().len(), encoded.dropped_pictures.clone(), encoded.dropped_videos);
                // The earliest go first: a picture, the video, the other picture.
                let order =
                    [(3, vec![], vec![]), (2, vec![0], vec![]), (1, vec![0], vec![0]), (0, vec![0, 1], vec![0])];
                assert!(order.contains(&kept), "{kept:?}");
                let spanned: usize = encoded.input.spans().iter().map(|span| span.len).sum();
                assert_eq!(encoded.input.pictures().iter().map(|picture| picture.tokens(2)).sum::<usize>(), spanned);
                seen.insert(kept.0);
            }
            Err(error) => assert!(error.to_string().contains("no picture is left"), "{error}"),
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_are_spread_from_the_first_to_the_last(total in 1_usize..2000, fps in 0.1_f64..120.0) {
        let settings = VideoProcessor::from_json(&read_json("tiny-dense/video_preprocessor_config.json"), "v").expect("settings");
        let indices = settings.sample(total, fps);
        prop_assert_eq!(indices[0], 0);
        prop_assert!(indices.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(indices.len() == 1 || indices.last() == Some(&(total - 1)));
        prop_assert!(indices.len() <= settings.max_frames && indices.len() >= settings.min_frames.min(total));
        prop_assert_eq!(settings.timestamps(&indices, fps).len(), indices.len().div_ceil(2));
    }

    #[test]
    fn frames_of_any_size_fit_the_volume_or_are_refused(frames in 0_usize..800, height in 0_usize..5000, width in 0_usize..5000) {
        if let Ok([h, w]) = video_smart_resize(frames, [height, width], [2, 32], [4096, 786_432]) {
            prop_assert!(h % 32 == 0 && w % 32 == 0 && h > 0 && w > 0);
            prop_assert!(frames * h * w <= 900_000 || h == 32 || w == 32, "{} x {} x {}", frames, h, w);
        }
    }

    #[test]
    fn a_damaged_clip_is_an_error_or_a_clip(at in 0_usize..2000, byte in any::<u8>(), cut in 0_usize..3000) {
        let mut bytes = gif(&COLOURS, &[50; 5], [24, 20]);
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(cut.max(1));
        if let Ok(clip) = Clip::animated(Arc::from(bytes), "damaged", None) {
            let all: Vec<usize> = (0..clip.len()).collect();
            let mut frames = 0;
            if clip.read(&all, &mut |_| frames += 1).is_ok() {
                prop_assert_eq!(frames, clip.len());
            }
        }
    }
}
