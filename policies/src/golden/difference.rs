//! How far a tensor is from the golden one, and how far it may be.

/// How far a tensor may be from the golden one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Not at all.
    Exact,
    /// The largest absolute difference.
    Absolute(f32),
    /// The largest difference in parts of the largest golden number.
    Relative(f32),
}

/// How far a tensor is from the golden one. A difference that is NaN is [`f32::MAX`].
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The tensor's name in the case.
    pub tensor: String,
    /// The largest absolute difference.
    pub abs: f32,
    /// The largest difference in parts of the largest golden number.
    pub rel: f32,
    /// How much may be.
    pub tolerance: Tolerance,
    /// Where it differs, for texts and numbers that must be the same; else empty.
    pub note: String,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Parity {
    /// The case's name.
    pub case: String,
    /// One entry for each tensor that was compared.
    pub differences: Vec<Difference>,
    /// Tensors of the case that nothing was compared with.
    pub left: Vec<String>,
}

impl Difference {
    /// Compares equally many numbers.
    pub(super) fn of(tensor: &str, ours: &[f32], golden: &[f32], tolerance: Tolerance) -> Self {
        let number = |value: f32| if value.is_finite() { value } else { f32::MAX };
        let abs = ours.iter().zip(golden).map(|(a, b)| number((a - b).abs())).fold(0.0, f32::max);
        let scale = golden.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let rel = if abs == 0.0 { 0.0 } else { number(abs / scale) };
        Self { tensor: tensor.to_owned(), abs, rel, tolerance, note: String::new() }
    }

    /// The difference in parts of what may be: above 1 is out.
    pub fn share(&self) -> f32 {
        match self.tolerance {
            Tolerance::Exact if self.abs == 0.0 => 0.0,
            Tolerance::Exact => f32::MAX,
            Tolerance::Absolute(most) => self.abs / most,
            Tolerance::Relative(most) => self.rel / most,
        }
    }

    /// Whether the tensor is out of tolerance.
    pub fn is_out(&self) -> bool {
        // NaN, which is the share of nothing in a tolerance of 0, is out too.
        !matches!(self.share().partial_cmp(&1.0), Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal))
    }
}
