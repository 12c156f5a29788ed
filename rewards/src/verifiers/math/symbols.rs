//! One alphabet: Unicode mathematics rewritten as ASCII LaTeX before the lexer sees it.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

use super::hanzi;

/// Rewrites every symbol the engine knows as ASCII LaTeX, digits of other scripts as ASCII digits, and drops
/// invisible characters.
pub(super) fn to_ascii(text: &str) -> String {
    let text = &*hanzi::written(text);
    let single = without_double_escapes(text).replace("{, }", "{,}").replace(" {,}", "{,}");
    let chars: Vec<char> = single.chars().collect();
    let mut out = String::with_capacity(text.len() + 16);
    let mut at = 0;
    while at < chars.len() {
        let here = chars[at];
        if let Some(joint) = joint(&chars, at) {
            out.push_str(joint);
            at += 1;
        } else if let Some((end, index)) = raised_index(&chars, at) {
            out.push_str(&format!("\\sqrt[{index}]"));
            at = end;
        } else if let Some((end, script)) = script_run(&chars, at, superscript) {
            out.push_str(&format!("^{{{script}}}"));
            at = end;
        } else if let Some((end, script)) = script_run(&chars, at, subscript) {
            out.push_str(&format!("_{{{script}}}"));
            at = end;
        } else if let Some(end) = overlined_run(&chars, at) {
            let digits: String = chars[at..end].iter().filter(|c| c.is_ascii_digit()).collect();
            out.push_str(&format!("\\overline{{{digits}}}"));
            at = end;
        } else {
            push_symbol(&mut out, here);
            at += 1;
        }
    }
    out
}

/// A text whose commands were escaped twice, as `\\\\frac` in JSON inside JSON, with one backslash for each; a row's end
/// inside an environment stays.
fn without_double_escapes(text: &str) -> Cow<'_, str> {
    const TWICE: [&str; 12] = [
        "\\\\frac",
        "\\\\dfrac",
        "\\\\left",
        "\\\\right",
        "\\\\sqrt",
        "\\\\le ",
        "\\\\ge ",
        "\\\\text{",
        "\\\\pi",
        "\\\\infty",
        "\\\\cdot",
        "\\\\boxed",
    ];
    if text.contains("\\\\begin{") {
        return Cow::Owned(text.replace("\\\\", "\\"));
    }
    if text.contains("\\begin") || !TWICE.iter().any(|command| text.contains(command)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace("\\\\", "\\"))
}

/// A Chinese "or" or "and" between two values, which is written without spaces.
fn joint(chars: &[char], at: usize) -> Option<&'static str> {
    let joint = match chars[at] {
        '\u{6216}' => " or ",
        '\u{548c}' | '\u{4e0e}' | '\u{53ca}' | '\u{4e14}' => " and ",
        _ => return None,
    };
    let before = chars[..at].iter().rev().find(|c| **c != ' ')?;
    let after = chars[at + 1..].iter().find(|c| **c != ' ')?;
    let ends = before.is_ascii_alphanumeric() || matches!(before, ')' | ']' | '}' | '%' | '$' | '\u{b0}');
    let begins = after.is_ascii_alphanumeric()
        || matches!(after, '(' | '[' | '{' | '-' | '+' | '$' | '\\' | '\u{2212}' | '\u{221a}' | '\u{b1}');
    (ends && begins).then_some(joint)
}

fn script_run(chars: &[char], start: usize, read: fn(char) -> Option<char>) -> Option<(usize, String)> {
    let script: String = chars[start..].iter().map_while(|c| read(*c)).collect();
    (!script.is_empty()).then(|| (start + script.chars().count(), script))
}

/// A root sign with its index raised before it, where no base stands before the index.
fn raised_index(chars: &[char], start: usize) -> Option<(usize, String)> {
    let (end, index) = script_run(chars, start, superscript)?;
    let bare = start == 0 || !(chars[start - 1].is_alphanumeric() || chars[start - 1] == ')');
    (bare && chars.get(end) == Some(&'\u{221a}')).then_some((end + 1, index))
}

/// Digits that each carry a combining overline or dot: a repeating block.
fn overlined_run(chars: &[char], start: usize) -> Option<usize> {
    let mut at = start;
    while at + 1 < chars.len()
        && chars[at].is_ascii_digit()
        && matches!(chars[at + 1], '\u{305}' | '\u{304}' | '\u{307}')
    {
        at += 2;
    }
    (at > start).then_some(at)
}

fn push_symbol(out: &mut String, here: char) {
    if here.is_ascii() {
        out.push(if here == '\t' || here == '\r' { ' ' } else { here });
    } else if let Some(plain) = symbol(here).or_else(|| greek(here)) {
        out.push_str(plain);
    } else if let Some(digit) = foreign_digit(here) {
        out.push(digit);
    } else if is_invisible(here) {
    } else if here.is_whitespace() {
        out.push(' ');
    } else {
        for plain in std::iter::once(here).nfkc() {
            match symbol(plain).or_else(|| greek(plain)) {
                Some(text) => out.push_str(text),
                None => out.push(plain),
            }
        }
    }
}

