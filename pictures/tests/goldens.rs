//! Pictures of every kind against what Pillow reads from them; cut and damaged ones are refused.

use std::path::{Path, PathBuf};

use sapo_pictures::{Format, PictureError, decode, size};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pictures")
}

fn expected() -> Vec<(String, Vec<u8>, Value)> {
    let text = std::fs::read(fixtures().join("expected.json")).expect("fixtures");
    let Ok(Value::Object(all)) = serde_json::from_slice(&text) else { panic!("an object was written") };
    let read = |name: &str| std::fs::read(fixtures().join(name)).expect("fixtures");
    all.into_iter().map(|(name, kept)| (name.clone(), read(&name), kept)).collect()
}

fn bytes_of(kept: &Value) -> Vec<u8> {
    let text = kept["rgb"].as_str().expect("hexadecimal");
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

#[test]
fn every_kind_is_read_as_pillow_reads_it() {
    let mut faults = Vec::new();
    let all = expected();
    assert!(
        all.len() > 60 && Format::ALL.iter().all(|format| all.iter().any(|one| Format::of(&one.1) == Some(*format)))
    );
    for (name, bytes, kept) in all {
        let picture = match decode(&bytes) {
            Ok(picture) => picture,
            Err(error) => {
                faults.push(format!("{name}: {error}"));
                continue;
            }
        };
        let wanted = bytes_of(&kept);
        let off = picture.as_raw().iter().zip(&wanted).map(|(ours, theirs)| ours.abs_diff(*theirs)).max();
        let same_size = Some((picture.width(), picture.height())) == size(&bytes).ok()
            && kept["size"] == serde_json::json!([picture.width(), picture.height()]);
        if !same_size || u64::from(off.unwrap_or(255)) > kept["tolerance"].as_u64().expect("a number") {
            faults.push(format!("{name}: off by {off:?}, {} x {}", picture.width(), picture.height()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_file_that_is_cut_is_refused() {
    let mut faults = Vec::new();
    for (name, bytes, _) in expected() {
        // Other frames and pages stand behind the first one, and none of them is looked at.
        let most =
            if name.contains("moving") || name.contains("pages") { bytes.len() / 4 } else { bytes.len() * 9 / 10 };
        let taken = (0..most).filter(|length| decode(&bytes[..*length]).is_ok()).max();
        faults.extend(taken.map(|length| format!("{name}: {length} of {} bytes are taken", bytes.len())));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let (_, jpeg, _) = expected().into_iter().find(|one| one.0 == "half-colour.jpg").expect("a fixture");
    let cut = decode(&jpeg[..jpeg.len() - 2]).unwrap_err();
    assert!(cut.to_string().contains("the file is cut"), "{cut}");
}

#[test]
fn what_is_no_picture_or_too_large_is_named() {
    assert_eq!(decode(b"hello").unwrap_err(), PictureError::Unknown);
    let mut bmp = std::fs::read(fixtures().join("rgb.bmp")).expect("fixtures");
    for side in [&mut 18, &mut 22] {
        bmp[*side..*side + 4].copy_from_slice(&20_000_u32.to_le_bytes());
    }
    for found in [decode(&bmp).map(drop), size(&bmp).map(drop)] {
        assert!(found.unwrap_err().to_string().contains("20000 x 20000 is more than 100000000 pixels"));
    }
}
