//! The file of bad rows: one JSON object a line, with every reason.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde_json::{Value, json};

use super::inspect::{Found, Inspected};
use super::target::Target;
use crate::error::{Result, RunError};

/// Where bad rows are written as they are found, or nowhere.
pub(super) struct RejectedFile<'a>(Option<BufWriter<&'a mut File>>);

impl<'a> RejectedFile<'a> {
    pub(super) fn nowhere() -> Self {
        Self(None)
    }

    pub(super) fn to(file: &'a mut File) -> Self {
        Self(Some(BufWriter::new(file)))
    }

    pub(super) fn write(&mut self, target: &Target, row: &Inspected) -> Result<()> {
        match &mut self.0 {
            Some(file) => writeln!(file, "{}", line(target, row)).map_err(|error| RunError::io("--rejected", error)),
            None => Ok(()),
        }
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.0.map_or(Ok(()), |mut file| file.flush())
    }
}

/// A bad row with all reasons, the one it is counted by first.
fn line(target: &Target, row: &Inspected) -> Value {
    let reason = |found: &Found| {
        let mut object = json!({"reason": found.reason.name(), "detail": found.detail});
        if let Some(repeats) = &found.repeats {
            object["repeats"] = json!({"source": repeats.source, "row": repeats.row, "id": repeats.id});
        }
        object
    };
    json!({
        "source": target.name,
        "address": target.address,
        "row": row.index,
        "id": row.id,
        "place": row.place,
        "reasons": row.found.iter().map(reason).collect::<Vec<_>>(),
    })
}
