//! Which devices a damaged node costs something: nodes are walked once, but devices share them, so every node
//! remembers the findings at and below it for whoever comes by later.
//!
//! What always holds: memory and time stay bounded by [`limits::FINDINGS_OF_A_NODE`] findings for each damaged node;
//! beyond that a finding may name fewer devices than it has.

use crate::{core::Core, finding::Tree, limits};
use std::collections::HashMap;

/// Where the findings stood when a walk began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    findings: usize,
    met: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Losses {
    of_node: HashMap<u64, Box<[u32]>>,
    /// Findings of nodes met again, in the walk under way.
    met: Vec<u32>,
}

impl Losses {
    /// Call before a node or a whole tree is walked.
    pub fn mark(&self, core: &Core<'_>) -> Mark {
        Mark { findings: core.findings.kept(), met: self.met.len() }
    }

    /// The walk came to `block` for another time.
    pub fn meet_again(&mut self, block: u64) {
        if let Some(known) = self.of_node.get(&block)
            && !self.met.ends_with(known)
        {
            self.met.extend(known);
        }
    }

    /// The walk below `block` is over.
    pub fn keep(&mut self, core: &Core<'_>, block: u64, mark: Mark) {
        let found = self.since(core, mark);
        if !found.is_empty() {
            self.met.truncate(mark.met);
            self.met.extend(found.iter().filter(|index| (**index as usize) < mark.findings));
            self.of_node.insert(block, found.into());
        }
    }

    /// The walk over a whole tree is over: its device has part in all that was found on the way.
    pub fn charge(&mut self, core: &mut Core<'_>, tree: Tree, mark: Mark) {
        let found = self.since(core, mark);
        self.met.clear();
        let Some(device) = tree.device else { return };
        for index in found {
            if let Some(finding) = core.findings.at_mut(index as usize) {
                finding.name_device(device);
            }
        }
    }

    fn since(&self, core: &Core<'_>, mark: Mark) -> Vec<u32> {
        let new = mark.findings..core.findings.kept();
        let mut found: Vec<u32> = self.met[mark.met..].to_vec();
        found.extend(new.map(|index| index as u32));
        found.sort_unstable();
        found.dedup();
        found.truncate(limits::FINDINGS_OF_A_NODE);
        found
    }
}
