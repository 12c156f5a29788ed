//! Devices by name.

use burn::tensor::Device;

use crate::config::device as names;
use crate::error::{Result, RunError};

/// Opens a device.
///
/// # Errors
/// When this build or this machine has no such device.
pub fn open(name: &str) -> Result<Device> {
    names::check(name).map_err(|reason| RunError::User(format!("run.device: {reason}")))?;
    Ok(match names::parse(name) {
        #[cfg(feature = "cuda")]
        Some(names::Kind::Cuda(index)) => {
            present(index, std::path::Path::new("/"))
                .map_err(|reason| RunError::User(format!("run.device: {reason}")))?;
            Device::cuda(index)
        }
        _ => Device::flex(),
    })
}

/// Looks for the driver's device files below `root`, because the runtime ends the process where the driver is absent.
#[cfg(any(feature = "cuda", test))]
fn present(index: usize, root: &std::path::Path) -> std::result::Result<(), String> {
    if root.join("dev/dxg").exists() {
        return Ok(()); // Windows Subsystem for Linux: one file for all GPUs
    }
    let entries = std::fs::read_dir(root.join("dev")).into_iter().flatten().flatten();
    let gpus = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.strip_prefix("nvidia").is_some_and(|rest| rest.parse::<u32>().is_ok()))
        .count();
    match gpus {
        0 => {
            Err("no NVIDIA GPU is visible here (no /dev/nvidia0); check the driver with `nvidia-smi`, or use `cpu`"
                .into())
        }
        gpus if index < gpus => Ok(()),
        gpus => Err(format!("`cuda:{index}` is asked for, but GPUs are numbered 0 to {} here", gpus - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_looked_for_before_it_is_opened() {
        let root = tempfile::tempdir().unwrap();
        let dev = root.path().join("dev");
        std::fs::create_dir(&dev).unwrap();
        assert!(present(0, root.path()).unwrap_err().contains("no NVIDIA GPU"));
        for name in ["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"] {
            std::fs::write(dev.join(name), "").unwrap();
        }
        assert_eq!(present(1, root.path()), Ok(()));
        assert!(present(2, root.path()).unwrap_err().contains("0 to 1"));
    }
}
