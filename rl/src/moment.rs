//! A moment of a parameter as it is kept between two updates: where the parameter is, in this machine's memory, or there in 8 bits.
//!
//! An 8-bit moment is a small float in blocks of 256 that share their largest exponent: four bits of exponent and three of
//! fraction with a sign for means of gradients, five and three without one for means of their squares. What an average moves by
//! in one update is less than what eight bits tell apart, so that it is rounded up or down by chance, in proportion to how near
//! each is; the chance is drawn from the update and the place, and the same run draws the same.
//!
//! After Dettmers et al. 2022 (8-bit optimizers via block-wise quantization), with exponents in place of a table.

use burn::tensor::{Device, Tensor, TensorData};
use sapo_policies::to_vec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Numbers that share an exponent.
const BLOCK: usize = 256;
/// Bits of the fraction of an f32, those of it that a code leaves out, what 1 is, and its exponent.
const MANTISSA: u32 = 23;
const STEP: u32 = MANTISSA - 3;
const ONE: u32 = 1.0_f32.to_bits();
const ONE_POWER: i32 = (ONE >> MANTISSA) as i32;
/// The sign of a code.
const MINUS: u32 = 0x80;

/// How moments are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MomentFormat {
    /// In f32, where the parameters are.
    #[default]
    F32,
    /// In f32 in this machine's memory, for a GPU whose own is short; copied there and back for each update.
    Host,
    /// In 8 bits with an exponent for each 256, in this machine's memory: a quarter of the bytes, for moments that are rounded.
    Float8,
}

impl MomentFormat {
    /// Bytes of so many numbers.
    pub fn bytes(self, numbers: u64) -> u64 {
        match self {
            Self::F32 | Self::Host => 4 * numbers,
            Self::Float8 => numbers + numbers.div_ceil(BLOCK as u64),
        }
    }
}

/// Whether a moment can be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The mean of gradients.
    Either,
    /// The mean of their squares.
    Never,
}

/// A moment, `[rows, columns]`.
#[derive(Clone, Debug)]
pub enum Moment {
    /// Where the parameter is.
    There(Box<Tensor<2>>),
    /// In this machine's memory.
    Host(Vec<f32>, [usize; 2]),
    /// In 8 bits.
    Float8(Float8, [usize; 2]),
}

/// Numbers in 8 bits.
#[derive(Clone, Debug)]
pub struct Float8 {
    sign: Sign,
    codes: Vec<u8>,
    /// The power of two that no number of a block is above.
    exponents: Vec<i8>,
}

impl Moment {
    /// Keeps a moment. `update` is which one of the parameter it is the result of, and `place` where the parameter stands.
    pub fn keep(format: MomentFormat, sign: Sign, value: Tensor<2>, [place, update]: [u32; 2]) -> Self {
        let shape = value.dims();
        match format {
            MomentFormat::F32 => Self::There(Box::new(value)),
            MomentFormat::Host => Self::Host(to_vec(value), shape),
            MomentFormat::Float8 => {
                let seed = mixed(mixed(place) ^ update ^ u32::from(sign == Sign::Never) << 31);
                Self::Float8(Float8::of(&to_vec(value), sign, seed), shape)
            }
        }
    }

    /// The moment in f32 on a device.
    pub fn on(&self, device: &Device) -> Tensor<2> {
        match self {
            Self::There(value) => *value.clone(),
            Self::Host(values, shape) => Tensor::from_data(TensorData::new(values.clone(), *shape), device),
            Self::Float8(values, shape) => Tensor::from_data(TensorData::new(values.all(), *shape), device),
        }
    }

    /// The tensor, where it is one.
    pub fn tensor(&self) -> Option<&Tensor<2>> {
        if let Self::There(value) = self { Some(value) } else { None }
    }

    /// Whether what is kept in this machine's memory can be gone on with; a code of 8 bits always can.
    pub fn is_finite_here(&self) -> bool {
        if let Self::Host(values, _) = self { values.iter().all(|value| value.is_finite()) } else { true }
    }

    /// Its numbers, by rows.
    pub fn numbers(&self) -> Vec<f32> {
        match self {
            Self::There(value) => to_vec(*value.clone()),
            Self::Host(values, _) => values.clone(),
            Self::Float8(values, _) => values.all(),
        }
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::There(value) => value.dims(),
            Self::Host(_, shape) | Self::Float8(_, shape) => *shape,
        }
    }
}

impl Float8 {
    fn of(values: &[f32], sign: Sign, seed: u32) -> Self {
        let mut codes = vec![0; values.len()];
        let mut exponents = vec![0; values.len().div_ceil(BLOCK)];
        let blocks = values.chunks(BLOCK).zip(codes.chunks_mut(BLOCK)).zip(&mut exponents);
        for (index, ((values, codes), exponent)) in blocks.enumerate() {
            *exponent = above(values.iter().fold(0.0, |most: f32, value| most.max(value.abs())));
            let (seed, shrink) = (mixed(seed ^ index as u32), (-f32::from(*exponent)).exp2());
            for (at, (value, code)) in values.iter().zip(codes).enumerate() {
                *code = coded(value * shrink, sign, mixed(seed.wrapping_add(at as u32)));
            }
        }
        Self { sign, codes, exponents }
    }

    fn all(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.codes.len()];
        let blocks = values.chunks_mut(BLOCK).zip(self.codes.chunks(BLOCK)).zip(&self.exponents);
        for ((values, codes), exponent) in blocks {
            let table = table(self.sign, *exponent);
            values.iter_mut().zip(codes).for_each(|(value, code)| *value = table[usize::from(*code)]);
        }
        values
    }
}

