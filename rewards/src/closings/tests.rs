//! Closings in every language of the table.

use proptest::prelude::*;

use super::*;

/// What the last statement says, if it denies nothing.
fn said(text: &str) -> Option<&str> {
    Closings::built_in().last(text).map(|closing| text[closing.answer].trim())
}

/// Statements of the answer 12.
const CLOSED: [&str; 84] = [
    "The answer is 12.",
    "So the final answer is: 12",
    "Answer: 12",
    "**Answer:** 12",
    "Answer = 12",
    "Answer - 12",
    "### Final Answer\n12",
    "[Answer] 12",
    "The answer to the second question is 12.",
    "The answer is therefore 12",
    "12 is the correct answer.",
    "Hence 12 is the answer.",
    "The answer is not 5 but 12.",
    "Answer (in cm): 12",
    "答案是12。",
    "答案：12",
    "【答案】12",
    "正确答案应该是12",
    "故选12",
    "答：12",
    "答案不是5，而是12。",
    "12是正确答案",
    "最终答案为 12",
    "正確答案是12",
    "答えは12です。",
    "答えは12",
    "正解は12です。",
    "【正解】12",
    "12が正解です。",
    "答えは5ではなく12です。",
    "したがって、答えは12となります。",
    "よって、12が正しい答えです。",
    "정답은 12입니다.",
    "정답: 12",
    "답은 12이다.",
    "[정답] 12",
    "따라서 12가 정답입니다.",
    "정답은 5가 아니라 12입니다.",
    "최종 답은 12 입니다.",
    "La réponse est 12.",
    "Réponse : 12",
    "La bonne réponse est donc 12.",
    "La réponse finale est la 12",
    "12 est la bonne réponse.",
    "La réponse n'est pas 5 mais 12.",
    "Réponse correcte : 12",
    "Die Antwort ist 12.",
    "Antwort: 12",
    "Die richtige Antwort lautet also 12.",
    "12 ist die richtige Antwort.",
    "Die Antwort ist nicht 5, sondern 12.",
    "La respuesta es 12.",
    "Respuesta: 12",
    "La respuesta correcta es la 12.",
    "12 es la respuesta correcta.",
    "La respuesta no es 5 sino 12.",
    "Ответ: 12",
    "Правильный ответ — 12.",
    "Ответ - 12",
    "Ответом является 12",
    "12 — правильный ответ.",
    "Ответ не 5, а 12.",
    "الإجابة هي 12",
    "الجواب: 12",
    "والإجابة الصحيحة هي 12.",
    "الجواب هو 12",
    "12 هي الإجابة الصحيحة",
    "الإجابة ليست 5 بل 12",
    "उत्तर: 12",
    "सही उत्तर 12 है।",
    "उत्तर है 12",
    "12 सही उत्तर है।",
    "सही जवाब 12 है",
    "A resposta é 12.",
    "Resposta: 12",
    "Resposta correta: 12",
    "12 é a resposta correta.",
    "A resposta não é 5, mas sim 12.",
    "Gabarito: 12",
    "La risposta è 12.",
    "Risposta: 12",
    "La risposta corretta è quindi la 12.",
    "12 è la risposta corretta.",
    "La risposta non è 5 ma 12.",
];

