//! Bytes of pictures, changed in every way: decoded or refused, within time and memory.

#[path = "../../tests/fuzz/kit.rs"]
mod kit;

use std::path::Path;

use sapo_pictures::{decode, size};

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pictures");
    let files = std::fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("a file").path());
    let mut files: Vec<_> =
        files.filter(|file| !["json", "py", "md"].iter().any(|end| file.extension() == Some(end.as_ref()))).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("a file")).collect()
}

/// Makes the checksums of PNG right: else no change is seen by more than the first test of a decoder.
fn mend(bytes: &mut [u8]) {
    if !bytes.starts_with(b"\x89PNG") {
        return;
    }
    let mut at = 8;
    while let Some(Ok(length)) = bytes.get(at..at + 4).map(<[u8; 4]>::try_from) {
        let end = at.saturating_add(8).saturating_add(u32::from_be_bytes(length) as usize);
        let Some(checksum) = bytes.get(at + 4..end).map(crc) else { return };
        if bytes.len() < end + 4 {
            return;
        }
        bytes[end..end + 4].copy_from_slice(&checksum.to_be_bytes());
        at = end + 4;
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ if sum & 1 == 1 { 0xEDB8_8320 } else { 0 })
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[test]
fn pictures_are_decoded_or_refused() {
    kit::Door { name: "pictures", seeds: seeds(), words: &["IDAT", "IHDR", "eXIf", "tRNS", "acTL"], mend: Some(mend) }
        .run(|bytes| {
            let said = size(bytes);
            let decoded = decode(bytes);
            if let Ok(picture) = &decoded {
                assert_eq!(Ok(picture.dimensions()), said);
            }
            decoded.is_ok()
        });
}

#[test]
fn checksums_are_mended() {
    assert_eq!(crc(b"123456789"), 0xCBF4_3926);
    for mut seed in seeds() {
        let whole = seed.clone();
        mend(&mut seed);
        assert!(seed == whole);
    }
    let mut broken = seeds().into_iter().find(|seed| seed.starts_with(b"\x89PNG")).expect("a PNG");
    let whole = broken.clone();
    broken[29] ^= 0xFF;
    mend(&mut broken);
    assert!(broken == whole);
}
