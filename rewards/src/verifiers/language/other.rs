//! Languages of other scripts, among whose words Latin names and terms may stand.

use super::finding::Finding;
use super::script::Script;
use super::words::Word;

/// A text that should be in another script: everyday Latin words are a switch, names and technical terms are not.
pub(super) fn beside_latin(words: &[Word<'_>], foreign: &[&Word<'_>], own: bool, expected: &str) -> Finding {
    let latin = words.iter().filter(|word| word.script == Script::Latin);
    // Nothing of the own script, and small words among others that are no capitals: a sentence, and no name.
    let sentence = !own
        && latin.clone().any(|word| word.known.small != 0 && word.letters() > 1)
        && latin.clone().any(|word| word.lower && word.letters() > 2 && !["and", "the"].contains(&word.text));
    if let (true, Some(first), None) = (sentence, latin.clone().next(), foreign.first()) {
        return Finding::wrong(first.text);
    }
    let stray = || words.iter().enumerate().find(|(at, _)| is_everyday(words, *at)).map(|(_, word)| word);
    let Some(first) = foreign.first().copied().or_else(stray) else { return Finding::default() };
    match own {
        true => Finding::mixed(first.text),
        // In Japanese, Han letters alone may still be another language: that is told elsewhere.
        false if expected == "ja" && first.script == Script::Han => Finding::default(),
        false => Finding::wrong(first.text),
    }
}

/// Whether a Latin word is an everyday one, and no part of a name.
fn is_everyday(words: &[Word<'_>], at: usize) -> bool {
    let word = &words[at];
    // No term has letters with accents.
    if word.script == Script::Latin && word.lower && !word.text.is_ascii() && word.letters() > 2 {
        return true;
    }
    if names_syntax(words, at) {
        return false;
    }
    let common = word.known.small != 0 || word.known.joins != 0 || word.known.everyday;
    // These two stand inside names and terms.
    if !common || word.text.len() < 2 || word.text.eq_ignore_ascii_case("of") || word.text.eq_ignore_ascii_case("in") {
        return false;
    }
    let latin = |at: Option<usize>| at.and_then(|at| words.get(at)).filter(|word| word.script == Script::Latin);
    let capital = |at: Option<usize>| latin(at).is_some_and(|word| !word.lower);
    let (before, after) = (at.checked_sub(1), at.checked_add(1));
    if word.lower {
        return !(capital(before) && capital(after));
    }
    // A capital one is a name's, unless a lower everyday word follows.
    let shout = word.text.chars().all(char::is_uppercase);
    let follows = latin(after).is_some_and(|next| next.lower && (next.known.small != 0 || next.known.everyday));
    !shout && follows
}

/// Whether a word is a keyword that the next word calls one, as in `for 循环`.
fn names_syntax(words: &[Word<'_>], at: usize) -> bool {
    const KINDS: [&str; 15] = [
        "循环",
        "语句",
        "函数",
        "关键字",
        "变量",
        "方法",
        "命令",
        "按钮",
        "键",
        "指令",
        "标签",
        "迴圈",
        "函數",
        "文",
        "ループ",
    ];
    words.get(at + 1).is_some_and(|next| KINDS.iter().any(|kind| next.text.starts_with(kind)))
}

/// Chinese and Japanese share their Han letters: in Japanese, letters that only Chinese has give a sentence away.
pub(super) fn without_kana(words: &[Word<'_>]) -> Finding {
    // Letters of simplified Chinese, and small words of Chinese.
    const CHINESE_ONLY: &str = "的是了们这个么吗呢吧没她你为应该两图车从还结给过对说时间问边长发见话题请谁总线红绿蓝鸟鱼马东门\
                                开关样种颜几无钟那哪它很把被";
    let kana = words.iter().any(|word| word.script == Script::Kana);
    let chinese = words.chunk_by(|one, other| one.sentence == other.sentence).find_map(|sentence| {
        let telling = |word: &&Word<'_>| {
            word.script == Script::Han && word.text.chars().filter(|letter| CHINESE_ONLY.contains(*letter)).count() >= 2
        };
        let japanese = sentence.iter().any(|word| word.script == Script::Kana);
        sentence.iter().find(telling).filter(|_| !japanese)
    });
    match chinese {
        Some(word) if kana => Finding::mixed(word.text),
        Some(word) => Finding::wrong(word.text),
        None => Finding::default(),
    }
}
