//! Names of devices: `cpu`; `cuda:0` in a build with the feature `cuda`; `wgpu:0` and `wgpu:cpu` in one with `wgpu`.

/// Checks a device's name without touching the device.
///
/// # Errors
/// When this build has no such device.
pub(crate) fn check(name: &str) -> std::result::Result<(), String> {
    let (feature, there) = match parse(name) {
        Some(Kind::Cpu) => return Ok(()),
        Some(Kind::Cuda(_)) => ("cuda", cfg!(feature = "cuda")),
        Some(Kind::Wgpu(_)) => ("wgpu", cfg!(feature = "wgpu")),
        None => {
            return Err(format!("`{name}` is not a device; use `cpu`, `cuda:0`, `wgpu:0` or `wgpu:cpu`"));
        }
    };
    if there {
        return Ok(());
    }
    Err(format!("`{name}` needs a build with `--features {feature}`; this one computes on {}", devices().join(", ")))
}

/// The devices that this build can open where a machine has them.
fn devices() -> Vec<&'static str> {
    let all = [("`cpu`", true), ("`cuda:0`", cfg!(feature = "cuda")), ("`wgpu:0`", cfg!(feature = "wgpu"))];
    all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU, by its number.
    Cuda(usize),
    /// A GPU by Vulkan, Metal or DirectX.
    Wgpu(Adapter),
}

/// Which of the devices of Vulkan, Metal or DirectX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adapter {
    /// A GPU by its number: discrete ones first, then those of processors, then virtual ones.
    Gpu(usize),
    /// The CPU behind the GPU's interface, to check kernels without a GPU.
    Software,
}

/// Reads a name.
pub(crate) fn parse(name: &str) -> Option<Kind> {
    match name.split_once(':') {
        None if name == "cpu" => Some(Kind::Cpu),
        None if name == "cuda" => Some(Kind::Cuda(0)),
        None if name == "wgpu" => Some(Kind::Wgpu(Adapter::Gpu(0))),
        Some(("cuda", index)) => index.parse().ok().map(Kind::Cuda),
        Some(("wgpu", "cpu")) => Some(Kind::Wgpu(Adapter::Software)),
        Some(("wgpu", index)) => index.parse().ok().map(|index| Kind::Wgpu(Adapter::Gpu(index))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_with_their_remedy() {
        assert_eq!(check("cpu"), Ok(()));
        assert!(check("gpu").unwrap_err().contains("cuda:0"));
        assert_eq!(check("cuda:0").is_ok(), cfg!(feature = "cuda"));
        assert_eq!(check("wgpu:cpu").is_ok(), cfg!(feature = "wgpu"));
        for (name, feature) in [("cuda:1", "cuda"), ("wgpu", "wgpu")] {
            let refused = check(name);
            assert!(refused.is_ok() || refused.unwrap_err().contains(&format!("--features {feature}")), "{name}");
        }
        assert!(["cuda:x", "wgpu:", "wgpu:-1", "wgpu:CPU", "cpu:0"].iter().all(|name| check(name).is_err()));
    }

    #[test]
    fn the_software_device_is_never_meant_by_a_number() {
        assert_eq!(parse("wgpu"), parse("wgpu:0"));
        assert_eq!(parse("wgpu:1"), Some(Kind::Wgpu(Adapter::Gpu(1))));
        assert_eq!(parse("wgpu:cpu"), Some(Kind::Wgpu(Adapter::Software)));
    }
}
