//! The end of a curation: its summary, its picture, and what it kept, as a file that is a source of its own.

use sapo_datasets::Query;
use sapo_datasets::source::{RESPONSE_COLUMN, parquet};

use super::Curate;
use crate::curation::{Curation, Decision, Tally};
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
                kept.extend(self.rows(&record)?);
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
            dir.patiently(|| Ok(parquet::write(&path, &kept)?))?;
        }
        let kept = tally.count(Decision::Kept) + tally.count(Decision::Undecided);
        run.say(&format!("{}: {kept} of {} queries kept", self.name, tally.queries()))
    }

    /// The rows that a kept query comes to: itself, or one for each sampled response that is kept.
    fn rows(&self, record: &Curation) -> Result<Vec<Query>> {
        let Some(dataset) = self.datasets.iter().find(|dataset| dataset.name() == record.source) else {
            return Ok(Vec::new());
        };
        let example = dataset.get(record.index)?;
        let with = |response: Option<&str>, id: String| {
            let mut query = Query { id, ..example.query.clone() };
            if let Some(response) = response {
                query.columns.insert(RESPONSE_COLUMN.to_owned(), response.into());
            }
            query
        };
        if self.config.keep_responses == 0 {
            return Ok(vec![with(example.response.as_deref(), record.query_id.clone())]);
        }
        let sampled =
            record.responses.iter().filter_map(|response| Some((response.sample?, response.text.as_deref()?)));
        let id = |sample: usize| match self.config.keep_responses {
            1 => record.query_id.clone(),
            _ => format!("{}-sample-{sample}", record.query_id),
        };
        Ok(sampled.map(|(sample, text)| with(Some(text), id(sample))).collect())
    }
}
