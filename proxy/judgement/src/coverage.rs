//! Whether what legacy is asked for has been compared.

use std::collections::HashMap;

use serde::Serialize;

/// As many shapes of requests are told apart; any further one counts as never compared.
pub const MAX_SHAPES: usize = 1_024;

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    requests: u64,
    compared: u64,
}

/// How often each shape of request was seen and compared. A shape is whatever the caller hashes into
/// one number, such as template, names of parameters and skeleton of the body.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Coverage {
    #[serde(skip)]
    shapes: HashMap<u64, Seen>,
    /// Requests of shapes beyond [`MAX_SHAPES`].
    beyond: u64,
}

impl Coverage {
    /// A request of this shape was seen.
    pub fn seen(&mut self, shape: u64) {
        match self.place(shape) {
            Some(seen) => seen.requests += 1,
            None => self.beyond += 1,
        }
    }

    /// The answers to a request of this shape were compared.
    pub fn compared(&mut self, shape: u64) {
        if let Some(seen) = self.place(shape) {
            seen.compared += 1;
        }
    }

    /// The share of requests whose shape was compared so often; `None` when no request was seen.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    pub fn share(&self, least: u64) -> Option<f64> {
        let all = self.beyond + self.shapes.values().map(|seen| seen.requests).sum::<u64>();
        let covered = self.shapes.values().filter(|seen| seen.compared >= least).map(|seen| seen.requests).sum::<u64>();
        (all > 0).then(|| covered as f64 / all as f64)
    }

    /// How many shapes were seen.
    #[must_use]
    pub fn shapes(&self) -> usize {
        self.shapes.len()
    }

    fn place(&mut self, shape: u64) -> Option<&mut Seen> {
        if self.shapes.len() >= MAX_SHAPES && !self.shapes.contains_key(&shape) {
            return None;
        }
        Some(self.shapes.entry(shape).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_requests_and_not_of_shapes() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.share(1), None);
        (0..90).for_each(|_| coverage.seen(1));
        (0..10).for_each(|_| coverage.seen(2));
        assert_eq!(coverage.share(1), Some(0.0));
        (0..3).for_each(|_| coverage.compared(1));
        assert_eq!((coverage.share(3), coverage.share(4)), (Some(0.9), Some(0.0)));
    }

    #[test]
    fn too_many_shapes_count_as_never_compared() {
        let mut coverage = Coverage::default();
        for shape in 0..2 * MAX_SHAPES as u64 {
            coverage.seen(shape);
            coverage.compared(shape);
        }
        assert_eq!((coverage.shapes(), coverage.share(1)), (MAX_SHAPES, Some(0.5)));
    }
}
