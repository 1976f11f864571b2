//! Which packages are on the disk, which are in use, and which go when room is needed. Pure.

use std::collections::HashMap;

use function_package::Digest;

/// The books of the packages on the disk.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    limit_bytes: u64,
    /// Of all packages, and of those that are being unpacked.
    bytes: u64,
    uses: u64,
    packages: HashMap<Digest, Package>,
}

#[derive(Debug)]
struct Package {
    bytes: u64,
    users: usize,
    last_used: u64,
}

impl Shelf {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, ..Self::default() }
    }

    /// Puts a package there that nobody uses yet.
    pub(super) fn found(&mut self, digest: Digest, bytes: u64) {
        self.bytes += bytes;
        self.packages.insert(digest, Package { bytes, users: 0, last_used: 0 });
    }

    /// One more user of a package, if it is there.
    pub(super) fn take(&mut self, digest: Digest) -> bool {
        self.uses += 1;
        let Some(package) = self.packages.get_mut(&digest) else { return false };
        package.users += 1;
        package.last_used = self.uses;
        true
    }

    /// One user less.
    pub(super) fn put_back(&mut self, digest: Digest) {
        if let Some(package) = self.packages.get_mut(&digest) {
            package.users -= 1;
        }
    }

    /// Sets this much aside for a package to come; answers which go for it, those used longest ago first. None go that
    /// are in use: when that leaves too little room, none go at all and `None` is the answer.
    pub(super) fn make_room(&mut self, bytes: u64) -> Option<Vec<Digest>> {
        let mut idle: Vec<(u64, Digest, u64)> = self
            .packages
            .iter()
            .filter(|(_, package)| package.users == 0)
            .map(|(digest, package)| (package.last_used, *digest, package.bytes))
            .collect();
        idle.sort_unstable_by_key(|(last_used, ..)| *last_used);
        let mut after = self.bytes.saturating_add(bytes);
        let mut going = Vec::new();
        for (_, digest, freed) in idle {
            if after <= self.limit_bytes {
                break;
            }
            after -= freed;
            going.push(digest);
        }
        if after > self.limit_bytes {
            return None;
        }
        for digest in &going {
            self.packages.remove(digest);
        }
        self.bytes = after;
        Some(going)
    }

    /// What was set aside has become this package, with one user.
    pub(super) fn add(&mut self, digest: Digest, bytes: u64) {
        self.uses += 1;
        self.packages.insert(digest, Package { bytes, users: 1, last_used: self.uses });
    }

    /// What was set aside is not needed.
    pub(super) fn give_up(&mut self, bytes: u64) {
        self.bytes -= bytes;
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::of(name.as_bytes()).expect("memory can be read")
    }

    fn shelf(limit_bytes: u64, packages: &[(&str, u64)]) -> Shelf {
        let mut shelf = Shelf::new(limit_bytes);
        for (name, bytes) in packages {
            shelf.found(digest(name), *bytes);
            assert!(shelf.take(digest(name)));
            shelf.put_back(digest(name));
        }
        shelf
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_only_as_much_as_must() {
        let mut shelf = shelf(10, &[("a", 4), ("b", 4)]);
        assert!(shelf.take(digest("a")));
        shelf.put_back(digest("a"));
        assert_eq!(shelf.make_room(2), Some(vec![]));
        shelf.add(digest("c"), 2);
        assert_eq!(shelf.make_room(1), Some(vec![digest("b")]));
        assert!(!shelf.take(digest("b")));
        assert_eq!(shelf.bytes(), 7);
        shelf.give_up(1);
        assert_eq!(shelf.bytes(), 6);
    }

    #[test]
    fn what_is_in_use_never_goes() {
        let mut shelf = shelf(10, &[("a", 5), ("b", 5)]);
        assert!(shelf.take(digest("a")) && shelf.take(digest("a")) && shelf.take(digest("b")));
        shelf.put_back(digest("a"));
        assert_eq!(shelf.make_room(1), None, "both have a user");
        shelf.put_back(digest("a"));
        assert_eq!(shelf.make_room(6), None, "a alone is not enough, so it stays");
        assert!(shelf.take(digest("a")));
        shelf.put_back(digest("a"));
        assert_eq!(shelf.make_room(5), Some(vec![digest("a")]));
    }

    #[test]
    fn what_can_never_fit_drops_nothing() {
        let mut shelf = shelf(10, &[("a", 5)]);
        assert_eq!(shelf.make_room(11), None);
        assert!(shelf.take(digest("a")));
    }
}
