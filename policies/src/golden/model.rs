//! A policy against golden cases: everything in a case is compared, or named as not compared.
//!
//! Nothing is banned here: the reference gives every token a log-prob.

use burn::tensor::{Device, Tensor, TensorData};

use super::case::{Case, CaseRows};
use super::difference::{Difference, Parity, Tolerance};
use crate::config::ExpertLayout;
use crate::error::Result;
use crate::input::{Batch, positions};
use crate::nn::Param;
use crate::policy::Policy;
use crate::tensor::to_vec;
use crate::trace::Trace;

/// Tensors of a case that go into the model, and say which tokens are a response.
const INPUTS: [&str; 7] = [
    "input_ids",
    "attention_mask",
    "pixel_values",
    "image_grid_thw",
    "pixel_values_videos",
    "video_grid_thw",
    "response_mask",
];

/// Runs a case and compares.
///
/// # Errors
/// When the file holds no such case, or its tensors have other sizes than the policy's.
pub fn check(policy: &Policy, case: &Case) -> Result<Parity> {
    let mut policy = policy.clone();
    policy.banned.clear();
    let greedy: Vec<&str> = case.names().filter_map(|name| name.strip_suffix(".greedy_ids")).collect();
    if greedy.is_empty() {
        let mut checking = Checking { policy: &policy, case, differences: Vec::new() };
        checking.whole()?;
        return Ok(checking.ended(&case.name, ""));
    }
    let mut all = Parity { case: case.name.clone(), differences: Vec::new(), left: Vec::new() };
    for prefix in &greedy {
        let part = case.part(prefix);
        let mut checking = Checking { policy: &policy, case: &part, differences: Vec::new() };
        checking.greedy()?;
        let ended = checking.ended(&case.name, &format!("{prefix}."));
        all.differences.extend(ended.differences);
        all.left.extend(ended.left);
    }
    let others = case.names().filter(|name| !greedy.iter().any(|prefix| name.starts_with(&format!("{prefix}."))));
    all.left.extend(others.map(str::to_owned));
    Ok(all)
}

struct Checking<'a> {
    policy: &'a Policy,
    case: &'a Case,
    differences: Vec<Difference>,
}

