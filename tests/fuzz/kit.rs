//! Fuzzing by mutation: good inputs that are changed a little, and those that are still taken once more. A few seconds a
//! door in the suite; `SAPO_FUZZ_SECS` says how many, `SAPO_FUZZ_SEED` which inputs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Seconds a door, where nothing is said.
const USUAL_SECS: u64 = 3;
/// An input that takes longer, and is worked at for longer, hangs.
const MOST_WORK: Duration = Duration::from_secs(2);
/// An input that takes longer on the clock hangs, even on a machine that is busy with something else.
const MOST_TIME: Duration = Duration::from_secs(20);
/// What the process may have held at most, in KiB.
const MOST_KIB: u64 = 1 << 20;
/// Inputs that were taken and are changed further.
const MOST_KEPT: usize = 200;
/// The longest input.
const MOST_BYTES: usize = 1 << 20;
/// Numbers at which something turns.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_FFFF,
    0x7FFF_FFFF_FFFF_FFFF,
    0x8000_0000_0000_0000,
    u64::MAX,
];
/// The same in words, and what breaks texts.
const WORDS: [&str; 22] = [
    "0",
    "-1",
    "1e308",
    "1e-400",
    "18446744073709551616",
    "-9223372036854775809",
    "NaN",
    "null",
    "true",
    "\"\"",
    "{}",
    "[]",
    "[[",
    "\\u0000",
    "\\ud800",
    "\u{0}",
    "\u{1b}[2J",
    "\u{202e}",
    "é",
    "<|im_start|>",
    "<image>",
    "../",
];

/// What this process has worked so far, its threads together.
fn worked() -> Duration {
    let said = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the command's name, which may hold spaces, the 12th and 13th are hundredths of seconds.
    let ticks = said.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Duration::from_millis(10 * ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>())
}

/// What is fuzzed, and with what.
pub(crate) struct Door<'a> {
    /// Its name in messages and files.
    pub(crate) name: &'a str,
    /// Inputs that are good.
    pub(crate) seeds: Vec<Vec<u8>>,
    /// Words of its language.
    pub(crate) words: &'a [&'a str],
    /// Makes checksums and the like right again, in every other input.
    pub(crate) mend: Option<fn(&mut [u8])>,
}

impl Door<'_> {
    /// Gives changed inputs to `check`, which says whether one was taken, and holds it to time and memory.
    #[track_caller]
    #[expect(clippy::print_stderr, reason = "how many inputs were tried is what a long run is for")]
    pub(crate) fn run(mut self, check: impl Fn(&[u8]) -> bool) {
        let secs = number("SAPO_FUZZ_SECS").unwrap_or(USUAL_SECS);
        let mut dice = Dice(number("SAPO_FUZZ_SEED").unwrap_or(1));
        let own = self.seeds.len();
        for (at, seed) in self.seeds.iter().enumerate() {
            assert!(check(seed), "{}: seed {at} is not taken", self.name);
        }
        let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}.input", self.name));
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let (started, mut tried, mut taken, mut slowest) = (Instant::now(), 0_u64, 0_u64, Duration::ZERO);
        let mut fault = None;
        while fault.is_none() && started.elapsed() < Duration::from_secs(secs) {
            let input = self.changed(&mut dice);
            // Should it end the process, it lies there.
            std::fs::write(&kept, &input).expect("a file");
            let (began, before) = (Instant::now(), worked());
            let outcome = catch_unwind(AssertUnwindSafe(|| check(&input)));
            let waited = began.elapsed();
            // A machine that is busy with something else is no hang.
            let took = waited.min(worked().saturating_sub(before));
            (tried, slowest) = (tried + 1, slowest.max(waited));
            fault = match &outcome {
                Err(panic) => Some(format!("panics: {}", words_of(&**panic))),
                Ok(_) if took > MOST_WORK || waited > MOST_TIME => Some(format!("takes {took:?} of {waited:?}")),
                Ok(_) => peak_kib().filter(|kib| *kib > MOST_KIB).map(|kib| format!("takes {} MiB", kib >> 10)),
            };
            if outcome.is_ok_and(|is_taken| is_taken) {
                taken += 1;
                if self.seeds.len() < MOST_KEPT {
                    self.seeds.push(input);
                } else {
                    let at = own + dice.below(MOST_KEPT - own);
                    self.seeds[at] = input;
                }
            }
        }
        std::panic::set_hook(usual);
        let told = format!("{}: {tried} inputs, {taken} taken, the slowest {slowest:.0?}", self.name);
        if let Some(fault) = fault {
            let place = kept.with_extension("fault");
            std::fs::rename(&kept, &place).expect("a file");
            panic!("{told}; the last {fault}; it lies in {}", place.display());
        }
        eprintln!("{told}");
    }

    fn changed(&self, dice: &mut Dice) -> Vec<u8> {
        let mut input = self.seeds[dice.below(self.seeds.len())].clone();
        for _ in 0..1 + dice.below(5) {
            self.change(&mut input, dice);
            input.truncate(MOST_BYTES);
        }
        if let Some(mend) = self.mend.filter(|_| dice.below(2) == 0) {
            mend(&mut input);
        }
        input
    }

    /// One change.
    fn change(&self, input: &mut Vec<u8>, dice: &mut Dice) {
        let length = input.len();
        let at = dice.below(length.max(1));
        let most = 1 << dice.below(12);
        let span = at..(at + 1 + dice.below(most)).min(length).max(at);
        match dice.below(11) {
            0 | 1 if length > 0 => input[at] ^= 1 << dice.below(8),
            2 if length > 0 => input[at] = NUMBERS[dice.below(5)] as u8,
            3 => {
                let (number, bytes) = (NUMBERS[dice.below(NUMBERS.len())], 1 << dice.below(4));
                let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
                let written = if dice.below(2) == 0 { &little[..bytes] } else { &big[8 - bytes..] };
                if at + bytes <= length {
                    input[at..at + bytes].copy_from_slice(written);
                }
            }
            4 => input.truncate(at),
            5 if length > 0 => drop(input.drain(span)),
            6 if length > 0 => {
                let copy = input[span].to_vec();
                let to = dice.below(length);
                input.splice(to..to, copy);
            }
            7 => {
                let other = &self.seeds[dice.below(self.seeds.len())];
                let from = dice.below(other.len().max(1)).min(other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            8 => replace_number(input, at, dice),
            _ => {
                let all = WORDS.len() + self.words.len();
                let chosen = dice.below(all);
                let word = WORDS.get(chosen).unwrap_or_else(|| &self.words[chosen - WORDS.len()]);
                let end = if dice.below(2) == 0 { at } else { (at + word.len()).min(length) };
                input.splice(at.min(length)..end.max(at.min(length)), word.bytes());
            }
        }
    }
}

/// Puts another number in the place of the next one that is written in digits.
fn replace_number(input: &mut Vec<u8>, at: usize, dice: &mut Dice) {
    let digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = input.iter().skip(at).position(digit).map(|found| at + found) else { return };
    let end = start + input[start..].iter().take_while(|byte| digit(byte)).count();
    let number = match dice.below(3) {
        0 => format!("-{}", NUMBERS[dice.below(NUMBERS.len())]),
        1 => WORDS[dice.below(6)].to_owned(),
        _ => NUMBERS[dice.below(NUMBERS.len())].to_string(),
    };
    input.splice(start..end, number.into_bytes());
}

/// Random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % end.max(1) as u64) as usize
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a whole number"))
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")
}

/// What this process has held at most; nothing where the system does not say.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
