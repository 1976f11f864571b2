//! Copies a request and its answer while they pass. It never waits and never fails the request: what does
//! not fit ends the copy, and gives its memory back at once.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};

use super::{
    budget::{Body, Buffer, Full, Pool, header_bytes},
    outcome::{Dropped, Outcome},
    received::{Head, Received, declared_length, is_event_stream},
    sampling::Manner,
};
use crate::upstream::circuit::Ticket;

/// What shadowing does with one request.
pub(crate) enum Shadowing {
    /// It is being copied.
    Copying(Box<Tee>),
    /// It is not, or no longer.
    Settled(Outcome),
}

/// The copy of a request and its answer, as far as they have passed.
pub(crate) struct Tee {
    manner: Manner,
    /// Of the other side's rest.
    ticket: Ticket,
    memory: Arc<Pool>,
    limit: usize,
    request: Option<(RequestHeader, Buffer)>,
    answer: Option<(Head, Buffer)>,
    /// Whether the request's body has passed to its end.
    asked: bool,
}

/// A request and the answer that was served, both to their end.
pub(crate) struct Copied {
    pub(crate) manner: Manner,
    /// Of the other side's rest.
    pub(crate) ticket: Ticket,
    pub(crate) request: RequestHeader,
    pub(crate) body: Body,
    pub(crate) served: Received,
}

impl Tee {
    pub(super) fn new(manner: Manner, ticket: Ticket, memory: &Arc<Pool>, limit: usize) -> Self {
        Self { manner, ticket, memory: memory.clone(), limit, request: None, answer: None, asked: false }
    }

    fn request_head(&mut self, head: &RequestHeader) -> Result<(), Dropped> {
        let full = |full| dropped(full, Dropped::RequestTooLarge);
        let mut body = Buffer::new(&self.memory, self.limit, header_bytes(&head.headers)).map_err(full)?;
        if let Some(length) = declared_length(&head.headers) {
            body.expect(length).map_err(full)?;
        }
        self.request = Some((head.clone(), body));
        Ok(())
    }

    fn request_body(&mut self, chunk: &[u8]) -> Result<(), Dropped> {
        // A body comes after its head.
        let Some((_, body)) = &mut self.request else { return Err(Dropped::Failed) };
        body.append(chunk).map_err(|full| dropped(full, Dropped::RequestTooLarge))
    }

    fn answer_head(&mut self, answer: &ResponseHeader, latency: Duration, without_body: bool) -> Result<(), Dropped> {
        let full = |full| dropped(full, Dropped::ServedTooLarge);
        if is_event_stream(&answer.headers) {
            return Err(Dropped::Stream);
        }
        let mut body = Buffer::new(&self.memory, self.limit, header_bytes(&answer.headers)).map_err(full)?;
        if let Some(length) = declared_length(&answer.headers).filter(|_| !without_body) {
            body.expect(length).map_err(full)?;
        }
        let head = Head { status: answer.status, headers: answer.headers.clone(), latency };
        self.answer = Some((head, body));
        Ok(())
    }

    fn answer_body(&mut self, chunk: &[u8]) -> Result<(), Dropped> {
        let Some((_, body)) = &mut self.answer else { return Err(Dropped::Failed) };
        body.append(chunk).map_err(|full| dropped(full, Dropped::ServedTooLarge))
    }

    /// What was copied, if it is whole.
    fn finish(self) -> Result<Copied, Dropped> {
        let ((request, body), (head, answer)) = self.request.zip(self.answer).ok_or(Dropped::NotServed)?;
        if !self.asked {
            return Err(Dropped::RequestUnread);
        }
        let served = Received { head, body: answer.finish() };
        Ok(Copied { manner: self.manner, ticket: self.ticket, request, body: body.finish(), served })
    }
}

impl Shadowing {
    /// Another attempt to serve the request begins, from the start of its body.
    pub(crate) fn attempt_begins(&mut self) {
        if let Self::Copying(tee) = self {
            tee.request = None;
            tee.answer = None;
            tee.asked = false;
        }
    }

    /// Takes in the request's head as its upstream gets it. Of a body that is `empty` nothing more may come.
    pub(crate) fn request_head(&mut self, head: &RequestHeader, empty: bool) {
        self.copy(|tee| {
            tee.asked = empty;
            tee.request_head(head)
        });
    }

    /// Takes in a part of the request's body.
    pub(crate) fn request_body(&mut self, chunk: Option<&Bytes>, end: bool) {
        self.copy(|tee| {
            tee.asked = end;
            chunk.map_or(Ok(()), |chunk| tee.request_body(chunk))
        });
    }

    /// Takes in the answer's header as its upstream sent it.
    pub(crate) fn answer_head(&mut self, request: &RequestHeader, answer: &ResponseHeader, latency: Option<Duration>) {
        if !answer.status.is_informational() {
            let without_body = request.method == http::Method::HEAD || answer.status == StatusCode::NOT_MODIFIED;
            self.copy(|tee| tee.answer_head(answer, latency.unwrap_or_default(), without_body));
        }
    }

    /// Takes in a part of the answer's body.
    pub(crate) fn answer_body(&mut self, chunk: Option<&Bytes>) {
        if let Some(chunk) = chunk {
            self.copy(|tee| tee.answer_body(chunk));
        }
    }

