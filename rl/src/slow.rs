//! Says beforehand that a large model is slow on a CPU.

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::{DType, Device};
use sapo_policies::Policy;

/// Models with fewer parameters are not spoken of.
const LARGE: usize = 300_000_000;
/// Numbers that are read to see how fast memory is.
const READ: usize = 16 << 20;

/// About how fast this model answers here, where that is slow.
pub fn warning(policy: &Policy) -> Option<String> {
    let parameters = policy.parameter_count();
    if *policy.device() != Device::flex() || parameters < LARGE {
        return None;
    }
    let bytes = policy.parameters().into_iter().map(|param| {
        let width = if param.value.dtype() == DType::F32 { 4 } else { 2 };
        param.value.dims().iter().product::<usize>() * width
    });
    Some(said(parameters, bytes.sum(), read_bytes_per_sec()))
}

/// All weights are read for every token that one answer gets.
fn said(parameters: usize, bytes: usize, bytes_per_sec: f64) -> String {
    let per_sec = bytes_per_sec / bytes.max(1) as f64;
    let speed = if per_sec < 9.5 { format!("{per_sec:.1}") } else { format!("{per_sec:.0}") };
    format!(
        "a model of {:.1} billion parameters is slow on a CPU: at most about {speed} tokens a second for one answer, since its \
         {:.1} GiB of weights are read for each (docs/gpu.md, or an engine elsewhere: docs/engines.md)",
        parameters as f64 / 1e9,
        bytes as f64 / f64::from(1 << 30)
    )
}

fn read_bytes_per_sec() -> f64 {
    let numbers = vec![1.0_f32; READ];
    let started = Instant::now();
    black_box(numbers.iter().sum::<f32>());
    (READ * size_of::<f32>()) as f64 / started.elapsed().as_secs_f64().max(1e-6)
}

#[cfg(test)]
mod tests {
    use sapo_policies::Model;

    use super::*;

    #[test]
    fn a_large_model_is_spoken_of_and_a_small_one_is_not() {
        let small = Model::open("tiny", 1, &Device::flex()).unwrap();
        assert_eq!(warning(&small.policy), None);
        let text = said(2_127_532_032, 8 << 30, 8.6e9);
        assert!(text.contains("2.1 billion") && text.contains("about 1.0 tokens a second"), "{text}");
        assert!(text.contains("8.0 GiB"), "{text}");
        assert!(read_bytes_per_sec() > 0.0);
    }
}
