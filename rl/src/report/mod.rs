//! The report of a run or of an evaluation: read from its directory, written as one self-contained page with a JSON twin.

mod against;
mod answers;
mod audit;
mod audited;
mod compare;
mod curation;
mod curves;
mod evaluations;
mod heat_map;
pub mod model;
mod page;
pub mod pooled;
mod read;
mod sample;
mod saved;
mod sections;
mod seeds;
mod style;
mod svg;
mod verdict;
mod warnings;
pub mod words;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

pub use crate::figures;
pub use curation::picture as curation_picture;
pub use model::Report;
pub(crate) use page::STYLE;

use sapo_datasets::write_atomically;

use self::model::{EvalSet, GainRow, SampledQuery};
use self::read::RunFiles;
use self::saved::SavedConfig;
use crate::report_error::ReportError;

/// Reads a run directory, finished or not, or the folder of an evaluation; what it lacks is said in [`Report::missing`].
///
/// # Errors
/// When the folder is neither.
pub fn build(run_dir: &Path) -> Result<Report, ReportError> {
    let mut report = built(run_dir, None)?;
    curves::thin(&mut report.curves);
    Ok(report)
}

/// The same with all points of its curves, and the sample beside another folder.
fn built(run_dir: &Path, other: Option<&Path>) -> Result<Report, ReportError> {
    let mut files = RunFiles::open(run_dir)?;
    if files.is_evaluation {
        return Ok(of_evaluation(files, run_dir, other));
    }
    let summary = files.json("summary.json", None);
    let config = files.text("config.toml", Some("the configuration cannot be shown"));
    let saved = SavedConfig::read(config.as_deref(), &mut files.missing);
    let shuffled = saved.shuffled();
    let steps = sections::steps(&mut files);
    let sets = sets(&mut files, &saved, summary.as_ref());
    let mut report = Report {
        v: 2,
        run: sections::run_facts(&mut files, run_dir, summary.as_ref(), !shuffled.is_empty(), steps.len()),
        warnings: warnings::warnings(&mut files, &steps, &saved),
        gates: curves::gates(&steps),
        curves: curves::curves(&steps, &sets),
        curation: sections::curation(&mut files),
        judges: sections::judges(&mut files, summary.as_ref()),
        audits: audit::sections(&mut files, &steps, &saved),
        time: curves::time(&steps).into_iter().chain(sections::evaluation_time(&mut files)).collect(),
        groups: sections::groups(&mut files, &steps),
        sample: sample::sample(run_dir, other),
        config,
        sets,
        ..Report::default()
    };
    report.warnings.extend(warnings::cut_answers(&report.sets, |set| format!("eval.{set}.max_new_tokens")));
    report.verdict = verdict::verdict(&report.run, &report.sets, &shuffled);
    illustrate(&mut report, &mut files);
    report.missing = files.missing;
    Ok(report)
}

/// The report of an evaluation alone.
fn of_evaluation(mut files: RunFiles, dir: &Path, other: Option<&Path>) -> Report {
    let saved = SavedConfig::default();
    let mut sets = sets(&mut files, &saved, None);
    let compared = files.json("comparison.json", None).unwrap_or_default();
    sets.iter_mut().for_each(|set| compare::with_baseline(set, &compared));
    let mut report = Report {
        v: 2,
        run: sections::evaluation_facts(&mut files, dir),
        warnings: warnings::cut_answers(&sets, |_| "--max-new-tokens".to_owned()),
        verdict: verdict::of_evaluation(&sets),
        sample: sample::sample(dir, other),
        sets,
        ..Report::default()
    };
    illustrate(&mut report, &mut files);
    report.missing = files.missing;
    report
}

/// The sets of held-out queries with their evaluations and what is compared.
fn sets(files: &mut RunFiles, saved: &SavedConfig, summary: Option<&serde_json::Value>) -> Vec<EvalSet> {
    let written = summary.and_then(|summary| serde_json::from_value::<Vec<GainRow>>(summary["gains"].clone()).ok());
    let written = written.unwrap_or_default();
    let sets = evaluations::read(files, saved).into_iter();
    sets.map(|(name, evaluations)| compare::compared(&name, evaluations, &saved.compare(&name), &written)).collect()
}