fn is_invisible(here: char) -> bool {
    matches!(here, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}' | '\u{fe00}'..='\u{fe0f}')
        || here.is_control()
}

fn superscript(here: char) -> Option<char> {
    Some(match here {
        '\u{2070}' => '0',
        '\u{b9}' => '1',
        '\u{b2}' => '2',
        '\u{b3}' => '3',
        '\u{2074}'..='\u{2079}' => char::from(b'4' + (here as u32 - 0x2074) as u8),
        '\u{207a}' => '+',
        '\u{207b}' => '-',
        '\u{207d}' => '(',
        '\u{207e}' => ')',
        '\u{207f}' => 'n',
        '\u{2071}' => 'i',
        '\u{2e3}' => 'x',
        '\u{2b8}' => 'y',
        '\u{1d40}' => 'T',
        '\u{1d4f}' => 'k',
        '\u{1d50}' => 'm',
        _ => return None,
    })
}

fn subscript(here: char) -> Option<char> {
    Some(match here {
        '\u{2080}'..='\u{2089}' => char::from(b'0' + (here as u32 - 0x2080) as u8),
        '\u{208a}' => '+',
        '\u{208b}' => '-',
        '\u{2090}' => 'a',
        '\u{2091}' => 'e',
        '\u{2093}' => 'x',
        '\u{1d62}' => 'i',
        '\u{2c7c}' => 'j',
        '\u{2096}' => 'k',
        '\u{2098}' => 'm',
        '\u{2099}' => 'n',
        _ => return None,
    })
}

fn foreign_digit(here: char) -> Option<char> {
    const ZEROS: [u32; 8] = [0x660, 0x6f0, 0x966, 0x9e6, 0xa66, 0xae6, 0xe50, 0xff10];
    let code = here as u32;
    let zero = ZEROS.into_iter().find(|zero| (*zero..*zero + 10).contains(&code))?;
    char::from_digit(code - zero, 10)
}

fn symbol(here: char) -> Option<&'static str> {
    operator(here).or_else(|| relation(here)).or_else(|| fraction(here)).or_else(|| mark(here))
}

fn operator(here: char) -> Option<&'static str> {
    Some(match here {
        '\u{2212}' | '\u{2010}'..='\u{2015}' | '\u{fe63}' | '\u{ff0d}' | '\u{2796}' => "-",
        '\u{d7}' | '\u{2715}' | '\u{2716}' | '\u{2a2f}' => "\\times ",
        '\u{b7}' | '\u{22c5}' | '\u{2219}' | '\u{2022}' | '\u{2217}' | '\u{30fb}' => "\\cdot ",
        '\u{f7}' => "\\div ",
        '\u{2044}' | '\u{2215}' => "/",
        '\u{b1}' => "\\pm ",
        '\u{2213}' => "\\mp ",
        '\u{221a}' => "\\sqrt ",
        '\u{221b}' => "\\sqrt[3]",
        '\u{221c}' => "\\sqrt[4]",
        '\u{221e}' => "\\infty ",
        '\u{222a}' => "\\cup ",
        '\u{2229}' => "\\cap ",
        '\u{2216}' | '\u{29f5}' => "\\setminus ",
        '\u{2227}' => "\\land ",
        '\u{2228}' => "\\lor ",
        '\u{2211}' => "\\sum ",
        '\u{220f}' => "\\prod ",
        '\u{222b}' => "\\int ",
        '\u{2220}' => "\\angle ",
        '\u{25b3}' => "\\triangle ",
        '\u{2205}' | '\u{d8}' => "\\emptyset ",
        '\u{211d}' => "\\mathbb{R}",
        '\u{2124}' => "\\mathbb{Z}",
        '\u{2115}' => "\\mathbb{N}",
        '\u{211a}' => "\\mathbb{Q}",
        '\u{2102}' => "\\mathbb{C}",
        '\u{212f}' => "e",
        '\u{2148}' => "i",
        '\u{2147}' => "e",
        _ => return None,
    })
}

fn relation(here: char) -> Option<&'static str> {
    Some(match here {
        '\u{2264}' | '\u{2a7d}' | '\u{2266}' => "\\le ",
        '\u{2265}' | '\u{2a7e}' | '\u{2267}' => "\\ge ",
        '\u{2260}' => "\\ne ",
        '\u{2248}' | '\u{2243}' | '\u{2245}' => "\\approx ",
        '\u{2261}' => "\\equiv ",
        '\u{2208}' => "\\in ",
        '\u{2209}' => "\\notin ",
        '\u{2282}' | '\u{2286}' => "\\subseteq ",
        '\u{2223}' => "\\mid ",
        '\u{2225}' => "\\|",
        '\u{2192}' => "\\to ",
        '\u{21d2}' => "\\implies ",
        '\u{2236}' | '\u{a789}' => ":",
        _ => return None,
    })
}

