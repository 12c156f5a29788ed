//! Words inside answers: number words, and the normal form of text.

use dashu::{integer::IBig, rational::RBig};

/// Short words of running text that a run of letters is read as, rather than as a product of variables.
const SHORT: &[&str] = &[
    "yes", "no", "odd", "even", "and", "or", "not", "the", "is", "are", "of", "to", "at", "it", "dne", "nan", "none",
    "all", "any", "per", "one", "two", "six", "ten", "pm", "mod", "but", "for", "if", "north", "east", "west", "true",
    "false", "red", "blue", "day", "days", "men", "man", "won", "lost", "cat", "dog", "boy", "girl", "mon", "tue",
    "wed", "thu", "fri", "sat", "sun", "may", "jan", "feb", "mar", "apr", "jun", "jul", "aug", "sep", "oct", "nov",
    "dec", "than", "from", "rs", "we", "so", "has", "was", "its", "an", "box", "car", "pen", "bus", "tie", "win",
    "off", "on", "up", "out", "cup", "jar", "bag", "egg", "hat", "pie", "key", "row", "cow", "hen", "pig", "toy",
    "kid", "may", "ray", "answer", "neither", "pct", "exist",
];

/// Whether a run of two or three letters is a word of running text.
pub(super) fn is_short_word(run: &str) -> bool {
    SHORT.contains(&run.to_lowercase().as_str())
}

fn small(word: &str) -> Option<u32> {
    Some(match word {
        "zero" => 0,
        "one" => 1,
        "two" => 2,
        "three" => 3,
        "four" => 4,
        "five" => 5,
        "six" => 6,
        "seven" => 7,
        "eight" => 8,
        "nine" => 9,
        "ten" => 10,
        "eleven" => 11,
        "twelve" => 12,
        "thirteen" => 13,
        "fourteen" => 14,
        "fifteen" => 15,
        "sixteen" => 16,
        "seventeen" => 17,
        "eighteen" => 18,
        "nineteen" => 19,
        "twenty" => 20,
        "thirty" => 30,
        "forty" | "fourty" => 40,
        "fifty" => 50,
        "sixty" => 60,
        "seventy" => 70,
        "eighty" => 80,
        "ninety" => 90,
        _ => return None,
    })
}

/// What a word such as "million" or "dozen" multiplies by.
pub(super) fn scale(word: &str) -> Option<IBig> {
    let power = match word {
        "dozen" | "dozens" => return Some(IBig::from(12)),
        "hundred" | "hundreds" => 2,
        "thousand" | "thousands" => 3,
        "million" | "millions" => 6,
        "billion" | "billions" => 9,
        "trillion" | "trillions" => 12,
        "quadrillion" => 15,
        _ => return None,
    };
    Some(IBig::from(10).pow(power))
}

fn part(word: &str) -> Option<u32> {
    Some(match word {
        "half" | "halves" => 2,
        "third" | "thirds" => 3,
        "quarter" | "quarters" | "fourth" | "fourths" => 4,
        "fifth" | "fifths" => 5,
        "sixth" | "sixths" => 6,
        "seventh" | "sevenths" => 7,
        "eighth" | "eighths" => 8,
        "ninth" | "ninths" => 9,
        "tenth" | "tenths" => 10,
        "hundredth" | "hundredths" => 100,
        _ => return None,
    })
}

/// Whether a word can start a number in words.
pub(super) fn starts_number(word: &str) -> bool {
    let word = word.to_lowercase();
    word.split('-').next().is_some_and(|first| small(first).is_some()) || scale(&word).is_some() || word == "half"
}

/// Reads the longest number at the start of `words`; gives its value and how many words it took.
pub(super) fn read_number(words: &[String]) -> Option<(RBig, usize)> {
    let (pieces, owners) = split_hyphens(words);
    let (value, used) = read_mixed(&pieces)?;
    let whole = owners[used - 1];
    // A hyphenated word is a number only as a whole: "three-sided" is not 3.
    if owners.get(used) == Some(&whole) {
        return None;
    }
    Some((value, whole + 1))
}

fn split_hyphens(words: &[String]) -> (Vec<String>, Vec<usize>) {
    let mut pieces = Vec::new();
    let mut owners = Vec::new();
    for (index, word) in words.iter().enumerate().take(24) {
        for piece in word.to_lowercase().split('-').filter(|piece| !piece.is_empty()) {
            pieces.push(piece.to_owned());
            owners.push(index);
        }
    }
    (pieces, owners)
}

