//! What the vision tower made of pictures: once for each picture of a session, whoever shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sapo_policies::vision::VisionFeatures;
use sapo_policies::{PictureInput, Policy, PolicyInput};
use sha2::{Digest, Sha256};

/// Features by what the pictures show.
#[derive(Debug, Default)]
pub(super) struct Features {
    known: BTreeMap<[u8; 32], Arc<VisionFeatures>>,
    /// Pictures that went through the vision tower.
    pub(super) computed: usize,
}

impl Features {
    /// The features of all pictures of an input, in their order.
    pub(super) fn of(&mut self, policy: &Policy, input: &PolicyInput) -> Vec<Arc<VisionFeatures>> {
        let one = |picture: &PictureInput| {
            let features = self.known.entry(digest(picture)).or_insert_with(|| {
                self.computed += 1;
                Arc::new(policy.see(picture))
            });
            Arc::clone(features)
        };
        input.pictures().iter().map(one).collect()
    }

    /// Forgets what nobody holds any more.
    pub(super) fn forget_unused(&mut self) {
        self.known.retain(|_, features| Arc::strong_count(features) > 1);
    }
}

fn digest(picture: &PictureInput) -> [u8; 32] {
    let mut hash = Sha256::new();
    for side in picture.grid {
        hash.update((side as u64).to_le_bytes());
    }
    for value in picture.pixels.iter() {
        hash.update(value.to_le_bytes());
    }
    hash.finalize().into()
}
