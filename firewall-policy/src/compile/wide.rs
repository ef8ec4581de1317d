//! Wide ends of rules, and the classes that only those tell apart.

use firewall_common::lines::End;

use super::lists::word;

/// Wide classes of one end: all its classes, as seen by the sets that hold many of them.
#[derive(Debug, Default)]
pub(super) struct Wide {
    /// The sets that are wide, by bit.
    sets: Vec<u32>,
    /// The sets that hold a wide class, a bit each.
    masks: Vec<u64>,
    /// Wide class of each class.
    of_class: Vec<u32>,
}

impl Wide {
    /// Of so many classes; takes each set with the classes that it holds. As many of the
    /// largest are wide as make no more wide classes than an end has rows for.
    pub(super) fn new<'s, S>(classes: usize, sets: S) -> Self
    where
        S: Iterator<Item = (u32, &'s [u32])>,
    {
        let mut sets: Vec<_> = sets.filter(|(_, held)| is_wide(held.len(), classes)).collect();
        sets.sort_by_key(|&(set, held)| (usize::MAX - held.len(), set));
        sets.dedup_by_key(|&mut (set, _)| set);
        let mut wide = Self { sets: Vec::new(), masks: vec![0], of_class: vec![0; classes] };
        for (set, held) in sets.into_iter().take(u64::BITS as usize) {
            if !wide.add(set, held) {
                break;
            }
        }
        wide
    }

    /// Divides the classes by one more set, unless that makes too many.
    fn add(&mut self, set: u32, held: &[u32]) -> bool {
        let of_class = self.of_class.iter().map(|&class| self.masks[class as usize]);
        let mut of_class: Vec<u64> = of_class.collect();
        for &class in held {
            of_class[class as usize] |= 1 << self.sets.len();
        }
        let mut masks = of_class.clone();
        masks.sort_unstable();
        masks.dedup();
        if masks.len() > End::WIDE_MAX as usize {
            return false;
        }
        let number = |mask| word(masks.partition_point(|known| *known < mask));
        self.of_class = of_class.into_iter().map(number).collect();
        self.masks = masks;
        self.sets.push(set);
        true
    }

    /// Nothing is wide, not even any address.
    pub(super) fn none(classes: usize) -> Self {
        Self { of_class: vec![0; classes], ..Self::default() }
    }

    /// How many wide classes there are.
    pub(super) fn count(&self) -> u32 {
        word(self.masks.len())
    }

    /// The wide class of a class.
    pub(super) fn of(&self, class: u32) -> u32 {
        self.of_class[class as usize]
    }

    /// Whether an end of a rule is wide; any address is.
    pub(super) fn has(&self, end: Option<u32>) -> bool {
        end.map_or(self.count() != 0, |set| self.sets.contains(&set))
    }

    /// Whether a wide end holds a wide class.
    pub(super) fn holds(&self, end: Option<u32>, class: u32) -> bool {
        let bit = |set| self.sets.iter().position(|wide| *wide == set).map_or(0, |bit| 1 << bit);
        end.is_none_or(|set| self.masks[class as usize] & bit(set) != 0)
    }
}

/// Whether a set holds many of all classes.
pub(super) fn is_wide(held: usize, all: usize) -> bool {
    held > 1 && held * 16 >= all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_sets_make_few_classes() {
        let all: Vec<u32> = (0..100).collect();
        let sets = [(7, &all[..50]), (8, &all[50..]), (9, &all[..10]), (3, &all[..2])];
        let wide = Wide::new(100, sets.into_iter());
        assert_eq!(wide.count(), 3, "every address is in one of the halves");
        assert!(wide.has(None) && wide.has(Some(7)) && wide.has(Some(9)) && !wide.has(Some(3)));
        assert_eq!(wide.of(0), wide.of(9));
        assert_ne!(wide.of(0), wide.of(10));
        assert!(wide.holds(Some(7), wide.of(0)) && wide.holds(Some(9), wide.of(0)));
        assert!(wide.holds(Some(7), wide.of(10)) && !wide.holds(Some(9), wide.of(10)));
        assert!(wide.holds(None, wide.of(99)) && !wide.holds(Some(7), wide.of(99)));
    }

    #[test]
    fn sets_that_make_too_many_classes_are_not_wide() {
        let all: Vec<u32> = (0..100).collect();
        let sets: Vec<_> = (0..30).map(|set| (set, &all[set as usize..][..10])).collect();
        let wide = Wide::new(100, sets.into_iter());
        assert!(wide.count() <= End::WIDE_MAX);
        assert!(wide.has(Some(0)) && !wide.has(Some(29)));
    }
}
