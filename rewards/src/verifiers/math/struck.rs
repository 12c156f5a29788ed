//! What a reply strikes out, as `~~7~~` or `<del>7</del>`: it says that no more.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{clause::pattern, source::matching_brace};

static TAGGED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?is)<s>.*?</s>|<del>.*?</del>|<strike>.*?</strike>|~~[^\s~](?:[^~\n]*[^\s~])?~~|(?:\w[\x{335}-\x{338}])+",
    )
});
static COMMAND: LazyLock<Regex> = LazyLock::new(|| pattern(r"\\(?:sout|xout|st)\s*\{"));

/// No more commands are looked at, and no longer groups, in letters.
const MOST_COMMANDS: usize = 64;
const LONGEST_GROUP: usize = 4_096;

/// A text without what it strikes out; two ties in a formula strike nothing out.
pub(super) fn kept(text: &str) -> Cow<'_, str> {
    if !(text.contains("~~") || text.contains(['<', '\\', '\u{335}', '\u{336}', '\u{337}', '\u{338}'])) {
        return Cow::Borrowed(text);
    }
    let in_formula = |at: usize| !text[..at].matches('$').count().is_multiple_of(2);
    let tagged = TAGGED.find_iter(text).map(|found| found.range());
    let tagged = tagged.filter(|found| !(text[found.start..].starts_with('~') && in_formula(found.start)));
    let commands = COMMAND.find_iter(text).take(MOST_COMMANDS).map_while(|found| {
        let group: Vec<char> = text[found.end() - 1..].chars().take(LONGEST_GROUP).collect();
        let close = matching_brace(&group, 0)?;
        Some(found.start()..found.end() - 1 + group[..=close].iter().map(|letter| letter.len_utf8()).sum::<usize>())
    });
    let mut places: Vec<Range<usize>> = tagged.chain(commands).collect();
    if places.is_empty() {
        return Cow::Borrowed(text);
    }
    places.sort_by_key(|place| place.start);
    let (mut out, mut from) = (String::new(), 0);
    for place in places {
        out.push_str(text.get(from..place.start).unwrap_or_default());
        from = from.max(place.end);
    }
    out.push_str(&text[from..]);
    Cow::Owned(out)
}
