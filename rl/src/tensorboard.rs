//! TensorBoard event files: the records of a step's metrics, and of what an evaluation shows, as bytes to append.
//!
//! A file is a sequence of TFRecords, each an `Event` message of TensorFlow: first [`header`], then [`events`] once per
//! step, and [`shown`] once per evaluation. All are pure, so that a run can cut its file back to a step and go on.

use serde_json::Value;

/// What the first record of a file says.
const FILE_VERSION: &str = "brain.Event:2";
/// The key of a metrics line that is the step itself, not a metric.
const STEP: &str = "step";

/// TensorFlow's number for strings.
const DT_STRING: u64 = 7;

/// Protocol buffer wire types.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Bits64 = 1,
    Length = 2,
    Bits32 = 5,
}

/// The record with which a file begins; `wall_secs` are seconds since 1970.
pub fn header(wall_secs: f64) -> Vec<u8> {
    let mut event = wall_time(wall_secs);
    put_bytes(&mut event, 3, FILE_VERSION.as_bytes());
    framed(&event)
}

/// The record of one line of `metrics.jsonl`: every key with a number, `step` aside, as a scalar of that step.
pub fn events(line: &Value, wall_secs: f64) -> Vec<u8> {
    let mut summary = Vec::new();
    for (name, value) in line.as_object().into_iter().flatten().filter(|(name, _)| *name != STEP) {
        if let Some(value) = value.as_f64() {
            put_bytes(&mut summary, 1, &scalar(name, value as f32));
        }
    }
    event(line[STEP].as_u64().unwrap_or(0), wall_secs, &summary)
}

/// A text, and a picture beside it, under one name.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The name.
    pub name: String,
    /// The text, in Markdown.
    pub text: String,
    /// A picture as an encoded file, with its width and height.
    pub picture: Option<(Vec<u8>, [u32; 2])>,
}

/// The record of texts and pictures of a step.
pub fn shown(all: &[Shown], step: u64, wall_secs: f64) -> Vec<u8> {
    let mut summary = Vec::new();
    for Shown { name, text: said, picture } in all {
        put_bytes(&mut summary, 1, &text(name, said));
        if let Some((encoded, size)) = picture {
            put_bytes(&mut summary, 1, &image(&format!("{name}/picture"), encoded, *size));
        }
    }
    event(step, wall_secs, &summary)
}

/// The record of an `Event` with a summary.
fn event(step: u64, wall_secs: f64, summary: &[u8]) -> Vec<u8> {
    let mut event = wall_time(wall_secs);
    put_tag(&mut event, 2, Wire::Varint);
    put_varint(&mut event, step);
    put_bytes(&mut event, 5, summary);
    framed(&event)
}

/// A `Summary.Value`: `tag`, `tensor` with one string, and the `metadata` that says it is a text.
fn text(name: &str, said: &str) -> Vec<u8> {
    let (mut dimension, mut shape, mut tensor) = (Vec::new(), Vec::new(), Vec::new());
    put_number(&mut dimension, 1, 1);
    put_bytes(&mut shape, 2, &dimension);
    put_number(&mut tensor, 1, DT_STRING);
    put_bytes(&mut tensor, 2, &shape);
    put_bytes(&mut tensor, 8, said.as_bytes());
    let (mut plugin, mut metadata, mut message) = (Vec::new(), Vec::new(), Vec::new());
    put_bytes(&mut plugin, 1, b"text");
    put_bytes(&mut metadata, 1, &plugin);
    put_bytes(&mut message, 1, name.as_bytes());
    put_bytes(&mut message, 8, &tensor);
    put_bytes(&mut message, 9, &metadata);
    message
}

/// A `Summary.Value`: `tag` and `image` with its size, three colours, and the file.
fn image(name: &str, encoded: &[u8], [width, height]: [u32; 2]) -> Vec<u8> {
    let (mut image, mut message) = (Vec::new(), Vec::new());
    put_number(&mut image, 1, u64::from(height));
    put_number(&mut image, 2, u64::from(width));
    put_number(&mut image, 3, 3);
    put_bytes(&mut image, 4, encoded);
    put_bytes(&mut message, 1, name.as_bytes());
    put_bytes(&mut message, 4, &image);
    message
}

/// An `Event` with its time and nothing else.
fn wall_time(secs: f64) -> Vec<u8> {
    let mut event = Vec::new();
    put_tag(&mut event, 1, Wire::Bits64);
    event.extend(secs.to_le_bytes());
    event
}

/// A `Summary.Value`: `tag` and `simple_value`.
fn scalar(name: &str, value: f32) -> Vec<u8> {
    let mut message = Vec::new();
    put_bytes(&mut message, 1, name.as_bytes());
    put_tag(&mut message, 2, Wire::Bits32);
    message.extend(value.to_le_bytes());
    message
}

fn put_tag(message: &mut Vec<u8>, field: u64, wire: Wire) {
    put_varint(message, field << 3 | wire as u64);
}

fn put_number(message: &mut Vec<u8>, field: u64, value: u64) {
    put_tag(message, field, Wire::Varint);
    put_varint(message, value);
}