/// The least power of two that `most` is not above, within what an f32 and a byte hold.
fn above(most: f32) -> i8 {
    let (power, rest) = ((most.to_bits() >> MANTISSA) as i32 - ONE_POWER, most.to_bits() & ((1 << MANTISSA) - 1));
    (power + i32::from(rest > 0)).clamp(-126, 126) as i8
}

/// The greatest code without its sign.
fn greatest(sign: Sign) -> u32 {
    match sign {
        Sign::Either => 0x7f,
        Sign::Never => 0xff,
    }
}

/// What a code without its sign means, as a share of the block's power of two, which the greatest is: the bits of an f32, less
/// most of its fraction. 0 is 0.
fn share(code: u32, greatest: u32) -> f32 {
    if code == 0 { 0.0 } else { f32::from_bits(ONE - ((greatest - code) << STEP)) }
}

/// What each code means.
fn table(sign: Sign, exponent: i8) -> [f32; 256] {
    let (greatest, power) = (greatest(sign), f32::from(exponent).exp2());
    let mut table = [0.0; 256];
    for code in 0..=greatest {
        let value = share(code, greatest) * power;
        table[code as usize] = value;
        if sign == Sign::Either {
            table[(code | MINUS) as usize] = -value;
        }
    }
    table
}

/// The code of a share of the block's power of two: one of the two that it lies between, by the low bits of `chance`.
fn coded(share_of: f32, sign: Sign, chance: u32) -> u8 {
    let greatest = greatest(sign);
    let size = share_of.abs().min(1.0);
    let chance = chance & ((1 << STEP) - 1);
    // How far below the greatest, in steps with a fraction; between two codes the bits of an f32 rise in a straight line.
    let down = (ONE - size.to_bits() + chance) >> STEP;
    let code = if down < greatest {
        greatest - down
    } else {
        // A mean of squares that became 0 would divide by nothing.
        let reached = size / share(1, greatest) * (1 << STEP) as f32 > chance as f32;
        u32::from(size > 0.0 && (sign == Sign::Never || reached))
    };
    let minus = if share_of < 0.0 { MINUS } else { 0 };
    (code | minus) as u8
}

/// Bits that look drawn (the finaliser of MurmurHash3).
fn mixed(mut bits: u32) -> u32 {
    bits ^= bits >> 16;
    bits = bits.wrapping_mul(0x85eb_ca6b);
    bits ^= bits >> 13;
    bits = bits.wrapping_mul(0xc2b2_ae35);
    bits ^ (bits >> 16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(values: &[f32], sign: Sign, update: u32) -> Moment {
        let value = Tensor::from_data(TensorData::new(values.to_vec(), [1, values.len()]), &Device::flex());
        Moment::keep(MomentFormat::Float8, sign, value, [3, update])
    }

    fn block() -> impl Strategy<Value = Vec<f32>> {
        let number = (-30.0_f32..30.0, any::<bool>(), 0.5_f32..1.0);
        let number = number.prop_map(|(power, minus, part)| power.exp2() * if minus { -part } else { part });
        prop::collection::vec(prop_oneof![9 => number, 1 => Just(0.0)], 1..600)
    }

    proptest! {
        /// Each number becomes one of the two codes beside it; what was kept once is kept again to the last bit, so that a
        /// checkpoint in f32 goes on as the run would have.
        #[test]
        fn what_is_kept_is_near_and_stays(values in block(), update in any::<u32>()) {
            for sign in [Sign::Either, Sign::Never] {
                let values: Vec<f32> = match sign {
                    Sign::Either => values.clone(),
                    Sign::Never => values.iter().map(|value| value.abs()).collect(),
                };
                let once = kept(&values, sign, update).numbers();
                for (place, (value, near)) in values.iter().zip(&once).enumerate() {
                    let block = &values[place / BLOCK * BLOCK..values.len().min((place / BLOCK + 1) * BLOCK)];
                    let most = block.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                    let least = f32::from(above(most)).exp2() * share(1, greatest(sign));
                    prop_assert!((value - near).abs() <= value.abs() / 8.0 || value.abs() <= least, "{value} {near} {least}");
                    prop_assert!(value * near >= 0.0 && near.abs() <= 2.0 * most);
                    prop_assert!(sign == Sign::Either || (*value > 0.0) == (*near > 0.0), "{value} {near}");
                }
                prop_assert_eq!(kept(&once, sign, update.wrapping_add(1)).numbers(), once);
            }
        }
    }

    #[test]
    fn rounding_is_right_on_average() {
        // 0.97 of a step above what eight bits can tell: one that rounds to the nearest would never move.
        let value = 1.0 + 0.03 / 8.0;
        let values: Vec<f32> = (0..250).map(|_| value).chain([2.0]).collect();
        for sign in [Sign::Either, Sign::Never] {
            let means = (0..200).map(|update| kept(&values, sign, update).numbers()[..250].iter().sum::<f32>() / 250.0);
            let mean = means.sum::<f32>() / 200.0;
            // 50,000 draws of 1 or 1.125: a standard error of about 0.0001.
            assert!((mean - value).abs() < 0.0004, "{mean}");
        }
    }

    #[test]
    fn eight_bits_take_about_a_quarter_of_the_bytes() {
        assert_eq!(MomentFormat::F32.bytes(1024), 4096);
        assert_eq!(MomentFormat::Float8.bytes(1024), 1024 + 4);
    }
}
