//! Streamed replies: their pieces join to the reply that is not streamed, and nothing is told too early.

use serde_json::{Value, json};

use crate::choices;
use crate::client::{Server, question, with};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// The texts and the ends of choices, from pieces.
fn joined(pieces: &[Value], count: usize) -> Vec<(String, Value)> {
    let mut answers = vec![(String::new(), Value::Null); count];
    for choice in pieces.iter().flat_map(|piece| piece["choices"].as_array().expect("choices")) {
        let answer = &mut answers[choice["index"].as_u64().expect("a number") as usize];
        assert!(answer.1.is_null(), "nothing follows the end: {choice}");
        let text = choice["delta"]["content"].as_str().or(choice["text"].as_str());
        answer.0.push_str(text.unwrap_or_default());
        answer.1 = choice["finish_reason"].clone();
    }
    answers
}

fn whole(choices: &Value) -> Vec<(String, Value)> {
    let list = choices.as_array().expect("choices").iter();
    let text = |one: &Value| one["message"]["content"].as_str().or(one["text"].as_str()).expect("a text").to_owned();
    list.map(|one| (text(one), one["finish_reason"].clone())).collect()
}

#[test]
fn pieces_join_to_the_whole_reply() {
    let server = Server::start(&[]);
    // Random tokens: broken characters, special tokens, and now and then the end.
    for (seed, temperature) in [(1, 2.0), (2, 1.0), (3, 0.0)] {
        let fields = json!({"n": 3, "seed": seed, "temperature": temperature, "max_tokens": 60, "logprobs": true});
        let ask = with(question("Name a colour."), fields);
        let reply = server.chat(&ask);
        let pieces = server.stream(CHAT, &with(ask, json!({"stream_options": {"include_usage": true}})));
        assert_eq!(joined(&pieces, 3), whole(choices(&reply)));
        let (usage, pieces) = pieces.split_last().expect("pieces");
        assert_eq!((&usage["usage"], &usage["choices"]), (&reply.body["usage"], &json!([])));
        assert_eq!(pieces[0]["choices"][0]["delta"], json!({"role": "assistant", "content": ""}));
        assert!(pieces.iter().all(|piece| piece["object"] == "chat.completion.chunk" && piece["usage"].is_null()));
        let mut entries = vec![Vec::new(); 3];
        for choice in pieces.iter().flat_map(|piece| piece["choices"].as_array().expect("choices")) {
            let of = &mut entries[choice["index"].as_u64().expect("a number") as usize];
            of.extend(choice["logprobs"]["content"].as_array().cloned().unwrap_or_default());
        }
        for (index, entries) in entries.into_iter().enumerate() {
            assert_eq!(choices(&reply)[index]["logprobs"]["content"], Value::Array(entries));
        }
        let ask =
            json!({"prompt": ["What is", "Count"], "n": 2, "seed": seed, "temperature": temperature, "echo": true});
        let reply = server.complete(&ask);
        assert_eq!(joined(&server.stream(COMPLETIONS, &ask), 4), whole(choices(&reply)));
    }
}

/// Wherever a stop text lies in an answer, the answer ends before it, streamed or not, and none of it is told.
#[test]
fn stop_texts_end_answers_and_are_not_told() {
    let server = Server::start(&[]);
    let ask = |fields: Value| {
        let usual = json!({"prompt": "What is", "temperature": 1.5, "seed": 11, "max_tokens": 60});
        with(usual, fields)
    };
    let free = whole(choices(&server.complete(&ask(json!({})))))[0].0.clone();
    let letters: Vec<(usize, char)> =
        free.char_indices().filter(|(_, letter)| *letter != char::REPLACEMENT_CHARACTER).collect();
    let mut stopped = 0;
    for window in letters.windows(3).step_by(5) {
        let (from, to) = (window[0].0, window[2].0 + window[2].1.len_utf8());
        let stop = &free[from..to];
        if stop.contains(char::REPLACEMENT_CHARACTER) {
            continue;
        }
        let expected = &free[..free.find(stop).expect("it is there")];
        let fields = ask(json!({"stop": ["never in there", stop]}));
        let reply = server.complete(&fields);
        assert_eq!(whole(choices(&reply)), [(expected.to_owned(), json!("stop"))], "{stop:?}");
        let pieces = server.stream(COMPLETIONS, &fields);
        assert_eq!(joined(&pieces, 1), [(expected.to_owned(), json!("stop"))], "{stop:?}");
        stopped += 1;
    }
    assert!(stopped > 2, "{free:?}");
}

#[test]
fn what_must_have_a_form_is_streamed_when_it_has_it() {
    let server = Server::start(&[]);
    let pieces = server.stream(CHAT, &crate::number_or_not());
    assert_eq!(joined(&pieces, 6), vec![("7".to_owned(), json!("length")); 6]);
    let never = with(crate::number_or_not(), json!({"response_format": {"type": "json_object"}, "stream": true}));
    assert_eq!(server.chat(&never).status, 422, "before anything is streamed");
    let wrong = with(question("hi"), json!({"stream": true, "temperature": 9}));
    assert_eq!(server.chat(&wrong).status, 400);
}