/// Writes `report.html` and `report.json` into the folder, beside another run or evaluation if one is named, and gives the path of
/// the page.
///
/// # Errors
/// When the folder is neither a run directory nor that of an evaluation, or the files cannot be written.
pub fn write(run_dir: &Path, other: Option<&Path>) -> Result<PathBuf, ReportError> {
    write_pooled(run_dir, &[], other)
}

/// The same of a run and others that differ from it in their seed alone: curves are their mean with a band, and so are the numbers
/// of evaluations.
///
/// # Errors
/// As [`write`], and when another differs in more.
pub fn write_pooled(run_dir: &Path, seeds: &[&Path], other: Option<&Path>) -> Result<PathBuf, ReportError> {
    seeds::refuse_others(run_dir, seeds)?;
    let mut report = built(run_dir, other)?;
    if !seeds.is_empty() {
        let others = seeds.iter().map(|seed| built(seed, None)).collect::<Result<Vec<_>, _>>()?;
        let runs = std::iter::once(&run_dir).chain(seeds).map(|run| run.display().to_string()).collect();
        seeds::pool(&mut report, &others, runs);
    }
    curves::thin(&mut report.curves);
    report.against = other.map(|other| against::against(run_dir, other));
    let page = page::render(&report)?;
    let mut twin = serde_json::to_vec_pretty(&report).map_err(|error| ReportError::Render(error.to_string()))?;
    twin.push(b'\n');
    let path = run_dir.join("report.html");
    for (path, bytes) in [(run_dir.join("report.json"), twin.as_slice()), (path.clone(), page.as_bytes())] {
        write_atomically(&path, |file| file.write_all(bytes)).map_err(|source| ReportError::Write { path, source })?;
    }
    Ok(path)
}

/// The page of a report, as one HTML document that needs no other file and no network.
///
/// # Errors
/// When the template fails, which is a fault of this program.
pub fn render(report: &Report) -> Result<String, ReportError> {
    page::render(report)
}

/// Adds prompts and pictures to the queries that the report shows.
fn illustrate(report: &mut Report, files: &mut RunFiles) {
    let shown = report.sets.iter().flat_map(queries).map(|query| query.query_id.clone());
    let wanted: BTreeSet<String> = shown.chain(report.groups.iter().map(|group| group.query_id.clone())).collect();
    let records = files.queries(&wanted);
    let samples = report.sets.iter_mut().flat_map(|set| &mut set.samples);
    for query in samples.flat_map(|task| &mut task.queries) {
        if let Some(record) = records.get(&query.query_id) {
            query.prompt = Some(record.prompt.clone());
            query.images.clone_from(&record.images);
            query.ground_truth.clone_from(&record.ground_truth);
        }
    }
    for group in &mut report.groups {
        if let Some(record) = records.get(&group.query_id) {
            group.prompt = Some(record.prompt.clone());
            group.images.clone_from(&record.images);
            group.ground_truth.clone_from(&record.ground_truth);
        }
    }
    let samples = report.sets.iter().flat_map(queries).flat_map(|query| &query.images);
    let mut hashes: BTreeSet<String> =
        samples.chain(report.groups.iter().flat_map(|group| &group.images)).cloned().collect();
    let images = report.sample.groups.iter().filter_map(|group| group["query"]["images"].as_array()).flatten();
    hashes.extend(images.filter_map(|hash| hash.as_str().map(str::to_owned)));
    report.pictures = files.pictures(&hashes);
}

/// The queries of a set whose answers are shown.
fn queries(set: &EvalSet) -> impl Iterator<Item = &SampledQuery> {
    set.samples.iter().flat_map(|task| &task.queries)
}

#[cfg(test)]
mod tests;