fn read_mixed(pieces: &[String]) -> Option<(RBig, usize)> {
    if pieces.first().map(String::as_str) == Some("half") {
        return match pieces.get(1..3) {
            Some([a, dozen]) if a == "a" && dozen == "dozen" => Some((RBig::from(6), 3)),
            _ => Some((RBig::from_parts(IBig::ONE, 2u8.into()), 1)),
        };
    }
    let (whole, used) = read_integer(pieces)?;
    let after = |index: usize| pieces.get(index).map(String::as_str);
    if let Some(below) = after(used).and_then(part) {
        return Some((RBig::from_parts(whole, below.into()), used + 1));
    }
    if after(used) == Some("and") {
        let (above, taken) = match after(used + 1) {
            Some("a" | "an") => (IBig::ONE, 1),
            _ => read_integer(&pieces[used + 1..]).unwrap_or((IBig::ZERO, 0)),
        };
        if let Some(below) = after(used + 1 + taken).and_then(part).filter(|_| taken > 0) {
            return Some((RBig::from(whole) + RBig::from_parts(above, below.into()), used + taken + 2));
        }
    }
    Some((RBig::from(whole), used))
}

fn read_integer(pieces: &[String]) -> Option<(IBig, usize)> {
    let mut total = IBig::ZERO;
    let mut group: Option<u32> = None;
    let mut smallest = u32::MAX;
    let mut used = 0;
    while let Some(word) = pieces.get(used).map(String::as_str) {
        let skip = usize::from(word == "and" && smallest >= 100 && used > 0);
        let Some(word) = pieces.get(used + skip).map(String::as_str) else { break };
        if let Some(value) = small(word) {
            let fits = match group {
                None => skip == 0 || value > 0,
                Some(before) => {
                    value > 0 && ((value < 10 && before % 10 == 0 && before % 100 >= 20) || before % 100 == 0)
                }
            };
            if !fits || (used > 0 && group == Some(0)) {
                break;
            }
            group = Some(group.unwrap_or(0) + value);
            smallest = value.max(1);
        } else if let Some(factor) = scale(word).filter(|_| skip == 0) {
            let base = group.take().unwrap_or(1);
            if factor == IBig::from(100) {
                group = Some(base.checked_mul(100)?);
            } else {
                total += IBig::from(base) * factor;
            }
            smallest = 100;
        } else {
            break;
        }
        used += 1 + skip;
    }
    (used > 0).then(|| (total + IBig::from(group.unwrap_or(0)), used))
}

/// The normal form of running text: lower case letters and digits, no markup, no articles, no spaces.
pub(super) fn normal_text(text: &str) -> String {
    let bare = strip_markup(text);
    let words: Vec<String> = bare
        .split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .map(|word| if keeps_case(word) { word.to_owned() } else { word.to_lowercase() })
        .map(|word| word.trim_matches('\'').replace('\'', ""))
        .filter(|word| !word.is_empty() && !matches!(word.as_str(), "the" | "a" | "an"))
        .collect();
    let text = synonym(&words.join(" "));
    // "co-prime" is "coprime"; numbers stay apart.
    if text.contains(|letter: char| letter.is_ascii_digit()) { text } else { text.replace(' ', "") }
}

/// "No such n", "there are no such integers": whatever is looked for does not exist.
fn is_no_such(text: &str) -> bool {
    let words: Vec<&str> = text.split(' ').collect();
    let rest = match words.as_slice() {
        ["there", "is" | "are" | "exists" | "exist", rest @ ..] => rest,
        rest => rest,
    };
    const SOUGHT: [&str; 24] = [
        "n",
        "m",
        "k",
        "x",
        "p",
        "number",
        "numbers",
        "integer",
        "integers",
        "function",
        "functions",
        "value",
        "values",
        "pair",
        "pairs",
        "triple",
        "triples",
        "polynomial",
        "polynomials",
        "prime",
        "primes",
        "set",
        "sequence",
        "sequences",
    ];
    matches!(rest, ["no", "such", what] | ["no", "such", what, "exist" | "exists"] if SOUGHT.contains(what))
}

