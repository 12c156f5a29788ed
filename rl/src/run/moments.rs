//! The optimizer's moments in a file of a checkpoint: written and read a tensor at a time, never held a second time as a whole.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, View};
use sapo_policies::{Policy, to_vec};

use crate::error::{Result, RunError};
use crate::moment::{Moment, MomentFormat, Sign};
use crate::optimizer::{AdamW, Moments};

/// A header of a safetensors file is at most so long; it begins with its own length.
const MOST_HEADER: u64 = 100_000_000;
const LENGTH: usize = 8;

/// What is written under a name.
enum Kept<'a> {
    Moment(&'a Moment, [usize; 2]),
    /// Steps of a parameter: whole numbers of this size are exact in single precision.
    Steps(f32),
}

impl View for Kept<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Moment(_, shape) => shape,
            Self::Steps(_) => &[1, 1],
        }
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Moment(moment, _) => moment.numbers().iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Steps(steps) => steps.to_le_bytes().to_vec().into(),
        }
    }

    fn data_len(&self) -> usize {
        self.shape().iter().product::<usize>() * size_of::<f32>()
    }
}

/// Writes the moments of what trains.
///
/// # Errors
/// When the disk does not take them.
pub(super) fn write(path: &Path, policy: &Policy, optimizer: &AdamW) -> Result<()> {
    let mut kept = Vec::new();
    for (param, moments) in policy.trained().into_iter().zip(&optimizer.moments) {
        let Some(Moments { first, second, steps }) = moments else { continue };
        kept.push((format!("first.{}", param.name), Kept::Moment(first, first.dims())));
        kept.push((format!("second.{}", param.name), Kept::Moment(second, second.dims())));
        kept.push((format!("steps.{}", param.name), Kept::Steps(*steps as f32)));
    }
    let written = safetensors::serialize_to_file(kept, None, path).map_err(|error| match error {
        SafeTensorError::IoError(source) => RunError::io(path, source),
        error => RunError::Internal(error.to_string()),
    });
    written
        .and_then(|()| File::open(path).and_then(|file| file.sync_all()).map_err(|source| RunError::io(path, source)))
}

/// Reads the moments of what trains; a parameter that had none has none.
///
/// # Errors
/// When the file cannot be read, or does not fit the policy.
pub(super) fn read(path: &Path, policy: &Policy, format: MomentFormat) -> Result<AdamW> {
    let mut file = Stored::open(path)?;
    let mut moments = Vec::new();
    for (place, param) in policy.trained().into_iter().enumerate() {
        let (shape, device) = (param.value.dims(), policy.device());
        let first = file.tensor(&format!("first.{}", param.name), shape, device)?;
        let second = file.tensor(&format!("second.{}", param.name), shape, device)?;
        let steps = file.tensor(&format!("steps.{}", param.name), [1, 1], device)?;
        let steps = steps.map_or(0, |steps| to_vec(steps)[0] as i32);
        let keep = |sign, value| Moment::keep(format, sign, value, [place as u32, steps as u32]);
        moments.push(first.zip(second).map(|(first, second)| Moments {
            first: keep(Sign::Either, first),
            second: keep(Sign::Never, second),
            steps,
        }));
    }
    Ok(AdamW { moments })
}

/// A file with its header read.
struct Stored<'a> {
    path: &'a Path,
    file: File,
    header: Metadata,
    /// Where the numbers begin.
    start: u64,
}

impl<'a> Stored<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let io = |source| RunError::io(path, source);
        let mut file = File::open(path).map_err(io)?;
        let mut head = vec![0; LENGTH];
        file.read_exact(&mut head).map_err(io)?;
        let length = head.iter().rev().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
        if length > MOST_HEADER {
            return Err(RunError::User(format!("{}: its header would have {length} bytes", path.display())));
        }
        head.resize(LENGTH + length as usize, 0);
        file.read_exact(&mut head[LENGTH..]).map_err(io)?;
        let header = serde_json::from_slice(&head[LENGTH..])
            .map_err(|error| RunError::User(format!("{}: {error}", path.display())))?;
        Ok(Self { path, file, header, start: head.len() as u64 })
    }

    fn tensor(&mut self, name: &str, shape: [usize; 2], device: &Device) -> Result<Option<Tensor<2>>> {
        let Some(info) = self.header.info(name) else { return Ok(None) };
        let (from, to) = info.data_offsets;
        let length = shape.iter().product::<usize>() * size_of::<f32>();
        if info.shape != shape || info.dtype != Dtype::F32 || to.checked_sub(from) != Some(length) {
            let reason = format!("{}: `{name}` has another shape than the policy", self.path.display());
            return Err(RunError::User(reason));
        }
        let mut bytes = vec![0; length];
        let read =
            self.file.seek(SeekFrom::Start(self.start + from as u64)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|source| RunError::io(self.path, source))?;
        let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect();
        Ok(Some(Tensor::from_data(TensorData::new(values, shape), device)))
    }
}
