//! The end of a curation: its summary, its picture, and what it kept, as a file that is a source of its own.

use std::io;

use sapo_datasets::written::parquet;
use sapo_datasets::{Example, Query};

use super::Curate;
use crate::curation::{Curation, Decision, Tally};
use crate::data::left_out;
use crate::error::{Result, RunError};
use crate::records::each_record;
use crate::report;
use crate::run::Run;
use crate::run::record::{CURATION, curation_file};

impl Curate {
    /// Writes what the record comes to. All of it is made from the record, so that it can be made again.
    pub(super) fn finish(&self, run: &mut Run<'_>) -> Result<()> {
        let (mut tally, mut kept) = (Tally::default(), Vec::new());
        each_record(&run.path().join(curation_file(&self.name)), &mut |record| {
            tally.add(&record);
            if record.is_kept() {
                kept.push(record);
            }
            Ok(())
        })?;
        run.state.curation.add(&tally);
        let mut by = self.config.by.to_string();
        if let Some(blind) = &self.config.without_pictures {
            by.push_str(&format!(", without pictures {}", blind.by));
        }
        let summary = tally.summary(&self.name, &by, self.config.samples);
        let dir = run.recorder.dir();
        let file = |extension: &str| format!("{CURATION}/{}.{extension}", self.name);
        dir.write_json(&file("json"), &summary)?;
        if !summary.histogram.is_empty() {
            dir.write(&file("svg"), report::curation_picture(&summary).as_bytes())?;
        }
        let path = dir.file(&file("parquet"))?;
        if path.exists() {
            std::fs::remove_file(&path).map_err(|error| RunError::io(&path, error))?;
        }
        if !kept.is_empty() {
            // Row by row, so that their pictures are never in memory together.
            let rows = || kept.iter().flat_map(|record| in_rows(self.rows(record)));
            dir.patiently(|| Ok(parquet::write(&path, rows())?))?;
        }
        if let Some(warning) = left_out(&self.name, tally.dropped_pictures()) {
            run.say(&warning)?;
        }
        let kept = tally.count(Decision::Kept) + tally.count(Decision::Undecided);
        run.say(&format!("{}: {kept} of {} queries kept", self.name, tally.queries()))
    }

    /// The rows that a kept query comes to: itself, or one for each sampled response that is kept.
    fn rows(&self, record: &Curation) -> Result<Vec<Example>> {
        let Some(dataset) = self.datasets.iter().find(|dataset| dataset.name() == record.source) else {
            return Ok(Vec::new());
        };
        let example = dataset.get(record.index)?;
        if self.config.keep_responses == 0 {
            return Ok(vec![example]);
        }
        let sampled =
            record.responses.iter().filter_map(|response| Some((response.sample?, response.text.as_deref()?)));
        let id = |sample: usize| match self.config.keep_responses {
            1 => record.query_id.clone(),
            _ => format!("{}-sample-{sample}", record.query_id),
        };
        let with = |(sample, text): (usize, &str)| Example {
            query: Query { id: id(sample), ..example.query.clone() },
            response: Some(text.to_owned()),
            spoken: false,
        };
        Ok(sampled.map(with).collect())
    }
}

/// Rows one by one, or the error in their place.
fn in_rows(rows: Result<Vec<Example>>) -> Vec<io::Result<Example>> {
    match rows {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(io::Error::other(error))],
    }
}
