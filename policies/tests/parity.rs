//! The model against the golden tensors of the reference implementation: text, one picture, several pictures of
//! different sizes, left- and right-padded rows, video; forward, log-probs and gradients.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use sapo_policies::log_prob::floats;
use sapo_policies::{Batch, ImageSpan, PictureInput, Policy, PolicyInput, Trace};

const ACTIVATION_ABS: f32 = 2e-4;
const GRADIENT_REL: f32 = 1e-3;
const MERGE: usize = 2;
const KINDS: [&str; 2] = ["dense", "moe"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl")
}

struct Case {
    bytes: Vec<u8>,
}

impl Case {
    fn open(kind: &str, name: &str) -> Self {
        let path = fixtures().join(format!("cases-{kind}")).join(format!("{name}.safetensors"));
        Self { bytes: std::fs::read(path).expect("the golden case is in the repository") }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("a safetensors file")
    }

    fn ints(&self, name: &str) -> Vec<i64> {
        let tensors = self.tensors();
        let Ok(view) = tensors.tensor(name) else { return Vec::new() };
        assert_eq!(view.dtype(), Dtype::I64);
        view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes"))).collect()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).expect("the tensor is in the case");
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
    }

    fn mask(&self, name: &str) -> Vec<bool> {
        self.tensors().tensor(name).expect("a mask").data().iter().map(|byte| *byte != 0).collect()
    }

    /// The rows as inputs (padding left out), and for each row the columns of its real tokens.
    fn inputs(&self, policy: &Policy) -> (Vec<PolicyInput>, Vec<Vec<usize>>) {
        let shape = self.tensors().tensor("input_ids").expect("ids").shape().to_vec();
        let (ids, attended) = (self.ints("input_ids"), self.ints("attention_mask"));
        let mut pictures = self.pictures().into_iter();
        let mut inputs = Vec::new();
        let mut columns = Vec::new();
        for row in 0..shape[0] {
            let real: Vec<usize> = (0..shape[1]).filter(|column| attended[row * shape[1] + column] == 1).collect();
            let ids: Vec<u32> = real.iter().map(|column| ids[row * shape[1] + column] as u32).collect();
            inputs.push(typed(ids, policy, &mut pictures));
            columns.push(real);
        }
        (inputs, columns)
    }

    fn pictures(&self) -> Vec<PictureInput> {
        let (pixels, grids) = if self.tensors().tensor("pixel_values").is_ok() {
            (self.floats("pixel_values"), self.ints("image_grid_thw"))
        } else if self.tensors().tensor("pixel_values_videos").is_ok() {
            (self.floats("pixel_values_videos"), self.ints("video_grid_thw"))
        } else {
            return Vec::new();
        };
        let mut start = 0;
        grids
            .chunks(3)
            .map(|grid| {
                let grid = [grid[0] as usize, grid[1] as usize, grid[2] as usize];
                let end = start + grid.iter().product::<usize>() * 1536;
                let picture = PictureInput { pixels: pixels[start..end].into(), grid };
                start = end;
                picture
            })
            .collect()
    }
}

/// Runs of placeholder tokens become spans; a video's picture has one run per slot.
fn typed(ids: Vec<u32>, policy: &Policy, pictures: &mut impl Iterator<Item = PictureInput>) -> PolicyInput {
    let placeholder = |id: u32| id == policy.config.image_token_id || id == policy.config.video_token_id;
    let mut input = PolicyInput { ids, spans: Vec::new(), pictures: Vec::new() };
    let mut slots_left = 0;
    let mut at = 0;
    while at < input.ids.len() {
        if !placeholder(input.ids[at]) {
            at += 1;
            continue;
        }
        if slots_left == 0 {
            let picture = pictures.next().expect("a picture for every run of placeholders");
            slots_left = picture.grid[0];
            input.pictures.push(picture);
        }
        let picture = input.pictures.len() - 1;
        let [slots, height, width] = input.pictures[picture].grid;
        let len = height * width / (MERGE * MERGE);
        input.spans.push(ImageSpan { start: at, len, picture, slot: slots - slots_left });
        slots_left -= 1;
        at += len;
    }
    input
}

/// Golden rows `[rows, columns, width]` at the real tokens only, flattened as the batch flattens them.
fn real_rows(values: &[f32], columns: &[Vec<usize>], padded: usize) -> Vec<f32> {
    let width = values.len() / (columns.len() * padded);
    let mut kept = Vec::new();
    for (row, real) in columns.iter().enumerate() {
        for column in real {
            let start = (row * padded + column) * width;
            kept.extend_from_slice(&values[start..start + width]);
        }
    }
    kept
}