#[test]
fn every_language_closes() {
    let mut missed = Vec::new();
    for text in CLOSED {
        if said(text) != Some("12") {
            missed.push(format!("{text}: {:?} {:?}", said(text), Closings::built_in().all(text)));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn what_is_denied_supposed_or_asked_is_no_answer() {
    let mut missed = Vec::new();
    for text in [
        "The answer is not 12.",
        "I don't think the answer is 12.",
        "If the answer is 12 then no.",
        "Is it true? The answer is 12?",
        "12 is not the answer.",
        "Neither 5 nor 12 is the answer.",
        "答案不是12。",
        "如果答案是12",
        "12不是正确答案",
        "12不正确",
        "答えは12ではありません。",
        "答えは12ではない",
        "12は正解ではありません。",
        "12が正解ではない",
        "もし答えは12なら",
        "정답은 12가 아닙니다.",
        "정답은 12이 아니다",
        "12가 정답이 아닙니다.",
        "12는 정답이 아니다.",
        "La réponse n'est pas 12.",
        "La réponse n’est pas 12",
        "12 n'est pas la bonne réponse.",
        "Die Antwort ist nicht 12.",
        "12 ist nicht die richtige Antwort.",
        "La respuesta no es 12.",
        "12 no es la respuesta correcta.",
        "Ответ не 12.",
        "12 — неправильный ответ",
        "الإجابة ليست 12",
        "الجواب ليس 12",
        "उत्तर 12 नहीं है।",
        "सही उत्तर 12 नहीं है।",
        "12 सही उत्तर नहीं है।",
        "A resposta não é 12.",
        "12 não é a resposta correta.",
        "La risposta non è 12.",
        "12 non è la risposta corretta.",
        "The answer keeps growing.",
        "Answerable: 12",
    ] {
        if said(text).is_some() {
            missed.push(format!("{text}: {:?} {:?}", said(text), Closings::built_in().all(text)));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn the_last_statement_counts() {
    for text in [
        "Answer: 5\nNo. Answer: 12",
        "정답은 5입니다. 아니, 정답은 12입니다.",
        "答えは5です。いや、12が正解です。",
        "The answer is 12. The answer is not 5.",
    ] {
        assert_eq!(said(text), Some("12"), "{text}");
    }
}

#[test]
fn a_user_adds_a_language() {
    let turkish = Language {
        name: "turkish".into(),
        answer: vec!["((doğru |)cevap)".into()],
        behind: vec!["doğru cevaptır".into()],
        not_ends: vec!["değil(dir|)".into()],
        changes: vec!["# çarpı".into(), "en az".into()],
        source: vec!["sanırım".into()],
        ..Language::default()
    };
    let closings = Closings::with(&[turkish]).unwrap();
    for (text, wanted) in
        [("Doğru cevap: 12", Some("12")), ("12 doğru cevaptır", Some("12")), ("Cevap: 12 değildir", None)]
    {
        assert_eq!(closings.last(text).map(|closing| text[closing.answer].trim()), wanted, "{text}");
        assert_eq!(said(text), None, "{text}");
    }
    let around = closings.around();
    assert!(
        around.changes("3 çarpı ")
            && around.changes("en az ")
            && !around.changes("x çarpı ")
            && around.is_others("sanırım Ali, ")
    );
    for phrase in ["(a", "a)", "", "  "] {
        let broken = Language { name: "x".into(), before: vec![phrase.into()], ..Language::default() };
        let error = Closings::with(&[broken]).unwrap_err();
        assert!(error.contains("closings of `x`") && error.contains(&format!("`{phrase}`")), "{error}");
    }
}

#[test]
fn words_around_a_value_are_known_in_every_language() {
    let around = Closings::built_in().around();
    for before in [
        "at least ",
        "half of the ",
        "a loss of $",
        "a maximum of ",
        "up to ",
        "undefined, ",
        "至少",
        "零下",
        "最大で",
        "영하 ",
        "une perte de ",
        "ein Verlust von ",
        "una pérdida de ",
        "uma perda de ",
        "una perdita di ",
        "убыток в ",
        "خسارة ",
        "अधिकतम ",
        "It is 3 or ",
        "it approaches ",
    ] {
        assert!(around.changes(before), "{before}");
    }
    for before in [
        "the answer is ",
        "the maximum is ",
        "As $n \\to \\infty$ it approaches ",
        "答案是",
        "la perte est ",
        "a total of ",
    ] {
        assert!(!around.changes(before), "{before}");
    }
}

#[test]
fn words_behind_a_value_are_known_in_every_language() {
    let around = Closings::built_in().around();
    for behind in [
        " degrees below zero",
        " (rounded)",
        ", rounded up.",
        " when $x > 0$",
        " if $x = 1$",
        " for $n \\ge 2$",
        ", provided that it rains",
        " or 8",
        " more or less",
        "（四舍五入）",
        "万",
        " falls $x > 0$",
        " si $x > 0$",
        " при $x > 0$",
        " sous zéro",
        " ($x > 0$)",
    ] {
        assert!(around.changes_behind(behind), "{behind}");
    }
    for behind in [
        " dollars for each of 3 days",
        " when she sells 9",
        " if he works",
        " apples",
        ", since $x > 0$",
        " rounded to the nearest tenth",
    ] {
        assert!(!around.changes_behind(behind), "{behind}");
    }
}

#[test]
fn a_source_is_somebody_and_no_formula() {
    let around = Closings::built_in().around();
    for lead in [
        "According to Bob, ",
        "According to Dr. Smith, ",
        "As Bob puts it, ",
        "Selon Bob, ",
        "Laut Bob ist ",
        "Según Bob, ",
        "Segundo Bob, ",
        "Secondo Bob, ",
        "По мнению Ивана, ",
        "根据小明的说法，",
        "太郎によると、",
        "철수에 따르면 ",
        "राम के अनुसार ",
        "A common mistake is to answer ",
        "One might say ",
    ] {
        assert!(around.is_others(lead), "{lead}");
    }
    for lead in [
        "According to the formula, ",
        "According to Vieta's formulas, ",
        "According to our calculation, ",
        "Selon le théorème de Pythagore, ",
        "Según el problema, ",
        "По условию задачи ",
        "根据题意，",
        "公式によると、",
        "공식에 따르면 ",
        "According to Bob it is 8, but ",
        "A common mistake is 8, so ",
    ] {
        assert!(!around.is_others(lead), "{lead}");
    }
    assert!(
        around.is_whose("Bob's ")
            && around.is_whose("So his ")
            && !around.is_whose("The problem's ")
            && !around.is_whose("The ")
    );
}

#[test]
fn a_long_reply_is_read_in_linear_time() {
    for unit in ["answer ", "the answer to ", "答案", "no, ", "B is the answer ", "정답은 ", "[", "\n# answer "] {
        let text = unit.repeat(64 * 1024 / unit.len());
        let found = Closings::built_in().all(&text);
        assert!(found.len() <= text.len());
    }
}

proptest! {
    #[test]
    fn ranges_lie_in_the_text(text in "(\\PC|[a-z ,.\n]|answer|is|not|but| the |答案|是|不|정답|은|が正解|ではなく|入니다|Ответ|:){0,30}") {
        let closings = Closings::built_in();
        for closing in closings.all(&text).into_iter().chain(closings.options(&text)) {
            prop_assert!(!text[closing.answer.clone()].trim().is_empty());
            prop_assert!(text.get(closing.phrase.clone()).is_some_and(|phrase| !phrase.is_empty()));
        }
        let _ = (closings.verdict(&text), closings.joint(&text), closings.denies(&text));
    }
}
