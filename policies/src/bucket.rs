//! Sizes at which a GPU computes: few of them, since each may need kernels of its own, which take longer to compile than to run.
//!
//! What is added is thrown away: rows repeat others, and what is looked at is masked.

use burn::tensor::{Device, Tensor};

use crate::tensor::is_cpu;

/// The size that so many rows, tokens or patches are computed at on a device: as many as there are on a CPU.
pub(crate) fn room_for(size: usize, device: &Device) -> usize {
    if is_cpu(device) { size } else { bucket(size) }
}

/// Rounded up to 4 or a power of two up to 32, to a multiple of 16 up to 256, and then to one of eight steps between two powers of
/// two: above 128 at most an eighth more. All are multiples of 4, the numbers that a GPU reads at once.
pub(crate) fn bucket(size: usize) -> usize {
    let above = size.next_power_of_two();
    match size {
        0 => 0,
        1..=4 => 4,
        5..=32 => above,
        _ => size.next_multiple_of((above / 16).max(16)),
    }
}

/// Values for so many rows: those that are there, over and over again. Copies keep experts as evenly at work as they are.
pub(crate) fn repeated<T: Clone>(values: &[T], rows: usize) -> Vec<T> {
    values.iter().cycle().take(rows).cloned().collect()
}

/// The first rows of a tensor.
pub(crate) fn first_rows<const D: usize>(tensor: Tensor<D>, rows: usize) -> Tensor<D> {
    if tensor.dims()[0] == rows { tensor } else { tensor.narrow(0, 0, rows) }
}

/// A tensor with zeros behind its rows, so many rows in all.
pub(crate) fn with_zeros<const D: usize>(tensor: Tensor<D>, rows: usize) -> Tensor<D> {
    let mut more = tensor.dims();
    if more[0] == rows {
        return tensor;
    }
    more[0] = rows - more[0];
    let zeros = Tensor::zeros(more, &tensor.device());
    Tensor::cat(vec![tensor, zeros], 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_few_and_little_larger() {
        let sizes: Vec<usize> = (1..=4096).map(bucket).collect();
        for (size, bucket) in (1..).zip(&sizes) {
            let most = if size > 128 { size + size / 8 } else { 2 * size.max(2) };
            assert!((size..=most).contains(bucket) && bucket.is_multiple_of(4), "{size} {bucket}");
        }
        let mut few = sizes;
        few.dedup();
        assert!(few.is_sorted() && few.len() < 64, "{few:?}");
        assert_eq!([0, 1, 3, 17, 33, 130, 1030].map(bucket), [0, 4, 4, 32, 48, 144, 1152]);
    }

    #[test]
    fn a_cpu_computes_as_many_as_there_are() {
        assert_eq!(room_for(33, &Device::flex()), 33);
        assert_eq!(repeated(&[1, 2, 3], 5), [1, 2, 3, 1, 2]);
    }
}
