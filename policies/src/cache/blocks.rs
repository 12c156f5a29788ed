//! Which blocks are free, and how many sequences share each of the others.

/// The book of blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Free ones, the last used last, so that what was touched is used again first.
    free: Vec<u32>,
    /// Sequences that hold each block.
    holders: Vec<u32>,
}

impl Blocks {
    pub(super) fn new(total: usize) -> Self {
        let total = u32::try_from(total).unwrap_or(u32::MAX);
        Self { free: (0..total).rev().collect(), holders: vec![0; total as usize] }
    }

    pub(super) fn used(&self) -> usize {
        self.holders.len() - self.free.len()
    }

    /// So many free blocks, or none at all.
    pub(super) fn take(&mut self, count: usize) -> Option<Vec<u32>> {
        let left = self.free.len().checked_sub(count)?;
        let mut taken = self.free.split_off(left);
        taken.reverse();
        taken.iter().for_each(|block| self.holders[*block as usize] = 1);
        Some(taken)
    }

    /// Another sequence holds these.
    pub(super) fn share(&mut self, blocks: &[u32]) {
        blocks.iter().for_each(|block| self.holders[*block as usize] += 1);
    }

    /// A sequence lets go of these.
    pub(super) fn give_back(&mut self, blocks: &[u32]) {
        for block in blocks.iter().rev() {
            let holders = &mut self.holders[*block as usize];
            *holders -= 1;
            if *holders == 0 {
                self.free.push(*block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_come_back_when_nobody_holds_them() {
        let mut blocks = Blocks::new(4);
        let prompt = blocks.take(2).expect("there are four");
        blocks.share(&prompt);
        assert_eq!(blocks.take(3), None);
        assert_eq!(blocks.used(), 2, "who gets nothing has taken nothing");
        blocks.give_back(&prompt);
        assert_eq!(blocks.used(), 2);
        blocks.give_back(&prompt);
        assert_eq!(blocks.used(), 0);
        assert_eq!(blocks.take(4).map(|all| all.len()), Some(4));
    }

    proptest! {
        #[test]
        fn no_block_is_lost_or_held_twice(asked in prop::collection::vec((0_usize..6, any::<bool>()), 0..40)) {
            let mut blocks = Blocks::new(16);
            let mut held: Vec<Vec<u32>> = Vec::new();
            for (count, release) in asked {
                if !release {
                    held.extend(blocks.take(count));
                } else if let Some(some) = held.pop() {
                    blocks.give_back(&some);
                }
                let mut all: Vec<u32> = held.iter().flatten().copied().collect();
                all.sort_unstable();
                all.dedup();
                prop_assert_eq!(all.len(), blocks.used());
                prop_assert_eq!(held.iter().map(Vec::len).sum::<usize>(), blocks.used());
            }
        }
    }
}
