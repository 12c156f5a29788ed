//! The commands of docs/rewards.md, each as it stands on the page.

use super::{Command, Path, said, sapo};

/// The commands in the blocks of the page that are marked as shell.
fn commands() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rewards.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(""));
    let lines = blocks.flat_map(str::lines).map(str::to_owned);
    // Commands of other programs, and their further lines, need data that is not here.
    lines.filter(|line| line.starts_with("sapo ") && !line.contains("gsm8k")).collect()
}

#[test]
fn every_command_of_the_page_works() {
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "python3 is needed in CI");
        return;
    }
    let commands = commands();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in &commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        assert_eq!(words[0], "sapo", "{command}");
        let output = sapo(&words[1..]);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!shown.is_empty(), "{command}: {}", said(&output, 0));
        assert_eq!(output.status.code(), Some(0), "{command}: {shown}");
    }
}
