//! A command that fails: in words on stderr, and where JSON was asked for as one object on stdout as well.

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use sapo_policies::tensor::DeviceFailed;
use serde_json::json;

use super::printer::{has_printed_json, plain, print_json};
use crate::config::schema::places_of;
use crate::error::{Result, RunError};

/// Commands that take settings as `key=value`.
const WITH_SETTINGS: [&str; 4] = ["train", "curate", "plan", "config"];

/// Whether the command line asks for JSON.
pub(crate) fn wants_json() -> bool {
    std::env::args_os().skip(1).take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

/// Where panics become errors that name the file: they are not told a second time.
const CAUGHT: &str = "/polars-";

/// Keeps quiet of panics that become errors: those of the reader of Parquet, which damaged files break in many places.
pub(crate) fn keep_quiet_of_caught_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|location| location.file().contains(CAUGHT)) {
            usual(panic);
        }
    }));
}

/// Does some work, which a device that gives no numbers ends as an error.
pub(crate) fn unless_the_device_fails<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| match panic.downcast::<DeviceFailed>() {
        Ok(failed) => Err(RunError::Device(failed.0)),
        Err(other) => resume_unwind(other),
    })
}

/// Tells of an error and gives the exit code: 3 where a run can be gone on with, else 2.
pub(crate) fn failed(error: &RunError) -> ExitCode {
    let code = match error {
        RunError::Internal(_) | RunError::Stopped(_) | RunError::Device(_) => 3,
        _ => 2,
    };
    eprintln!("error: {}", plain(&error.to_string()));
    told(kind_of(error), &error.to_string(), code)
}

/// Tells of arguments that clap does not take; help and the version that were asked for are no faults.
pub(crate) fn misused(mut error: clap::Error) -> ExitCode {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(hint) = hint(&error, std::env::args_os().skip(1).collect())
    {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(hint)]));
    }
    // Nobody may be listening any more.
    drop(error.print());
    match error.use_stderr() {
        true => told("usage", error.render().to_string().trim_end(), 2),
        false => ExitCode::SUCCESS,
    }
}

fn told(kind: &str, message: &str, code: u8) -> ExitCode {
    if wants_json() && !has_printed_json() {
        let message = message.strip_prefix("error: ").unwrap_or(message);
        let object = json!({"error": {"kind": kind, "message": message, "exit_code": code}});
        // The words are on stderr already.
        drop(print_json(&object, true));
    }
    ExitCode::from(code)
}

fn kind_of(error: &RunError) -> &'static str {
    match error {
        RunError::Config(_) => "config",
        RunError::Data(_) => "data",
        RunError::Policy(_) => "model",
        RunError::Reward(_) => "reward",
        RunError::Report(_) => "report",
        RunError::Io { .. } => "file",
        RunError::Stopped(_) => "stopped",
        RunError::Device(_) => "device",
        RunError::NotFinite(_) => "not_finite",
        RunError::User(_) => "usage",
        RunError::Internal(_) => "internal",
    }
}

/// How a setting is given that somebody wrote as a flag: `--seed 3` is `run.seed=3`.
fn hint(error: &clap::Error, arguments: Vec<OsString>) -> Option<String> {
    let command = arguments.first()?.to_str()?;
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let name = flag.strip_prefix("--").filter(|_| WITH_SETTINGS.contains(&command))?;
    let (name, glued) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (name, None),
    };
    let at = arguments.iter().position(|argument| {
        argument.to_str().is_some_and(|text| text == flag || text.starts_with(&format!("--{name}=")))
    })?;
    let own = || arguments[at].to_str()?.split_once('=').map(|(_, value)| value.to_owned());
    let next = || arguments.get(at + 1)?.to_str().filter(|text| !text.starts_with('-')).map(str::to_owned);
    let value = glued.or_else(own).or_else(next).unwrap_or_else(|| "VALUE".to_owned());
    let places = places_of(&name.replace('-', "_"));
    let settings: Vec<String> = places.iter().take(3).map(|place| format!("{place}={value}")).collect();
    (!settings.is_empty()).then(|| format!("settings are given as key=value: {}", settings.join(", or ")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Arguments;
    use super::*;

    fn hinted(arguments: &[&str]) -> Option<String> {
        let error = Arguments::try_parse_from([&["sapo"], arguments].concat()).err().expect("refused");
        hint(&error, arguments.iter().map(OsString::from).collect())
    }

    #[test]
    fn a_device_that_fails_is_an_error_and_any_other_fault_stays_one() {
        let full = || std::panic::resume_unwind(Box::new(DeviceFailed("no memory".to_owned())));
        let error = unless_the_device_fails(|| -> Result<()> { full() }).expect_err("it failed");
        assert!(error.to_string().contains("no memory") && error.to_string().contains("--resume"), "{error}");
        let other = || unless_the_device_fails(|| -> Result<()> { resume_unwind(Box::new("else")) });
        assert!(catch_unwind(AssertUnwindSafe(other)).is_err());
        assert!(unless_the_device_fails(|| Ok(())).is_ok());
    }

    #[test]
    fn a_setting_that_is_written_as_a_flag_is_told_as_a_setting() {
        let said = hinted(&["train", "a.toml", "--seed", "3"]).expect("a hint");
        assert!(said.contains("run.seed=3"), "{said}");
        assert!(hinted(&["train", "a.toml", "--seed=4"]).is_some_and(|said| said.contains("run.seed=4")));
        let said = hinted(&["train", "a.toml", "--lr", "1e-4"]).expect("a hint");
        assert!(said.contains("phases.NAME.optimizer.lr=1e-4"), "{said}");
        assert_eq!(hinted(&["train", "a.toml", "--nonsense", "3"]), None);
        assert_eq!(hinted(&["report", "runs/a", "--seed", "3"]), None, "it takes no settings");
    }
}
