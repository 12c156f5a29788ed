//! What commands share that read or write weights: number formats, sizes of files, and how far it is.

use std::cell::Cell;

use crate::progress::Progress;
use clap::ValueEnum;
use sapo_policies::WeightFormat;

/// Fewer bytes are not worth a word while they are read or written.
const TOLD_BYTES: u64 = 256 << 20;
/// Bytes of a unit of progress.
const UNIT: u64 = 1 << 20;

/// A number format of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    /// 32-bit floats.
    F32,
    /// bfloat16: half the memory.
    Bf16,
}

impl Dtype {
    /// As the option has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// The same for the library.
    pub(crate) fn format(self) -> WeightFormat {
        match self {
            Self::F32 => WeightFormat::F32,
            Self::Bf16 => WeightFormat::Bf16,
        }
    }
}

/// Bytes from `5GB`, `512MiB` or a plain number.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("a size is a number with B, KB, MB, GB, KiB, MiB or GiB, such as 5GB".to_owned()),
    };
    let number: u64 = text[..digits].parse().map_err(|_| "a size is a number with a unit, such as 5GB".to_owned())?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(|| "a size is above 0 and below 2^64".to_owned())
}

/// Tells `progress` how many MiB are done.
pub(crate) fn telling<'a>(name: &'a str, progress: &'a dyn Progress) -> impl Fn(u64, u64) + 'a {
    let begun = Cell::new(false);
    move |done, of| {
        if of < TOLD_BYTES {
            return;
        }
        if !begun.replace(true) {
            progress.begin(name, of / UNIT, 0);
        }
        progress.done(done / UNIT, "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("5GB"), Ok(5_000_000_000));
        assert_eq!(bytes("2 MiB"), Ok(2 << 20));
        assert_eq!(bytes("123"), Ok(123));
        for wrong in ["", "GB", "5gb", "0", "-1", "1.5GB", "99999999999999999999", "99999999999999GiB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
