//! How much memory a process has used.

/// Largest resident memory of a process so far, in bytes; 0 where the system does not tell.
pub fn peak_rss_bytes(process: u32) -> u64 {
    kib_of(&format!("/proc/{process}/status"), "VmHWM:") * 1024
}

/// Memory that this machine can still give, in bytes; 0 where the system does not tell.
pub fn available_bytes() -> u64 {
    kib_of("/proc/meminfo", "MemAvailable:") * 1024
}

/// Anonymous memory that this process holds, in bytes, file pages apart; 0 where the system does not tell.
pub fn anonymous_bytes() -> u64 {
    kib_of("/proc/self/status", "RssAnon:") * 1024
}

fn kib_of(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
