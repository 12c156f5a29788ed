//! A weight as a kernel reads it, in f32, and rounded to bf16 on the way where products are computed in that: no rounded copy of all
//! experts is made.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

/// To the nearest number of bf16, of two as near to the even one, as a cast does it.
#[cube]
pub(super) fn weight<F: Float>(weight: F, #[comptime] rounded: bool) -> f32 {
    let whole = f32::cast_from(weight);
    if comptime!(rounded) {
        let bits = u32::reinterpret(whole);
        f32::reinterpret((bits + 0x7fffu32 + ((bits >> 16u32) & 1u32)) & 0xffff0000u32)
    } else {
        whole
    }
}
