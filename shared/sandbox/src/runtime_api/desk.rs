//! Where an invocation lies between the host that calls and the runtime that works: what may be done when, without
//! a socket or a clock.
//!
//! ```text
//! starting ──next──► idle ──offer──► offered ──next──► running ──response, error──► answering ──► idle
//!     └──init error──► over              └────────────── withdrawn by the host ──────────┘
//! ```
//!
//! Whatever comes out of turn is refused and changes nothing: a runtime can harm its own calls only, and its own
//! calls only as much as by answering nonsense.

use std::collections::VecDeque;

use bytes::Bytes;

/// Ids of earlier invocations that are remembered, to tell one that is too late from one that never was.
const REMEMBERED: usize = 64;

/// One invocation as the runtime is given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) id: String,
    pub(super) event: Bytes,
    /// Milliseconds since 1970.
    pub(super) deadline_ms: u128,
}

/// What the runtime says of an invocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The body of its response.
    Response(Bytes),
    /// The text of its error.
    Error(String),
    /// Its response was larger than a result may be; the text says so. Clients take that for a reason to end.
    TooLarge(String),
}

/// What a runtime that asks for the next invocation gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Invocation(Offer),
    /// There is none yet.
    Wait,
    /// It has not answered the one that it has.
    Refused(Refusal),
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No invocation ever had this id.
    UnknownId,
    /// The invocation of this id is over, by its answer or its deadline.
    Late,
    /// Not now: there is nothing to answer, or it is being answered.
    OutOfTurn,
}

/// What became of starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readiness {
    Starting,
    Ready,
    /// The runtime says why not.
    Failed(String),
}

#[derive(Debug)]
enum Phase {
    Starting,
    Idle,
    Offered(Offer),
    Running { id: String },
    Answering { id: String },
    Answered { id: String, reply: Reply },
    Over { error: String },
}

