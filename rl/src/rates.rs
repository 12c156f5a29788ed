//! The numbers of one update of a parameter by AdamW.

/// What an update multiplies, divides and adds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Multiplies the gradient, which clips it.
    pub(crate) scale: f64,
    /// Decay rates of the two moments.
    pub(crate) betas: [f64; 2],
    /// Divides the root of the second moment.
    pub(crate) unbias2: f64,
    /// Added to it.
    pub(crate) eps: f64,
    /// Multiplies the first moment over that.
    pub(crate) rate: f64,
    /// What weight decay leaves of a parameter.
    pub(crate) kept: f64,
}
