//! Decodes every file of a folder on all cores and does nothing else: what `sapo data check` is measured against.
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    files.sort();
    let (next, pixels) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let picture = std::fs::read(file).ok().and_then(|bytes| image::load_from_memory(&bytes).ok());
                    let count = picture.map_or(0, |picture| picture.width() * picture.height());
                    pixels.fetch_add(count as usize, Ordering::Relaxed);
                }
            });
        }
    });
    let secs = started.elapsed().as_secs_f64();
    let megapixels = pixels.into_inner() as f64 / 1e6;
    println!(
        "{} files, {megapixels:.1} megapixels in {secs:.2} s: {:.1} files/s",
        files.len(),
        files.len() as f64 / secs
    );
    Ok(())
}
