//! Names of devices: `cpu`, and `cuda:0` in a build with the feature `cuda`.

/// Checks a device's name without touching the device.
///
/// # Errors
/// When this build has no such device.
pub(crate) fn check(name: &str) -> std::result::Result<(), String> {
    match parse(name) {
        Some(Kind::Cpu) => Ok(()),
        Some(Kind::Cuda(_)) if cfg!(feature = "cuda") => Ok(()),
        Some(Kind::Cuda(_)) => {
            Err(format!("`{name}` needs a build with `--features cuda`; this one computes on `cpu` alone"))
        }
        None => Err(format!("`{name}` is not a device; use `cpu` or `cuda:0`")),
    }
}

/// A kind of device.
pub(crate) enum Kind {
    /// The CPU.
    Cpu,
    /// An NVIDIA GPU, by its number.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "read where the device can be opened"))]
    Cuda(usize),
}

/// Reads a name.
pub(crate) fn parse(name: &str) -> Option<Kind> {
    match name.split_once(':') {
        None if name == "cpu" => Some(Kind::Cpu),
        None if name == "cuda" => Some(Kind::Cuda(0)),
        Some(("cuda", index)) => index.parse().ok().map(Kind::Cuda),
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
        assert!(check("cuda:x").is_err());
    }
}
