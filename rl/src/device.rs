//! Devices by name.

use burn::tensor::Device;

use crate::config::device as names;
use crate::error::{Result, RunError};

/// Opens a device. One that was opened before is the same one.
///
/// # Errors
/// When this build or this machine has no such device; the message says what would help.
pub fn open(name: &str) -> Result<Device> {
    let refused = |reason| RunError::User(format!("device: {reason}"));
    names::check(name).map_err(refused)?;
    #[cfg(feature = "gpu")]
    if names::parse(name) != Some(names::Kind::Cpu) {
        crate::kernels::kept::keep(name);
    }
    Ok(match names::parse(name) {
        #[cfg(feature = "cuda")]
        Some(names::Kind::Cuda(index)) => {
            present(index, std::path::Path::new("/")).map_err(refused)?;
            Device::cuda(index)
        }
        #[cfg(feature = "wgpu")]
        Some(names::Kind::Wgpu(adapter)) => graphics::open(adapter).map_err(refused)?,
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

/// Devices of Vulkan, Metal and DirectX.
#[cfg(feature = "wgpu")]
mod graphics {
    use std::sync::{Mutex, PoisonError};

    use burn::tensor::{Device, DeviceKind, DeviceType};

    use crate::config::device::Adapter;

    /// Those that were opened: the runtime sets a device up once in a process.
    static OPENED: Mutex<Vec<DeviceKind>> = Mutex::new(Vec::new());

    pub(super) fn open(adapter: Adapter) -> Result<Device, String> {
        let kind = find(adapter, &Device::enumerate(DeviceType::Wgpu))?;
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.contains(&kind) {
            return Ok(Device::wgpu(kind));
        }
        let device = Device::wgpu_options().device_kind(kind.clone()).init();
        let device = device.map_err(|error| format!("the driver refused it ({error}); check it with `vulkaninfo`"))?;
        opened.push(kind);
        Ok(device)
    }

    /// Which of the devices that the drivers name is meant.
    fn find(adapter: Adapter, there: &[Device]) -> Result<DeviceKind, String> {
        let is_there = |kind: &DeviceKind| there.contains(&Device::wgpu(kind.clone()));
        let Adapter::Gpu(index) = adapter else {
            return Some(DeviceKind::Cpu).filter(is_there).ok_or_else(|| {
                "no software device of Vulkan is here; install one (Debian: `apt-get install mesa-vulkan-drivers`), or use \
                 `cpu`"
                    .to_owned()
            });
        };
        let kinds = [DeviceKind::DiscreteGpu, DeviceKind::IntegratedGpu, DeviceKind::VirtualGpu];
        let gpus = kinds.into_iter().flat_map(|kind| (0..there.len()).map(kind)).filter(is_there);
        let mut gpus: Vec<DeviceKind> = gpus.collect();
        match gpus.len() {
            0 => Err(
                "no GPU is visible to Vulkan, Metal or DirectX here; check its driver with `vulkaninfo --summary`, or \
                      use `cpu` (`wgpu:cpu` is Vulkan's software device, for checks)"
                    .to_owned(),
            ),
            count if index < count => Ok(gpus.swap_remove(index)),
            count => Err(format!("`wgpu:{index}` is asked for, but GPUs are numbered 0 to {} here", count - 1)),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn gpus_are_numbered_with_discrete_ones_first_and_software_apart() {
            let there =
                [DeviceKind::Cpu, DeviceKind::IntegratedGpu(0), DeviceKind::DiscreteGpu(0), DeviceKind::DiscreteGpu(1)]
                    .map(Device::wgpu);
            let found = |adapter| find(adapter, &there);
            assert_eq!(found(Adapter::Gpu(1)), Ok(DeviceKind::DiscreteGpu(1)));
            assert_eq!(found(Adapter::Gpu(2)), Ok(DeviceKind::IntegratedGpu(0)));
            assert!(found(Adapter::Gpu(3)).unwrap_err().contains("0 to 2"));
            assert_eq!(found(Adapter::Software), Ok(DeviceKind::Cpu));
            assert!(find(Adapter::Gpu(0), &there[..1]).unwrap_err().contains("wgpu:cpu"));
            assert!(find(Adapter::Software, &there[1..]).unwrap_err().contains("mesa-vulkan-drivers"));
        }
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