    /// What was copied, or what else becomes of the request.
    pub(super) fn finish(self) -> Result<Copied, Outcome> {
        match self {
            Self::Settled(outcome) => Err(outcome),
            Self::Copying(tee) => tee.finish().map_err(Outcome::Dropped),
        }
    }

    fn copy(&mut self, take_in: impl FnOnce(&mut Tee) -> Result<(), Dropped>) {
        if let Self::Copying(tee) = self
            && let Err(dropped) = take_in(tee)
        {
            *self = Self::Settled(Outcome::Dropped(dropped));
        }
    }
}

fn dropped(full: Full, too_large: Dropped) -> Dropped {
    match full {
        Full::Limit => too_large,
        Full::Budget => Dropped::Memory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1_000;

    fn copying(memory: &Arc<Pool>) -> Shadowing {
        Shadowing::Copying(Box::new(Tee::new(Manner::Plain, Ticket::VOID, memory, LIMIT)))
    }

    fn request() -> RequestHeader {
        RequestHeader::build("POST", b"/a", None).expect("a good request")
    }

    fn answer(headers: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut answer = ResponseHeader::build(200, None).expect("a good answer");
        for (name, value) in headers {
            answer.insert_header(*name, *value).expect("a good header");
        }
        answer
    }

    fn pass(shadowing: &mut Shadowing, body: &'static [u8], answered: &'static [u8]) {
        shadowing.request_head(&request(), false);
        shadowing.request_body(Some(&Bytes::from_static(body)), true);
        shadowing.answer_head(&request(), &answer(&[]), Some(Duration::from_millis(3)));
        shadowing.answer_body(Some(&Bytes::from_static(answered)));
        shadowing.answer_body(None);
    }

    #[test]
    fn another_attempt_starts_from_nothing() {
        let memory = Pool::new(100_000);
        let mut shadowing = copying(&memory);
        shadowing.attempt_begins();
        pass(&mut shadowing, b"0123456789", b"first");
        let held = memory.taken();
        shadowing.attempt_begins();
        assert_eq!(memory.taken(), 0);
        pass(&mut shadowing, b"0123456789", b"later");
        assert_eq!(memory.taken(), held);
        let copied = shadowing.finish().expect("it is whole");
        assert_eq!(
            (copied.body.bytes().as_ref(), copied.served.body.bytes().as_ref()),
            (&b"0123456789"[..], &b"later"[..])
        );
        drop(copied);
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn what_does_not_fit_ends_the_copy_and_frees_its_memory() {
        let memory = Pool::new(100_000);
        let outcome = |shadowing: Shadowing| shadowing.finish().err();
        let long = Bytes::from_static(&[0; LIMIT + 1]);

        let mut shadowing = copying(&memory);
        shadowing.request_head(&request(), false);
        shadowing.request_body(Some(&long), false);
        assert_eq!((outcome(shadowing), memory.taken()), (Some(Outcome::Dropped(Dropped::RequestTooLarge)), 0));

        let mut shadowing = copying(&memory);
        pass(&mut shadowing, b"", b"");
        shadowing.answer_body(Some(&long));
        assert!(matches!(shadowing, Shadowing::Settled(_)) && memory.taken() == 0);
        assert_eq!(outcome(shadowing), Some(Outcome::Dropped(Dropped::ServedTooLarge)));

        for (head, why) in [
            (answer(&[("content-length", "1001")]), Dropped::ServedTooLarge),
            (answer(&[("content-type", "Text/Event-Stream; charset=utf-8")]), Dropped::Stream),
        ] {
            let mut shadowing = copying(&memory);
            shadowing.request_head(&request(), false);
            shadowing.answer_head(&request(), &head, None);
            assert_eq!((outcome(shadowing), memory.taken()), (Some(Outcome::Dropped(why)), 0));
        }

        let mut shadowing = copying(&Pool::new(10));
        pass(&mut shadowing, b"more than ten", b"");
        assert_eq!(outcome(shadowing), Some(Outcome::Dropped(Dropped::Memory)));
    }

    #[test]
    fn an_answer_to_head_may_declare_what_it_does_not_send() {
        let mut head = request();
        head.set_method(http::Method::HEAD);
        let mut shadowing = copying(&Pool::new(100_000));
        shadowing.request_head(&head, true);
        shadowing.answer_head(&head, &answer(&[("content-length", "1000000")]), None);
        assert!(shadowing.finish().is_ok());
    }

    #[test]
    fn an_answer_to_half_a_request_is_not_compared() {
        let mut shadowing = copying(&Pool::new(100_000));
        shadowing.request_head(&request(), false);
        shadowing.request_body(Some(&Bytes::from_static(b"half")), false);
        shadowing.answer_head(&request(), &answer(&[]), None);
        assert_eq!(shadowing.finish().err(), Some(Outcome::Dropped(Dropped::RequestUnread)));
    }

    #[test]
    fn without_an_answer_there_is_nothing_to_compare() {
        let mut shadowing = copying(&Pool::new(100_000));
        shadowing.request_head(&request(), false);
        let early = ResponseHeader::build(103, None).expect("a good answer");
        shadowing.answer_head(&request(), &early, None);
        assert_eq!(shadowing.finish().err(), Some(Outcome::Dropped(Dropped::NotServed)));
    }
}
