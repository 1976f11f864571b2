//! What shadowing may hold: places for copies on their way, and memory for them and their answers. Nobody
//! waits for either; whoever finds none left drops its copy.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::HeaderMap;

/// What a header line costs besides its text: its place in the map and two handles to the text.
const HEADER_LINE_BYTES: usize = 64;

/// An amount of which only so much may be taken at once.
#[derive(Debug)]
pub(crate) struct Pool {
    taken: AtomicUsize,
    most: usize,
}

/// A part of a pool. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Share {
    pool: Arc<Pool>,
    amount: usize,
}

impl Pool {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), most })
    }

    pub(crate) fn take(self: &Arc<Self>, amount: usize) -> Option<Share> {
        let mut share = Share { pool: self.clone(), amount: 0 };
        share.grow(amount).then_some(share)
    }

    /// Whether this much could be taken now. A moment later it may be otherwise.
    pub(crate) fn has_left(&self, amount: usize) -> bool {
        self.taken().checked_add(amount).is_some_and(|taken| taken <= self.most)
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Takes this much more, all of it or nothing.
    fn grow(&mut self, more: usize) -> bool {
        let pool = &self.pool;
        let grown = |taken: usize| taken.checked_add(more).filter(|taken| *taken <= pool.most);
        let took = pool.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, grown).is_ok();
        if took {
            self.amount += more;
        }
        took
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.pool.taken.fetch_sub(self.amount, Ordering::AcqRel);
    }
}

/// What a header takes in memory, about.
pub(crate) fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_LINE_BYTES).sum()
}

/// A body that is being copied. All the memory it has is paid for, used or not.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    limit: usize,
    paid: Share,
}

/// A whole body with its part of the budget.
#[derive(Debug)]
pub(crate) struct Body {
    bytes: Bytes,
    _paid: Share,
}

/// Why a body is not copied to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// It is longer than the route's limit.
    Limit,
    /// The memory for all copies is spent.
    Budget,
}

impl Buffer {
    /// An empty one, which has paid for `header` bytes beside it.
    pub(crate) fn new(pool: &Arc<Pool>, limit: usize, header: usize) -> Result<Self, Full> {
        let paid = pool.take(header).ok_or(Full::Budget)?;
        Ok(Self { bytes: Vec::new(), limit, paid })
    }

    /// Makes room for a body of a declared length.
    pub(crate) fn expect(&mut self, length: u64) -> Result<(), Full> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.limit).ok_or(Full::Limit)?;
        self.make_room(length)
    }

    pub(crate) fn append(&mut self, chunk: &[u8]) -> Result<(), Full> {
        let length = self.bytes.len() + chunk.len();
        if length > self.limit {
            return Err(Full::Limit);
        }
        if length > self.bytes.capacity() {
            self.make_room(length.max(self.bytes.capacity() * 2).min(self.limit))?;
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// Room for so many bytes in all, paid first.
    fn make_room(&mut self, capacity: usize) -> Result<(), Full> {
        let more = capacity.saturating_sub(self.bytes.capacity());
        if more > 0 {
            if !self.paid.grow(more) {
                return Err(Full::Budget);
            }
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Body {
        Body { bytes: Bytes::from(self.bytes), _paid: self.paid }
    }
}

impl Body {
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_dropped_is_given_back() {
        let pool = Pool::new(10);
        let six = pool.take(6);
        assert!(six.is_some() && pool.take(5).is_none() && pool.take(4).is_some());
        assert_eq!((pool.taken(), pool.has_left(4), pool.has_left(5)), (6, true, false));
        drop(six);
        assert_eq!(pool.taken(), 0);
    }

    #[test]
    fn no_more_is_taken_than_there_is_whoever_comes_at_once() {
        let pool = Pool::new(5);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for amount in (1..4).cycle().take(20_000) {
                        let share = pool.take(amount);
                        assert!(pool.taken() <= 5);
                        drop(share);
                    }
                });
            }
        });
        assert_eq!(pool.taken(), 0);
    }

    proptest! {
        #[test]
        fn all_memory_of_a_body_is_paid_for(chunks in prop::collection::vec(0_usize..300, 0..20), declared in prop::option::of(0_u64..2_000)) {
            let pool = Pool::new(4_000);
            let mut buffer = Buffer::new(&pool, 1_500, 7).expect("there is room");
            if let Some(length) = declared {
                prop_assert_eq!(buffer.expect(length).is_ok(), length <= 1_500);
            }
            let mut sent = Vec::new();
            for length in chunks {
                let chunk = vec![u8::try_from(length % 256).expect("a byte"); length];
                match buffer.append(&chunk) {
                    Ok(()) => sent.extend_from_slice(&chunk),
                    Err(full) => {
                        prop_assert_eq!(full, Full::Limit);
                        prop_assert!(sent.len() + length > 1_500);
                    }
                }
                prop_assert_eq!(pool.taken(), 7 + buffer.bytes.capacity());
            }
            let body = buffer.finish();
            prop_assert_eq!(body.bytes(), &sent);
            drop(body);
            prop_assert_eq!(pool.taken(), 0);
        }
    }

    #[test]
    fn a_body_that_the_budget_has_no_room_for_is_refused() {
        let pool = Pool::new(100);
        assert_eq!(Buffer::new(&pool, 1_000, 101).err(), Some(Full::Budget));
        let mut buffer = Buffer::new(&pool, 1_000, 50).expect("there is room");
        assert_eq!(buffer.append(&[0; 51]), Err(Full::Budget));
        assert_eq!((buffer.append(&[0; 50]), pool.taken()), (Ok(()), 100));
    }
}