fn worst(ours: &[f32], golden: &[f32]) -> f32 {
    assert_eq!(ours.len(), golden.len());
    ours.iter().zip(golden).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn tiny(kind: &str) -> Policy {
    let mut policy =
        Policy::load(&fixtures().join(format!("tiny-{kind}")), &Device::flex()).expect("the fixture loads");
    policy.banned.clear();
    policy
}

fn check_forward(kind: &str, name: &str) {
    let (policy, case) = (tiny(kind), Case::open(kind, name));
    let (inputs, columns) = case.inputs(&policy);
    let batch = Batch::prompts(&inputs.iter().collect::<Vec<_>>(), MERGE);
    let padded = case.ints("input_ids").len() / inputs.len();
    let golden_positions = case.ints("rope_position_ids");
    let mut row = 0;
    for (index, real) in columns.iter().enumerate() {
        for column in real {
            let golden: Vec<i64> =
                (0..3).map(|axis| golden_positions[(axis * columns.len() + index) * padded + column]).collect();
            assert_eq!(
                batch.positions[row].map(i64::from).to_vec(),
                golden,
                "{kind} {name}: position of token {column}"
            );
            row += 1;
        }
    }
    let mut trace = Trace::on();
    let hidden = policy.forward(&batch, &mut trace);
    let logits = floats(policy.logits(hidden));
    let mut compared = vec![("logits".to_owned(), logits)];
    let traced = trace.into_tensors().into_iter().filter(|(name, _)| !name.starts_with("router"));
    compared.extend(traced.map(|(name, tensor)| (name, floats(tensor))));
    for (tensor, ours) in compared {
        let golden = case.floats(&tensor);
        let per_token = !tensor.starts_with("vision") && !tensor.starts_with("deepstack");
        let golden = if per_token { real_rows(&golden, &columns, padded) } else { golden };
        let difference = worst(&ours, &golden);
        assert!(difference <= ACTIVATION_ABS, "{kind} {name}: {tensor} differs by {difference}");
    }
}

#[test]
fn text_alone() {
    for kind in KINDS {
        check_forward(kind, "text");
    }
}

#[test]
fn one_picture() {
    for kind in KINDS {
        check_forward(kind, "image");
    }
}

#[test]
fn pictures_of_two_sizes() {
    for kind in KINDS {
        check_forward(kind, "images");
    }
}

#[test]
fn rows_padded_left_and_right() {
    for kind in KINDS {
        check_forward(kind, "padded");
    }
}

#[test]
fn a_video() {
    for kind in KINDS {
        check_forward(kind, "video");
    }
}

/// Rows that predict a response token, and those tokens.
fn response_targets(case: &Case, inputs: &[PolicyInput], columns: &[Vec<usize>]) -> (Vec<i64>, Vec<u32>, Vec<f32>) {
    let padded = case.ints("input_ids").len() / inputs.len();
    let mask = case.mask("response_mask");
    let golden = case.floats("response_log_probs");
    let (mut rows, mut targets, mut log_probs) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = 0;
    for (row, real) in columns.iter().enumerate() {
        for (index, column) in real.iter().enumerate() {
            if index > 0 && mask[row * padded + column] {
                rows.push((first + index - 1) as i64);
                targets.push(inputs[row].ids[index]);
                log_probs.push(golden[row * (padded - 1) + column - 1]);
            }
        }
        first += real.len();
    }
    (rows, targets, log_probs)
}

fn check_gradients(kind: &str, name: &str) {
    let (policy, case) = (tiny(kind), Case::open(kind, name));
    let (inputs, columns) = case.inputs(&policy);
    let batch = Batch::prompts(&inputs.iter().collect::<Vec<_>>(), MERGE);
    let (rows, targets, golden) = response_targets(&case, &inputs, &columns);
    let count = rows.len();
    let tracked = policy.tracked();
    let hidden = tracked.forward(&batch, &mut Trace::off());
    let rows = Tensor::from_data(burn::tensor::TensorData::new(rows, [count]), tracked.device());
    let mut mean_nll = |_, log_probs: Tensor<1>| log_probs.sum().neg().div_scalar(count as f64);
    let (gradients, log_probs) = tracked.log_prob_gradients(hidden.select(0, rows), &targets, 1.0, &mut mean_nll);
    let difference = worst(&log_probs, &golden);
    assert!(difference <= ACTIVATION_ABS, "{kind} {name}: log-probs differ by {difference}");
    let tensors = case.tensors();
    let mut checked = 0;
    for key in tensors.names().into_iter().filter(|key| key.starts_with("grad")) {
        let parameter = key.split_once('.').expect("grad.NAME").1;
        let index = policy.parameters().iter().position(|param| param.name == parameter).expect("a known parameter");
        let golden = case.floats(key);
        let ours = floats(gradients[index].clone().expect("the parameter has a gradient"));
        // A key `grad_rows_N.NAME` holds the first rows only.
        let ours = &ours[..golden.len()];
        let scale = golden.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
        let relative = worst(ours, &golden) / scale;
        assert!(relative <= GRADIENT_REL, "{kind} {name}: {key} differs by {relative} of its largest");
        checked += 1;
    }
    assert!(checked >= 5, "{kind} {name}: only {checked} gradients in the case");
}

#[test]
fn gradients_of_text() {
    for kind in KINDS {
        check_gradients(kind, "text");
    }
}

#[test]
fn gradients_of_pictures() {
    for kind in KINDS {
        check_gradients(kind, "image");
    }
    for kind in KINDS {
        check_gradients(kind, "images");
    }
    for kind in KINDS {
        check_gradients(kind, "padded");
    }
}

#[test]
fn gradients_of_video() {
    for kind in KINDS {
        check_gradients(kind, "video");
    }
}