/// The books of one runtime.
#[derive(Debug)]
pub(super) struct Desk {
    phase: Phase,
    earlier: VecDeque<String>,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self { phase: Phase::Starting, earlier: VecDeque::new() }
    }

    pub(super) fn readiness(&self) -> Readiness {
        match &self.phase {
            Phase::Starting => Readiness::Starting,
            Phase::Over { error } => Readiness::Failed(error.clone()),
            _ => Readiness::Ready,
        }
    }

    /// The runtime asks for an invocation; the first time, that says that it is ready.
    pub(super) fn next(&mut self) -> Next {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Offered(offer) => {
                self.phase = Phase::Running { id: offer.id.clone() };
                Next::Invocation(offer)
            }
            Phase::Starting | Phase::Idle => Next::Wait,
            // The host has not looked yet. The answer must stay.
            answered @ Phase::Answered { .. } => {
                self.phase = answered;
                Next::Wait
            }
            other => {
                self.phase = other;
                Next::Refused(Refusal::OutOfTurn)
            }
        }
    }

    /// The host has an invocation. False when one is under way or the runtime is not ready.
    pub(super) fn offer(&mut self, offer: Offer) -> bool {
        let is_idle = matches!(self.phase, Phase::Idle);
        if is_idle {
            self.phase = Phase::Offered(offer);
        }
        is_idle
    }

    /// The runtime begins to answer: nobody else may, until it has or has given up.
    pub(super) fn begin_answer(&mut self, id: &str) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Running { id: running } if running == id => {
                self.phase = Phase::Answering { id: id.to_owned() };
                Ok(())
            }
            Phase::Answering { id: answering } | Phase::Answered { id: answering, .. } if answering == id => {
                Err(Refusal::OutOfTurn)
            }
            // It cannot know the id of what it has not fetched; said all the same, it is no answer.
            Phase::Offered(offer) if offer.id == id => Err(Refusal::OutOfTurn),
            _ if self.earlier.iter().any(|earlier| earlier == id) => Err(Refusal::Late),
            _ => Err(Refusal::UnknownId),
        }
    }

    /// The answer is there. Refused when the host did not want it any more.
    pub(super) fn end_answer(&mut self, id: &str, reply: Reply) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Answering { id: answering } if answering == id => {
                self.phase = Phase::Answered { id: id.to_owned(), reply };
                Ok(())
            }
            _ => Err(Refusal::Late),
        }
    }

    /// The answer broke off: the runtime may try again.
    pub(super) fn give_up_answer(&mut self, id: &str) {
        if matches!(&self.phase, Phase::Answering { id: answering } if answering == id) {
            self.phase = Phase::Running { id: id.to_owned() };
        }
    }

    /// The answer to the invocation of this id, once it is there.
    pub(super) fn take_reply(&mut self, id: &str) -> Option<Reply> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Answered { id: answered, reply } if answered == id => {
                self.remember(answered);
                Some(reply)
            }
            other => {
                self.phase = other;
                None
            }
        }
    }

    /// The host does not want the answer any more.
    pub(super) fn withdraw(&mut self) {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Running { id } | Phase::Answering { id } | Phase::Answered { id, .. } => self.remember(id),
            Phase::Offered(_) => {}
            other => self.phase = other,
        }
    }

    /// The runtime says that it cannot start. Refused once it has.
    pub(super) fn fail_start(&mut self, error: String) -> Result<(), Refusal> {
        if !matches!(self.phase, Phase::Starting) {
            return Err(Refusal::OutOfTurn);
        }
        self.phase = Phase::Over { error };
        Ok(())
    }

    fn remember(&mut self, id: String) {
        if self.earlier.len() == REMEMBERED {
            self.earlier.pop_front();
        }
        self.earlier.push_back(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(id: &str) -> Offer {
        Offer { id: id.to_owned(), event: Bytes::from_static(b"{}"), deadline_ms: 1 }
    }

    fn response(text: &'static str) -> Reply {
        Reply::Response(Bytes::from_static(text.as_bytes()))
    }

    fn running(id: &str) -> Desk {
        let mut desk = Desk::new();
        assert_eq!(desk.next(), Next::Wait);
        assert!(desk.offer(offer(id)));
        assert_eq!(desk.next(), Next::Invocation(offer(id)));
        desk
    }

    #[test]
    fn an_invocation_goes_to_one_and_its_answer_comes_back_once() {
        let mut desk = running("a");
        assert_eq!(desk.next(), Next::Refused(Refusal::OutOfTurn), "it has one already");
        assert!(!desk.offer(offer("b")), "one at a time");
        assert_eq!(desk.take_reply("a"), None);
        desk.begin_answer("a").expect("its own");
        assert_eq!(desk.begin_answer("a"), Err(Refusal::OutOfTurn), "it is being answered");
        desk.end_answer("a", response("1")).expect("begun");
        assert_eq!(desk.begin_answer("a"), Err(Refusal::OutOfTurn), "it was answered");
        assert_eq!(desk.next(), Next::Wait, "the runtime is faster than the host, and takes nothing away");
        assert_eq!(desk.take_reply("a"), Some(response("1")));
        assert_eq!(desk.take_reply("a"), None);
        assert_eq!(desk.begin_answer("a"), Err(Refusal::Late));
    }

    #[test]
    fn another_ids_answer_is_refused_and_changes_nothing() {
        let mut desk = running("a");
        assert_eq!(desk.begin_answer("b"), Err(Refusal::UnknownId));
        assert_eq!(desk.begin_answer(""), Err(Refusal::UnknownId));
        desk.begin_answer("a").expect("its own");
        assert_eq!(desk.end_answer("b", response("1")), Err(Refusal::Late));
        desk.end_answer("a", response("2")).expect("begun");
        assert_eq!(desk.take_reply("a"), Some(response("2")));
    }

    #[test]
    fn what_the_host_gave_up_is_late_at_any_point() {
        let mut fetched = running("a");
        fetched.withdraw();
        assert_eq!(fetched.begin_answer("a"), Err(Refusal::Late));
        let mut half = running("a");
        half.begin_answer("a").expect("its own");
        half.withdraw();
        assert_eq!(half.end_answer("a", response("1")), Err(Refusal::Late));
        assert!(half.offer(offer("b")));
        half.give_up_answer("a");
        assert_eq!(half.next(), Next::Invocation(offer("b")), "the next one is none the worse");
    }

    #[test]
    fn an_answer_that_broke_off_may_come_again() {
        let mut desk = running("a");
        desk.begin_answer("a").expect("its own");
        desk.give_up_answer("a");
        desk.begin_answer("a").expect("again");
        desk.end_answer("a", Reply::Error("e".to_owned())).expect("begun");
        assert_eq!(desk.take_reply("a"), Some(Reply::Error("e".to_owned())));
    }

    #[test]
    fn a_runtime_starts_or_says_why_not_once() {
        let mut desk = Desk::new();
        assert_eq!(desk.readiness(), Readiness::Starting);
        assert!(!desk.offer(offer("a")));
        assert_eq!(desk.begin_answer("a"), Err(Refusal::UnknownId));
        desk.fail_start("no".to_owned()).expect("it starts");
        assert_eq!(desk.readiness(), Readiness::Failed("no".to_owned()));
        assert_eq!(desk.fail_start("again".to_owned()), Err(Refusal::OutOfTurn));
        assert_eq!(desk.next(), Next::Refused(Refusal::OutOfTurn));

        let mut desk = running("a");
        assert_eq!(desk.fail_start("late".to_owned()), Err(Refusal::OutOfTurn));
        assert_eq!(desk.readiness(), Readiness::Ready);
    }

    #[test]
    fn few_earlier_ids_are_remembered() {
        let mut desk = Desk::new();
        assert_eq!(desk.next(), Next::Wait);
        for serial in 0..=REMEMBERED {
            assert!(desk.offer(offer(&serial.to_string())));
            assert!(matches!(desk.next(), Next::Invocation(_)));
            desk.withdraw();
        }
        assert_eq!(desk.begin_answer("1"), Err(Refusal::Late));
        assert_eq!(desk.begin_answer("0"), Err(Refusal::UnknownId));
    }
}