fn fraction(here: char) -> Option<&'static str> {
    Some(match here {
        '\u{bc}' => "\\frac{1}{4}",
        '\u{bd}' => "\\frac{1}{2}",
        '\u{be}' => "\\frac{3}{4}",
        '\u{2150}' => "\\frac{1}{7}",
        '\u{2151}' => "\\frac{1}{9}",
        '\u{2152}' => "\\frac{1}{10}",
        '\u{2153}' => "\\frac{1}{3}",
        '\u{2154}' => "\\frac{2}{3}",
        '\u{2155}' => "\\frac{1}{5}",
        '\u{2156}' => "\\frac{2}{5}",
        '\u{2157}' => "\\frac{3}{5}",
        '\u{2158}' => "\\frac{4}{5}",
        '\u{2159}' => "\\frac{1}{6}",
        '\u{215a}' => "\\frac{5}{6}",
        '\u{215b}' => "\\frac{1}{8}",
        '\u{215c}' => "\\frac{3}{8}",
        '\u{215d}' => "\\frac{5}{8}",
        '\u{215e}' => "\\frac{7}{8}",
        '\u{2189}' => "0",
        _ => return None,
    })
}

fn mark(here: char) -> Option<&'static str> {
    Some(match here {
        '\u{b0}' | '\u{ba}' | '\u{2da}' => "^\\circ ",
        '\u{2103}' => "^\\circ C",
        '\u{2109}' => "^\\circ F",
        '\u{2032}' | '\u{2019}' | '\u{2018}' => "'",
        '\u{2033}' => "''",
        '\u{201c}' | '\u{201d}' | '\u{ab}' | '\u{bb}' => "\"",
        '\u{2026}' | '\u{22ef}' => "\\ldots ",
        '\u{27e8}' | '\u{2329}' | '\u{3008}' => "\\langle ",
        '\u{27e9}' | '\u{232a}' | '\u{3009}' => "\\rangle ",
        '\u{230a}' => "\\lfloor ",
        '\u{230b}' => "\\rfloor ",
        '\u{2308}' => "\\lceil ",
        '\u{2309}' => "\\rceil ",
        '\u{3002}' | '\u{ff61}' => ". ",
        '\u{3001}' => ", ",
        '\u{ff0c}' => ", ",
        '\u{ff1b}' => "; ",
        '\u{20ac}' => "\\currency{eur}",
        '\u{a3}' => "\\currency{gbp}",
        '\u{a5}' | '\u{ffe5}' => "\\currency{yen}",
        '\u{20b9}' => "\\currency{inr}",
        '\u{20a9}' => "\\currency{krw}",
        '\u{a2}' => "\\text{ cents}",
        '\u{ff04}' => "\\$",
        '\u{ff05}' | '\u{66a}' => "\\%",
        _ => return None,
    })
}

fn greek(here: char) -> Option<&'static str> {
    Some(match here {
        '\u{3b1}' => "\\alpha ",
        '\u{3b2}' => "\\beta ",
        '\u{3b3}' => "\\gamma ",
        '\u{3b4}' => "\\delta ",
        '\u{3b5}' | '\u{3f5}' => "\\epsilon ",
        '\u{3b6}' => "\\zeta ",
        '\u{3b7}' => "\\eta ",
        '\u{3b8}' | '\u{3d1}' => "\\theta ",
        '\u{3ba}' => "\\kappa ",
        '\u{3bb}' => "\\lambda ",
        '\u{3bc}' | '\u{b5}' => "\\mu ",
        '\u{3bd}' => "\\nu ",
        '\u{3be}' => "\\xi ",
        '\u{3c0}' => "\\pi ",
        '\u{3c1}' => "\\rho ",
        '\u{3c3}' => "\\sigma ",
        '\u{3c4}' => "\\tau ",
        '\u{3c6}' | '\u{3d5}' => "\\phi ",
        '\u{3c7}' => "\\chi ",
        '\u{3c8}' => "\\psi ",
        '\u{3c9}' => "\\omega ",
        '\u{393}' => "\\Gamma ",
        '\u{394}' | '\u{2206}' => "\\Delta ",
        '\u{398}' => "\\Theta ",
        '\u{39b}' => "\\Lambda ",
        '\u{3a0}' => "\\Pi ",
        '\u{3a3}' => "\\Sigma ",
        '\u{3a6}' => "\\Phi ",
        '\u{3a9}' | '\u{2126}' => "\\Omega ",
        _ => return None,
    })
}