impl Checking<'_> {
    fn ended(self, case: &str, prefix: &str) -> Parity {
        let compared = |name: &&str| self.differences.iter().any(|difference| difference.tensor == **name);
        let left = self.case.names().filter(|name| !INPUTS.contains(name) && !compared(name));
        let left = left.map(|name| format!("{prefix}{name}")).collect();
        let mut differences = self.differences;
        differences.iter_mut().for_each(|difference| difference.tensor.insert_str(0, prefix));
        Parity { case: case.to_owned(), differences, left }
    }

    fn compare(&mut self, tensor: &str, ours: &[f32], golden: &[f32], tolerance: Tolerance) -> Result<()> {
        if ours.len() != golden.len() {
            let reason = format!("has {} numbers to compare, but the model gives {}", golden.len(), ours.len());
            return Err(self.case.wrong(tensor, reason));
        }
        self.differences.push(Difference::of(tensor, ours, golden, tolerance));
        Ok(())
    }

    /// Compares integers, exactly; ids and positions are small enough for floats.
    fn compare_ints(&mut self, tensor: &str, ours: &[i64], golden: &[i64]) -> Result<()> {
        let values = |ints: &[i64]| ints.iter().map(|value| *value as f32).collect::<Vec<_>>();
        self.compare(tensor, &values(ours), &values(golden), Tolerance::Exact)
    }

    /// Golden numbers `[rows, columns, ..]` at the real tokens only, as the batch has them.
    fn real<T: Copy>(&self, tensor: &str, golden: &[T], rows: &CaseRows) -> Result<Vec<T>> {
        let all = rows.inputs.len() * rows.padded;
        if !golden.len().is_multiple_of(all) {
            return Err(self.case.wrong(tensor, format!("has not equally many numbers for each of {all} tokens")));
        }
        let width = golden.len() / all;
        let mut kept = Vec::new();
        for (row, real) in rows.columns.iter().enumerate() {
            for column in real {
                let start = (row * rows.padded + column) * width;
                kept.extend_from_slice(&golden[start..start + width]);
            }
        }
        Ok(kept)
    }

    /// Positions, activations, logits, log-probs, gradients.
    fn whole(&mut self) -> Result<()> {
        let rows = self.case.rows(&self.policy.config)?;
        let batch =
            Batch::prompts(&rows.inputs.iter().collect::<Vec<_>>(), self.policy.config.vision.spatial_merge_size);
        self.placed(&rows, &batch)?;
        let mut trace = Trace::on();
        let hidden = self.policy.forward(&batch, &mut trace);
        let mut ours = trace.into_tensors();
        ours.insert("logits".to_owned(), self.policy.logits(hidden));
        let tolerance = Tolerance::Absolute(self.case.activation_abs);
        for (name, tensor) in ours {
            if name.starts_with("vision") || name.starts_with("deepstack") {
                for (name, ours) in by_kind(&name, &to_vec(tensor), &rows, &batch) {
                    if self.case.has(&name) {
                        self.compare(&name, &ours, self.case.floats(&name)?, tolerance)?;
                    }
                }
            } else if self.case.has(&name) {
                let golden = self.real(&name, self.case.floats(&name)?, &rows)?;
                self.compare(&name, &to_vec(tensor), &golden, tolerance)?;
            }
        }
        if self.case.has("response_mask") { self.learning(&rows, &batch) } else { Ok(()) }
    }

    /// Positions, and what kind of token stands where.
    fn placed(&mut self, rows: &CaseRows, batch: &Batch<'_>) -> Result<()> {
        let config = &self.policy.config;
        if self.case.has("rope_position_ids") {
            let golden = self.case.ints("rope_position_ids")?;
            let all = rows.inputs.len() * rows.padded;
            if golden.len() != 3 * all {
                return Err(self.case.wrong("rope_position_ids", "has not three numbers a token"));
            }
            let mut axes = Vec::new();
            for axis in golden.chunks(all) {
                axes.extend(self.real("rope_position_ids", axis, rows)?);
            }
            let ours = (0..3).flat_map(|axis| batch.positions.iter().map(move |place| i64::from(place[axis])));
            self.compare_ints("rope_position_ids", &ours.collect::<Vec<_>>(), &axes)?;
        }
        if self.case.has("rope_deltas") {
            let merge = config.vision.spatial_merge_size;
            let ours: Vec<i64> = rows.inputs.iter().map(|input| positions(input, merge).rope_delta()).collect();
            self.compare_ints("rope_deltas", &ours, self.case.ints("rope_deltas")?)?;
        }
        self.kinds(rows)
    }

    fn kinds(&mut self, rows: &CaseRows) -> Result<()> {
        const KINDS: &str = "mm_token_type_ids";
        if !self.case.has(KINDS) {
            return Ok(());
        }
        let config = &self.policy.config;
        let kind = |id: &u32| i64::from(*id == config.image_token_id) + 2 * i64::from(*id == config.video_token_id);
        let ours: Vec<i64> = rows.inputs.iter().flat_map(|input| input.ids.iter().map(kind)).collect();
        let golden = self.real(KINDS, self.case.ints(KINDS)?, rows)?;
        self.compare_ints(KINDS, &ours, &golden)
    }

    /// Log-probs of the response, their mean, and its gradients.
    fn learning(&mut self, rows: &CaseRows, batch: &Batch<'_>) -> Result<()> {
        let mask = self.case.ints("response_mask")?;
        let log_probs = self.case.floats("response_log_probs")?;
        let all = rows.inputs.len() * rows.padded;
        if mask.len() != all || log_probs.len() != all - rows.inputs.len() {
            return Err(self.case.wrong("response_mask", "and `response_log_probs` do not fit the tokens"));
        }
        let (mut places, mut targets, mut golden) = (Vec::new(), Vec::new(), Vec::new());
        let mut first = 0;
        for (row, real) in rows.columns.iter().enumerate() {
            for (index, column) in real.iter().enumerate().skip(1) {
                if mask[row * rows.padded + column] != 0 {
                    places.push((first + index - 1) as i64);
                    targets.push(rows.inputs[row].ids[index]);
                    golden.push(log_probs[row * (rows.padded - 1) + column - 1]);
                }
            }
            first += real.len();
        }
        let count = places.len();
        if count == 0 {
            return Ok(());
        }
        let tracked = self.policy.tracked();
        let hidden = tracked.forward(batch, &mut Trace::off());
        let places = Tensor::from_data(TensorData::new(places, [count]), tracked.device());
        let scored = tracked.score(hidden.select(0, places), &targets, 1.0);
        let ours = scored.log_probs().to_vec();
        let gradients = scored.backward(&vec![-1.0 / count as f32; count].into(), None);
        let absolute = Tolerance::Absolute(self.case.activation_abs);
        self.compare("response_log_probs", &ours, &golden, absolute)?;
        if self.case.has("mean_nll") {
            let mean = -ours.iter().map(|value| f64::from(*value)).sum::<f64>() / count as f64;
            self.compare("mean_nll", &[mean as f32], self.case.floats("mean_nll")?, absolute)?;
        }
        let names: Vec<String> = self.case.names().filter(|name| name.starts_with("grad")).map(str::to_owned).collect();
        for name in names {
            // A key `grad_rows_N.NAME` holds the first rows only.
            let parameter = name.split_once('.').map_or("", |(_, parameter)| parameter);
            let Some(index) = tracked.trained().iter().position(|param| param.name == parameter) else { continue };
            let golden = self.case.floats(&name)?;
            let ours = gradients[index].clone().map_or_else(|| vec![0.0; golden.len()], to_vec);
            let ours = self.as_reference(tracked.trained()[index], self.case.shape(&name)?, ours);
            let ours = ours.get(..golden.len()).unwrap_or(&ours);
            self.compare(&name, ours, golden, Tolerance::Relative(self.case.gradient_rel))?;
        }
        Ok(())
    }

    /// The gradient of a parameter as the reference has it: it holds experts `[e, o, i]`, however files store them.
    fn as_reference(&self, param: &Param, golden: &[usize], gradient: Vec<f32>) -> Vec<f32> {
        let stored = self.policy.config.text.moe.as_ref().map(|moe| moe.layout);
        let (&[experts, first, second], Some(ExpertLayout::InOut)) = (&param.shape[..], stored) else {
            return gradient;
        };
        if golden.get(1..) != Some(&[second, first][..]) {
            return gradient;
        }
        let tensor = Tensor::<3>::from_data(TensorData::new(gradient, [experts, first, second]), &Device::flex());
        to_vec(tensor.swap_dims(1, 2))
    }

    /// Greedy tokens after prompts, and the margins between the two best logits.
    fn greedy(&mut self) -> Result<()> {
        let rows = self.case.rows(&self.policy.config)?;
        self.kinds(&rows)?;
        let golden = self.case.ints("greedy_ids")?;
        let prompts = rows.inputs.len();
        let steps = golden.len() / prompts;
        let mut decoding = self.policy.start_decoding(&rows.inputs.iter().collect::<Vec<_>>(), steps.max(1))?;
        let mut fed = Vec::with_capacity(prompts);
        for input in &rows.inputs {
            let next = positions(input, self.policy.config.vision.spatial_merge_size).next;
            fed.extend(input.ids.last().map(|last| (*last, next - 1)));
        }
        let (mut ids, mut margins) = (vec![Vec::new(); prompts], vec![Vec::new(); prompts]);
        for _ in 0..steps {
            let (tokens, at): (Vec<u32>, Vec<u32>) = fed.iter().copied().unzip();
            let logits = to_vec(decoding.feed(self.policy, &tokens, &at));
            for (row, logits) in logits.chunks(self.policy.config.text.vocab_size).enumerate() {
                let (best, margin) = best_of(logits);
                ids[row].push(best as i64);
                margins[row].push(margin);
                fed[row] = (best as u32, fed[row].1 + 1);
            }
        }
        self.compare_ints("greedy_ids", &ids.concat(), golden)?;
        if self.case.has("greedy_margin") {
            // A margin is the difference of two logits.
            let tolerance = Tolerance::Absolute(2.0 * self.case.activation_abs);
            self.compare("greedy_margin", &margins.concat(), self.case.floats("greedy_margin")?, tolerance)?;
        }
        Ok(())
    }
}

