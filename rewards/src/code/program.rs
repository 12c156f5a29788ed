//! Where the program stands in an answer.
//!
//! The rule: the last closed fenced block (``` or ~~~) whose tag is one of the language's, in any case; if no block has
//! a tag of the language, the last closed block without a tag. What is not closed was cut and is no program. Blocks in
//! the thinking do not count.

/// The program of an answer in a language with these tags.
pub fn program<'a>(answer: &'a str, tags: &[String]) -> Option<&'a str> {
    let mut tagged = None;
    let mut plain = None;
    let mut open: Option<(char, usize, &str, usize)> = None;
    let mut at = 0;
    for line in answer.split_inclusive('\n') {
        let begin = at;
        at += line.len();
        let text = line.trim_end();
        let inner = text.trim_start_matches(' ');
        let mark = inner.chars().next().filter(|mark| matches!(mark, '`' | '~'));
        let count = mark.map_or(0, |mark| inner.chars().take_while(|letter| *letter == mark).count());
        let rest = inner[count..].trim();
        match (open, mark) {
            (None, Some(mark)) if count >= 3 && !(mark == '`' && rest.contains('`')) => {
                open = Some((mark, count, rest, at));
            }
            (Some((kind, least, tag, from)), Some(mark)) if mark == kind && count >= least && rest.is_empty() => {
                let block = &answer[from..begin];
                let word = tag.split([' ', '\t', '{', ',']).next().unwrap_or_default();
                if tags.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                    tagged = Some(block);
                } else if tag.is_empty() {
                    plain = Some(block);
                }
                open = None;
            }
            _ => {}
        }
    }
    tagged.or(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags() -> Vec<String> {
        ["python", "py"].map(str::to_owned).to_vec()
    }

    #[test]
    fn the_last_closed_block_of_the_language_counts() {
        for (answer, wanted) in [
            ("```python\na\n```", Some("a\n")),
            ("```Py\na\n```\ntext\n```python\nb\n```\n", Some("b\n")),
            ("```python\na\n```\n```\nout\n```", Some("a\n")),
            ("```python\na\n```\n```json\n{}\n```", Some("a\n")),
            ("```\na\n```", Some("a\n")),
            ("~~~python\n```\n~~~", Some("```\n")),
            ("````python\n```\nx\n```\n````", Some("```\nx\n```\n")),
            ("```python title=\"a\"\na\n```", Some("a\n")),
            ("  ```python\n  a\n  ```", Some("  a\n")),
            ("```python\na", None),
            ("```python\na\n```\n```python\nb", Some("a\n")),
            ("```c\na\n```", None),
            ("print(1)", None),
            ("`python`", None),
            ("", None),
        ] {
            assert_eq!(program(answer, &tags()), wanted, "{answer}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(answer in "(```|~~~|python|\n|\\PC){0,40}") {
            let found = program(&answer, &tags());
            prop_assert!(found.is_none_or(|block| answer.contains(block)));
        }
    }
}
