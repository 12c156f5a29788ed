//! Replies that are sent while they are made, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;

use super::answer::{Answers, Piece};
use super::counts::{Flight, Outcome};
use super::encode::Ready;
use super::fault::Fault;
use super::gate::Pass;
use super::reply::{Frame, Offset};

/// Where the pieces of a stream come from.
pub(super) enum Source {
    Answers(Box<Answers>),
    Whole(VecDeque<(usize, Piece)>, usize),
}

impl Source {
    /// Whole answers.
    pub(super) fn of((pieces, tokens): (Vec<(usize, Piece)>, usize)) -> Self {
        Self::Whole(pieces.into(), tokens)
    }

    async fn next(&mut self) -> Result<Option<(usize, Piece)>, Fault> {
        match self {
            Self::Answers(answers) => answers.next().await,
            Self::Whole(pieces, _) => Ok(pieces.pop_front()),
        }
    }

    fn tokens(&self) -> usize {
        match self {
            Self::Answers(answers) => answers.tokens,
            Self::Whole(_, tokens) => *tokens,
        }
    }
}

/// A reply that is sent while it is made.
pub(super) struct Stream {
    pieces: Source,
    /// Where the next token of each choice begins, once it is opened.
    offsets: Vec<Option<Offset>>,
    model: String,
    created: i64,
    ready: Arc<Ready>,
    waiting: VecDeque<String>,
    ended: bool,
    flight: Option<Flight>,
    pass: Pass,
}

impl Stream {
    /// A reply of these pieces. Its client leaves when it is dropped before its end, and then its room is free.
    pub(super) fn new(
        pieces: Source,
        ready: Arc<Ready>,
        model: &str,
        created: i64,
        flight: Option<Flight>,
        pass: Pass,
    ) -> Self {
        let offsets = (0..ready.choices()).map(|_| None).collect();
        let (model, waiting) = (model.to_owned(), VecDeque::new());
        Self { pieces, offsets, model, created, ready, waiting, ended: false, flight, pass }
    }

    /// The reply that sends it.
    pub(super) fn response(self) -> Response {
        let events = unfold(self, |mut stream| async move {
            let data = stream.next().await?;
            Some((Ok::<Event, Infallible>(Event::default().data(data)), stream))
        });
        Sse::new(events).keep_alive(KeepAlive::default()).into_response()
    }

    /// The next piece of the reply; its room is free when there is none any more.
    async fn next(&mut self) -> Option<String> {
        if self.waiting.is_empty() && !self.ended {
            match self.pieces.next().await {
                Ok(Some((choice, piece))) => self.chunks(choice, &piece),
                Ok(None) => self.end(Outcome::Answered, None),
                Err(fault) => self.end(Outcome::Failed, Some(fault)),
            }
        }
        self.waiting.pop_front()
    }

    fn chunks(&mut self, choice: usize, piece: &Piece) {
        let (ready, model) = (Arc::clone(&self.ready), self.model.clone());
        let frame = Frame { model: &model, created: self.created, ready: &ready };
        let mut offset = self.offsets[choice].unwrap_or_else(|| {
            self.waiting.extend(frame.opening(choice).map(|chunk| chunk.to_string()));
            frame.offset(choice)
        });
        self.waiting.push_back(frame.piece(choice, piece, &mut offset).to_string());
        self.offsets[choice] = Some(offset);
    }

    fn end(&mut self, outcome: Outcome, fault: Option<Fault>) {
        self.ended = true;
        if let Some(mut flight) = self.flight.take() {
            flight.ends(outcome);
        }
        // What is held is little from here on; a slow reader keeps nobody out.
        drop(self.pass.holds(0));
        match fault {
            Some(fault) => self.waiting.push_back(fault.body_of_reply().to_string()),
            None => {
                if self.ready.asked.usage {
                    let frame = Frame { model: &self.model, created: self.created, ready: &self.ready };
                    self.waiting.push_back(frame.usage_chunk(self.pieces.tokens()).to_string());
                }
                self.waiting.push_back("[DONE]".to_owned());
            }
        }
    }
}