/// The rows of a tensor of the tower under the names of the reference, which runs the tower for all pictures first, and
/// then for all videos: `vision_last_0` of them together is `vision_last_0` and `vision_last_1` there if there are both.
fn by_kind(name: &str, ours: &[f32], rows: &CaseRows, batch: &Batch<'_>) -> Vec<(String, Vec<f32>)> {
    let patches: usize = batch.pictures.iter().map(|picture| picture.patches()).sum();
    let mut parts: [Vec<f32>; 2] = Default::default();
    let mut rest = ours;
    for (picture, video) in batch.pictures.iter().zip(&rows.videos) {
        // Merged or not, a picture has its share of the rows.
        let (own, others) = rest.split_at(ours.len() * picture.patches() / patches.max(1));
        parts[usize::from(*video)].extend_from_slice(own);
        rest = others;
    }
    let calls = parts.into_iter().filter(|part| !part.is_empty());
    let numbered = |call: usize| name.replacen("_0", &format!("_{call}"), 1);
    calls.enumerate().map(|(call, part)| (numbered(call), part)).collect()
}

/// The first of the largest logits, and how far it is above the next.
fn best_of(logits: &[f32]) -> (usize, f32) {
    let (mut best, mut second) = (0, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate().skip(1) {
        if *logit > logits[best] {
            second = logits[best];
            best = id;
        } else if *logit > second {
            second = *logit;
        }
    }
    (best, logits[best] - second)
}
