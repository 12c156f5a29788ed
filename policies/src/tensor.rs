//! Between tensors and numbers: to the host, to 32-bit floats, and the matrix that stands for a tensor of any rank.

use std::panic::resume_unwind;

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// Why a device gave no numbers, in its own words. [`to_vec`] unwinds with it, since any operation before may be the cause; whoever
/// runs a command or a server catches it.
#[derive(Debug, PartialEq, Eq)]
pub struct DeviceFailed(pub String);

impl DeviceFailed {
    /// Of all that the library says: the cause of all causes.
    fn of(said: &str) -> Self {
        let cause = said.rsplit("Caused by:").next().unwrap_or(said).trim();
        Self(cause.lines().next().unwrap_or(cause).to_owned())
    }
}

/// The numbers of a tensor of 32-bit floats, on the host.
///
/// # Panics
/// With [`DeviceFailed`], and without a word on stderr, when the device could not compute them.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.try_into_data();
    let data = data.unwrap_or_else(|error| resume_unwind(Box::new(DeviceFailed::of(&error.to_string()))));
    data.try_to_vec().expect("float tensors of a policy are f32")
}

/// The numbers of a CPU's tensor that lies in one piece.
pub(crate) fn numbers(tensor: &FloatTensor<Flex>) -> &[f32] {
    tensor.as_slice().expect("activations are f32 and in one piece")
}

/// A CPU's tensor of `values` in the shape of another.
pub(crate) fn like(values: Vec<f32>, tensor: &FloatTensor<Flex>) -> FloatTensor<Flex> {
    FloatTensor::<Flex>::from_data(TensorData::new(values, tensor.layout().shape().clone()))
}

/// A tensor in f32.
pub(crate) fn to_f32<const D: usize>(value: Tensor<D>) -> Tensor<D> {
    if value.dtype() == DType::F32 { value } else { value.cast(DType::F32) }
}

/// Whether a device is this machine's CPU, tracked or not.
pub fn is_cpu(device: &Device) -> bool {
    let plain = if device.is_autodiff() { device.clone().inner() } else { device.clone() };
    plain == Device::flex()
}

/// Softmax over the last axis, by operations that are the same with a graph and without one; the library's own are not.
pub(crate) fn softmax<const D: usize>(scores: Tensor<D>) -> Tensor<D> {
    let weights = (scores.clone() - scores.detach().max_dim(D - 1)).exp();
    weights.clone() / weights.sum_dim(D - 1)
}

/// A list of indices on a device.
pub(crate) fn indices(values: impl Iterator<Item = i64>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// The matrix that stands for a tensor of `shape`: a vector is one row, more axes are folded into the columns.
pub fn as_matrix(shape: &[usize]) -> [usize; 2] {
    match shape {
        [] => [1, 1],
        [columns] => [1, *columns],
        [rows, rest @ ..] => [*rows, rest.iter().product()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_failed_says_why() {
        let said = "An error happened\nCaused by:\n  An IO error happened\nCaused by:\n  can't allocate buffer of size: 4\nNo backtrace\n";
        assert_eq!(DeviceFailed::of(said).0, "can't allocate buffer of size: 4");
        assert_eq!(DeviceFailed::of("no device").0, "no device");
    }
}
