//! Which address takes the next request: the one with the fewest requests in flight.
//!
//! With few addresses all are compared. With more, two picked at random are, which spreads load almost
//! as well (the power of two choices: M. Mitzenmacher, 2001), costs the same for any number, and keeps
//! several gateways, which do not know of each other's requests, from falling on the same address.
//!
//! There is no affinity: a key decides the side of a request, never the instance that serves it.

use rand::RngExt as _;

/// Up to this many addresses, all are compared.
const FEW: usize = 4;

/// Picks one of `count` places. `load` says how many requests a place has in flight, or nothing when it
/// cannot take another; then another place is picked, and none when no place can.
pub(crate) fn least_loaded(count: usize, load: impl Fn(usize) -> Option<u32>) -> Option<usize> {
    if count > FEW {
        let mut random = rand::rng();
        let first = random.random_range(0..count);
        let second = (first + random.random_range(1..count)) % count;
        // Where one of the two cannot take it, fair would be to pick anew; to compare all is as fair.
        if let (Some(first_load), Some(second_load)) = (load(first), load(second)) {
            return Some(if second_load < first_load { second } else { first });
        }
    }
    least_of_all(count, load)
}

/// Compares all, beginning anywhere, so that among equals none is always first.
fn least_of_all(count: usize, load: impl Fn(usize) -> Option<u32>) -> Option<usize> {
    if count <= 1 {
        return (0..count).find(|place| load(*place).is_some());
    }
    let start = rand::rng().random_range(0..count);
    let places = (0..count).map(|offset| (start + offset) % count);
    places.filter_map(|place| Some((load(place)?, place))).min_by_key(|(load, _)| *load).map(|(_, place)| place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn few_addresses_the_least_loaded_takes_it(loads in prop::collection::vec(prop::option::of(0_u32..5), 0..=FEW)) {
            let picked = least_loaded(loads.len(), |place| loads[place]);
            prop_assert_eq!(picked.and_then(|place| loads[place]), loads.iter().flatten().min().copied());
        }

        #[test]
        fn who_can_take_one_is_found_among_many(loads in prop::collection::vec(prop::option::of(0_u32..5), 5..40)) {
            let picked = least_loaded(loads.len(), |place| loads[place]);
            prop_assert_eq!(picked.is_some(), loads.iter().any(Option::is_some));
            prop_assert!(picked.is_none_or(|place| loads[place].is_some()));
        }
    }

    #[test]
    fn equals_share() {
        for count in [2, 3, FEW, 10] {
            let mut taken = vec![0_u32; count];
            for _ in 0..count * 1_000 {
                taken[least_loaded(count, |_| Some(0)).expect("all can")] += 1;
            }
            assert!(taken.iter().all(|taken| (700..1_300).contains(taken)), "{taken:?}");
        }
    }

    #[test]
    fn the_most_loaded_of_many_is_left_alone() {
        let busy = |place| Some(if place == 7 { 100 } else { 1 });
        assert!((0..10_000).all(|_| least_loaded(10, busy) != Some(7)));
    }
}
