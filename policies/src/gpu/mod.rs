//! What a GPU does in one kernel where the library has one for each operation, shape and vector width: few kernels to compile,
//! and few to launch.

pub(crate) mod draw;
pub(crate) mod experts;
pub(crate) mod log_prob;
mod normaliser;
mod rms;
mod rows;
mod swiglu;
mod turn;

use burn::tensor::Shape;
use burn_cubecl::cubecl::prelude::{CubeCount, CubeDim};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

/// Threads of a block.
const THREADS: u32 = 256;

/// Tensors whose numbers lie in one piece each.
pub fn in_one_piece<const N: usize>(tensors: [CubeTensor; N]) -> [CubeTensor; N] {
    tensors.map(into_contiguous)
}

/// A tensor that may be written to: the same one if nobody else holds it.
pub fn owned(tensor: CubeTensor) -> CubeTensor {
    let tensor = into_contiguous(tensor);
    if tensor.can_mut() { tensor } else { tensor.copy() }
}

/// A tensor of any numbers beside another.
pub(crate) fn empty(shape: Shape, beside: &CubeTensor) -> CubeTensor {
    empty_device_contiguous_dtype(beside.client.clone(), beside.device.clone(), shape, beside.dtype)
}

/// A tensor of any numbers in the shape of another.
pub(crate) fn empty_like(tensor: &CubeTensor) -> CubeTensor {
    empty(tensor.meta.shape().clone(), tensor)
}

/// Blocks that have a thread for each number of a tensor.
pub fn blocks_for(tensor: &CubeTensor) -> (CubeCount, CubeDim) {
    let block = CubeDim::new_1d(THREADS);
    (burn_cubecl::cubecl::calculate_cube_count_elemwise(&tensor.client, tensor.meta.num_elements(), block), block)
}