fn put_bytes(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_tag(message, field, Wire::Length);
    put_varint(message, bytes.len() as u64);
    message.extend(bytes);
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

/// A TFRecord: length, its checksum, payload, its checksum.
fn framed(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut record = length.to_vec();
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(payload);
    record.extend(masked_crc(payload).to_le_bytes());
    record
}

/// CRC-32C, rotated and shifted: records may hold checksums themselves, and a plain one over them would be weak.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The payloads of a file; panics where a checksum or a length is wrong.
    fn payloads(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while !file.is_empty() {
            let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            let crc = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            assert_eq!(crc(8), masked_crc(&file[..8]));
            let payload = &file[12..12 + length];
            assert_eq!(crc(12 + length), masked_crc(payload));
            found.push(payload.to_vec());
            file = &file[16 + length..];
        }
        found
    }

    #[derive(Debug, PartialEq)]
    enum Field {
        Number(u64),
        Double(f64),
        Float(f32),
        Bytes(Vec<u8>),
    }

    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }

    /// The fields of a message, by a reader that knows nothing of the writer.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let (field, length) = match tag & 7 {
                0 => (Field::Number(varint(&mut bytes)), 0),
                1 => (Field::Double(f64::from_le_bytes(bytes[..8].try_into().unwrap())), 8),
                5 => (Field::Float(f32::from_le_bytes(bytes[..4].try_into().unwrap())), 4),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    (Field::Bytes(bytes[..length].to_vec()), length)
                }
                other => panic!("wire type {other}"),
            };
            bytes = &bytes[length..];
            found.push((tag >> 3, field));
        }
        found
    }

    /// Step, time and scalars of an event.
    fn read(payload: &[u8]) -> (u64, f64, Vec<(String, f32)>) {
        let (mut step, mut secs, mut scalars) = (0, 0.0, Vec::new());
        for (number, field) in fields(payload) {
            match (number, field) {
                (1, Field::Double(value)) => secs = value,
                (2, Field::Number(value)) => step = value,
                (5, Field::Bytes(summary)) => {
                    for (number, value) in fields(&summary) {
                        let (1, Field::Bytes(value)) = (number, value) else { panic!("a summary has values") };
                        match fields(&value).as_slice() {
                            [(1, Field::Bytes(name)), (2, Field::Float(value))] => {
                                scalars.push((String::from_utf8(name.clone()).unwrap(), *value));
                            }
                            other => panic!("no scalar: {other:?}"),
                        }
                    }
                }
                other => panic!("no field of an event: {other:?}"),
            }
        }
        (step, secs, scalars)
    }

    #[test]
    fn checksums_are_those_that_are_published() {
        // The check value of CRC-32C, and 32 zero bytes (RFC 3720, B.4).
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        let mask = |crc: u32| crc.rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(masked_crc(b"123456789"), mask(0xe306_9283));
    }

    #[test]
    fn records_are_those_of_the_reference_writer() {
        // Written by `RecordWriter` of TensorBoard 2 from the same events.
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let begins = "1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d";
        assert_eq!(hex(header(1_700_000_000.0)), begins);
        let step = "3500000000000000d6c55de60900002040fc54d94110ac022a270a180a11747261696e2f7265776172642f6d65616e\
                    15000080be0a0b0a0473656373150000c03fe0cf1358";
        let line = json!({"step": 300, "train/reward/mean": -0.25, "phase": "reasoning", "secs": 1.5});
        assert_eq!(hex(events(&line, 1_700_000_000.5)), step);
        let shown_there = "620000000000000079fd606f0900002040fc54d94110ac022a540a2d0a0c6576616c2f682f636c6f636b4213080712041202\
                           080142092a2a72696768742a2a4a080a060a04746578740a230a146576616c2f682f636c6f636b2f70696374757265220b08\
                           07100518032203010203e0982624";
        let all = [Shown {
            name: "eval/h/clock".to_owned(),
            text: "**right**".to_owned(),
            picture: Some((vec![1, 2, 3], [5, 7])),
        }];
        assert_eq!(hex(shown(&all, 300, 1_700_000_000.5)), shown_there);
    }

    #[test]
    fn a_line_becomes_one_event() {
        let line = json!({"step": 300, "phase": "reasoning", "secs": 1.5, "train/reward/mean": -0.25, "n": 3});
        let mut file = header(5.0);
        file.extend(events(&line, 6.5));
        let payloads = payloads(&file);
        assert_eq!(payloads.len(), 2);
        let (step, secs, scalars) = read(&payloads[1]);
        assert_eq!((step, secs), (300, 6.5));
        let wanted = [("secs", 1.5), ("train/reward/mean", -0.25), ("n", 3.0)];
        assert_eq!(scalars, wanted.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn a_line_without_numbers_is_an_event_without_scalars() {
        let payloads = payloads(&events(&json!({"phase": "curate"}), 1.0));
        assert_eq!(read(&payloads[0]), (0, 1.0, Vec::new()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read_back(
            step in 0..=i64::MAX as u64,
            secs in 0.0..4e9_f64,
            values in prop::collection::btree_map("[a-z/@0-9ü]{1,150}", any::<f32>(), 0..6),
        ) {
            let mut line = json!({"step": step});
            let finite = values.into_iter().filter(|(name, value)| value.is_finite() && name != STEP);
            let values: Vec<(String, f32)> = finite.collect();
            for (name, value) in &values {
                line[name] = json!(f64::from(*value));
            }
            prop_assert_eq!(read(&payloads(&events(&line, secs))[0]), (step, secs, values));
        }
    }
}