/// Whether the case of a word's letters counts: those of a row as `AaBb` or `NaCl`, beside digits as in `CO2`, or of pairs as `Aa` and `AABB`.
pub(super) fn keeps_case(word: &str) -> bool {
    let letters: Vec<char> = word.chars().collect();
    let small = letters.iter().position(|letter| letter.is_lowercase());
    let mixed = small.is_some_and(|small| letters[small..].iter().any(|letter| letter.is_uppercase()));
    let paired = |pair: &[char]| matches!(pair, [a, b] if a.to_lowercase().eq(b.to_lowercase()));
    let numbered = letters.iter().any(char::is_ascii_digit);
    mixed || numbered || letters.chunks(2).all(paired)
}

fn synonym(text: &str) -> String {
    let canonical = match text {
        "dne" | "does not exist" | "doesnt exist" | "do not exist" | "not exist" | "limit does not exist" => {
            "does not exist"
        }
        "undefined" | "not defined" | "is undefined" => "undefined",
        "no solution" | "no solutions" | "there is no solution" | "there are no solutions" | "has no solution" => {
            "no solution"
        }
        "no real solution" | "no real solutions" => "no real solution",
        "infinitely many" | "infinitely many solutions" | "infinite solutions" | "infinite number of solutions" => {
            "infinitely many solutions"
        }
        "diverges" | "divergent" | "does not converge" | "series diverges" | "it diverges" => "diverges",
        "there are none" => "none",
        _ if is_no_such(text) => "none",
        "absolutely convergent" | "series converges absolutely" | "absolute convergence" => "converges absolutely",
        "conditionally convergent" | "series converges conditionally" => "converges conditionally",
        "converges" | "convergent" | "series converges" | "it converges" => "converges",
        "cannot be determined" | "can not be determined" | "not enough information" | "insufficient information" => {
            "cannot be determined"
        }
        other => other,
    };
    canonical.to_owned()
}

/// Text without the LaTeX commands that only style it.
pub(super) fn strip_markup(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::new();
    let mut at = 0;
    while at < chars.len() {
        if chars[at] == '\\' {
            let name: String = chars[at + 1..].iter().take_while(|c| c.is_ascii_alphabetic()).collect();
            at += 1 + name.len();
            if name.is_empty() {
                at += 1;
                out.push(' ');
            } else if !is_style(&name) {
                out.push_str(&format!(" {name} "));
            }
        } else {
            if !matches!(chars[at], '{' | '}' | '$') {
                out.push(chars[at]);
            }
            at += 1;
        }
    }
    out
}

/// Font commands whose content is words rather than variables.
pub(super) fn is_text_font(name: &str) -> bool {
    matches!(
        name,
        "text"
            | "textbf"
            | "textit"
            | "textrm"
            | "textsf"
            | "texttt"
            | "textnormal"
            | "textup"
            | "mbox"
            | "hbox"
            | "mathrm"
            | "emph"
    )
}

/// Whether a command sets what follows in bold, as vectors are.
pub(super) fn is_bold(name: &str) -> bool {
    matches!(name, "mathbf" | "boldsymbol" | "bm" | "bold" | "pmb")
}

/// Whether a command only styles what follows it.
pub(super) fn is_style(name: &str) -> bool {
    const STYLES: &str = "mathbf mathit mathsf mathtt mathnormal boldsymbol bm bold underline boxed fbox framebox \
                          displaystyle textstyle scriptstyle left right rm bf it operatorname quad qquad large Large \
                          LARGE huge Huge small ensuremath mathord mathop limits nolimits normalsize pmb overset \
                          mathstrut";
    is_text_font(name) || STYLES.split(' ').any(|style| style == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<(String, usize)> {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        read_number(&words).map(|(value, used)| (value.to_string(), used))
    }

    #[test]
    fn numbers_in_words_have_their_value() {
        for (text, value, used) in [
            ("five", "5", 1),
            ("twenty-one", "21", 1),
            ("one hundred and five", "105", 4),
            ("two million three hundred thousand", "2300000", 5),
            ("two thirds", "2/3", 2),
            ("one-half", "1/2", 1),
            ("two and a half", "5/2", 4),
            ("seven and eight", "7", 1),
            ("nineteen hundred", "1900", 2),
            ("a", "", 0),
        ] {
            let expected = (used > 0).then(|| (value.to_owned(), used));
            assert_eq!(number(text), expected, "{text}");
        }
        assert_eq!(number("three-sided"), None);
    }

    #[test]
    fn text_loses_its_markup_and_its_case() {
        assert_eq!(normal_text("\\textbf{East}"), normal_text("the east."));
        assert_eq!(normal_text("\\text{DNE}"), normal_text("does not exist"));
        assert_ne!(normal_text("even"), normal_text("neither even nor odd"));
    }
}
