//! Rotary position tables: interleaved MRoPE of the text decoder, 2-D rotary of the vision tower.
//!
//! Tables are computed on the host in f32, one row a token, and rotate-half is applied to them.

use burn::tensor::{Device, Tensor, TensorData};

use super::turn::turn;

/// Cosines and sines, `[t, 1, head_dim]` each.
#[derive(Clone, Debug)]
pub struct RopeTable {
    /// Cosines `[t, 1, head_dim]`.
    pub cos_t1d: Tensor<3>,
    /// Sines `[t, 1, head_dim]`.
    pub sin_t1d: Tensor<3>,
}

impl RopeTable {
    fn from_angles(rows: usize, half: usize, angle: impl Fn(usize, usize) -> f32, device: &Device) -> Self {
        let mut cos = Vec::with_capacity(rows * half * 2);
        let mut sin = Vec::with_capacity(rows * half * 2);
        for row in 0..rows {
            for column in 0..half * 2 {
                let (s, c) = angle(row, column % half).sin_cos();
                cos.push(c);
                sin.push(s);
            }
        }
        let tensor = |values| Tensor::from_data(TensorData::new(values, [rows, 1, half * 2]), device);
        Self { cos_t1d: tensor(cos), sin_t1d: tensor(sin) }
    }

    /// The table of `positions` (time, height, width), one a token, by interleaved MRoPE: frequency i takes the
    /// height if `i % 3 == 1` and `i < 3 * section[1]`, the width if `i % 3 == 2` and `i < 3 * section[2]`, else the
    /// time.
    pub fn text(positions: &[[u32; 3]], head_dim: usize, theta: f64, section: [usize; 3], device: &Device) -> Self {
        let half = head_dim / 2;
        let frequencies: Vec<f32> =
            (0..half).map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / head_dim as f32)).collect();
        let axes: Vec<usize> = (0..half)
            .map(|i| match i % 3 {
                1 if i < 3 * section[1] => 1,
                2 if i < 3 * section[2] => 2,
                _ => 0,
            })
            .collect();
        Self::from_angles(positions.len(), half, |t, i| positions[t][axes[i]] as f32 * frequencies[i], device)
    }

    /// The table of patches at `coordinates` (row, column): the first half of the angles turns with the row, the
    /// second with the column.
    pub fn vision(coordinates: &[[usize; 2]], head_dim: usize, device: &Device) -> Self {
        let quarter = head_dim / 4;
        let half = head_dim / 2;
        let frequencies: Vec<f32> = (0..quarter).map(|i| 1.0 / 10_000_f32.powf((2 * i) as f32 / half as f32)).collect();
        let angle = |t: usize, i: usize| coordinates[t][i / quarter] as f32 * frequencies[i % quarter];
        Self::from_angles(coordinates.len(), half, angle, device)
    }

    /// Rotates `x_thd` `[t, heads, head_dim]`.
    pub fn rotate(&self, x_thd: Tensor<3>) -> Tensor<3> {
        turn(x_thd, self.cos_t1d.clone(), self.sin_t1d.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_interleaved_not_chunked() {
        let device = Device::flex();
        // With theta 1 every frequency is 1, so the angle of column i is the position on its axis.
        let table = RopeTable::text(&[[1, 2, 3]], 16, 1.0, [4, 2, 2], &device);
        let cos: Vec<f32> = table.cos_t1d.into_data().try_to_vec().expect("f32");
        let axis = |i: usize| [1.0_f32, 2.0, 3.0].iter().position(|p| (p.cos() - cos[i]).abs() < 1e-6);
        assert_eq!((0..8).map(axis).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 0, 0].map(Some).to_vec());
    }
}
