//! Where the bytes of a weights file are, and how a tensor's come straight into the buffer that it keeps.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Numbers that one thread reads at least: less is not worth a thread.
const LEAST_SHARE: usize = 1 << 20;
/// Threads that read one tensor at most.
const MOST_THREADS: usize = 8;
/// Bytes that are read before they are converted and looked at: they are still in the cache then.
const PIECE_BYTES: usize = 1 << 18;

/// What is wrong with numbers that nothing can be computed with.
pub(crate) const NOT_FINITE: &str = "holds NaN or infinite numbers, so the checkpoint is broken: take another one, or the \
                                     step before (a number above 3.38e38 is infinite in bf16)";

/// A number format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    F32,
    Bf16,
    F16,
}

impl Stored {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "F32" => Some(Self::F32),
            "BF16" => Some(Self::Bf16),
            "F16" => Some(Self::F16),
            _ => None,
        }
    }

    /// Bytes of one number.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

/// A file, or the bytes of one.
#[derive(Debug)]
pub(super) enum Source<'a> {
    File(File, u64),
    Memory(&'a [u8]),
}

impl Source<'_> {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File(_, size) => *size,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Fills `out` from byte `at` on.
    pub(super) fn read(&self, out: &mut [u8], at: u64) -> Result<()> {
        match self {
            Self::File(file, _) => file.read_exact_at(out, at),
            Self::Memory(bytes) => {
                let end = at.checked_add(out.len() as u64).filter(|end| *end <= self.len());
                let end = end.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
                out.copy_from_slice(&bytes[at as usize..end as usize]);
                Ok(())
            }
        }
    }

    /// Fills `out` with numbers stored from byte `at` on, in a few threads. One that is not finite is
    /// [`ErrorKind::InvalidData`].
    pub(super) fn read_f32(&self, stored: Stored, at: u64, out: &mut [f32]) -> Result<()> {
        in_threads(out, &|out, first| self.fill_f32(stored, at + first * stored.bytes() as u64, out))
    }

    /// Fills `out` with the bits of bf16 of numbers stored from byte `at` on, in a few threads. One that is not finite in bf16
    /// is [`ErrorKind::InvalidData`].
    pub(super) fn read_bf16(&self, stored: Stored, at: u64, out: &mut [u16]) -> Result<()> {
        in_threads(out, &|out, first| self.fill_bf16(stored, at + first * stored.bytes() as u64, out))
    }

    fn fill_f32(&self, stored: Stored, at: u64, out: &mut [f32]) -> Result<()> {
        match stored {
            Stored::F32 => {
                let numbers = PIECE_BYTES / size_of::<f32>();
                for (index, piece) in out.chunks_mut(numbers).enumerate() {
                    self.read(bytemuck::cast_slice_mut(piece), at + (index * PIECE_BYTES) as u64)?;
                    finite(piece, f32_is_finite)?;
                }
                Ok(())
            }
            Stored::Bf16 => self.convert::<bf16, f32>(at, out, |from, to| {
                from.convert_to_f32_slice(to);
                finite(to, f32_is_finite)
            }),
            Stored::F16 => self.convert::<f16, f32>(at, out, |from, to| {
                from.convert_to_f32_slice(to);
                finite(to, f32_is_finite)
            }),
        }
    }

    fn fill_bf16(&self, stored: Stored, at: u64, out: &mut [u16]) -> Result<()> {
        match stored {
            Stored::Bf16 => {
                let numbers = PIECE_BYTES / size_of::<u16>();
                for (index, piece) in out.chunks_mut(numbers).enumerate() {
                    self.read(bytemuck::cast_slice_mut(piece), at + (index * PIECE_BYTES) as u64)?;
                    finite(piece, bf16_is_finite)?;
                }
                Ok(())
            }
            Stored::F32 => self.convert::<f32, u16>(at, out, |from, to| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = bf16::from_f32(*from).to_bits());
                finite(to, bf16_is_finite)
            }),
            Stored::F16 => self.convert::<f16, u16>(at, out, |from, to| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = bf16::from_f32(from.to_f32()).to_bits());
                finite(to, bf16_is_finite)
            }),
        }
    }

    /// Reads a piece at a time and converts it.
    fn convert<From: bytemuck::Pod, To>(
        &self,
        at: u64,
        out: &mut [To],
        convert: impl Fn(&[From], &mut [To]) -> Result<()>,
    ) -> Result<()> {
        let numbers = (PIECE_BYTES / size_of::<From>()).min(out.len());
        let mut piece = vec![From::zeroed(); numbers];
        let mut at = at;
        for out in out.chunks_mut(numbers.max(1)) {
            let from = &mut piece[..out.len()];
            self.read(bytemuck::cast_slice_mut(from), at)?;
            convert(from, out)?;
            at += size_of_val(from) as u64;
        }
        Ok(())
    }
}

/// Whether the bits of a bf16 are those of a finite number: not all of its exponent's are set.
fn bf16_is_finite(bits: u16) -> bool {
    const EXPONENT: u16 = 0x7f80;
    bits & EXPONENT != EXPONENT
}

/// Whether a number is finite, by its bits: comparing whole numbers is what the machine's vectors do fastest.
fn f32_is_finite(number: f32) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    number.to_bits() & EXPONENT != EXPONENT
}

/// Refuses numbers that are not finite. Counts them without a branch for each, a short run at a time, so that the machine's
/// vectors do it.
fn finite<T: Copy>(numbers: &[T], is_finite: impl Fn(T) -> bool) -> Result<()> {
    const RUN: usize = 4096;
    for run in numbers.chunks(RUN) {
        if run.iter().map(|number| u16::from(!is_finite(*number))).sum::<u16>() != 0 {
            return Err(Error::new(ErrorKind::InvalidData, NOT_FINITE));
        }
    }
    Ok(())
}

/// Shares `out` among a few threads; `fill` gets a part with the place of its first number.
fn in_threads<T: Send>(out: &mut [T], fill: &(dyn Fn(&mut [T], u64) -> Result<()> + Sync)) -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let share = out.len().div_ceil(threads).max(LEAST_SHARE);
    if out.len() <= share {
        return fill(out, 0);
    }
    std::thread::scope(|scope| {
        let parts = out.chunks_mut(share).enumerate();
        let running: Vec<_> =
            parts.map(|(index, part)| scope.spawn(move || fill(part, (index * share) as u64))).collect();
        let joined = running.into_iter().map(|thread| thread.join().expect("reading does not panic"));
        joined.fold(Ok(()), Result::and)
    })
}
