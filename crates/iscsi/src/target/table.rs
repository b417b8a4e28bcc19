//! The open tasks of a session.
//!
//! What always holds: no more tasks are open than the command window has announced, and [`IMMEDIATE_COMMANDS`] beyond it;
//! a tag is open once; the table's memory is that of its first day.

use super::negotiate::Negotiated;
use super::task::Task;
use crate::limits::IMMEDIATE_COMMANDS;
use crate::pdu::RESERVED_TAG;
use crate::pdu::request::task_attribute;
use crate::pdu::response::R2t;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

#[derive(Debug)]
pub(super) struct TaskTable {
    tasks: HashMap<u32, Task, BuildHasherDefault<TagHasher>>,
    /// How many of them came for immediate delivery.
    immediate: usize,
    /// How many of them are to be ordered among the others.
    ordered: usize,
    /// How many there have been.
    arrived: u64,
    last_transfer_tag: u32,
}

impl TaskTable {
    /// Room for `depth` commands in the window.
    pub fn new(depth: u32) -> Self {
        // Twice the room: a map that is never more than half full never grows.
        let room = 2 * (depth as usize + IMMEDIATE_COMMANDS);
        let tasks = HashMap::with_capacity_and_hasher(room, BuildHasherDefault::default());
        TaskTable { tasks, immediate: 0, ordered: 0, arrived: 0, last_transfer_tag: 0 }
    }

    /// Tasks that came in the order of CmdSN.
    pub fn in_window(&self) -> u32 {
        (self.tasks.len() - self.immediate) as u32
    }

    /// Tasks that came for immediate delivery.
    pub fn immediate(&self) -> usize {
        self.immediate
    }

    pub fn get(&self, tag: u32) -> Option<&Task> {
        self.tasks.get(&tag)
    }

    pub fn get_mut(&mut self, tag: u32) -> Option<&mut Task> {
        self.tasks.get_mut(&tag)
    }

    /// Tags and LUN fields of all open tasks.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.tasks.iter().map(|(tag, task)| (*tag, task.header.lun))
    }

    /// Whether any task waits for data that the initiator is to send now.
    pub fn owe_data(&self) -> bool {
        self.tasks.values().any(Task::owes_data)
    }

    /// Whether any task has the attribute ORDERED.
    pub fn has_ordered(&self) -> bool {
        self.ordered > 0
    }

    /// Whether a task may begin, by its attribute and those of the tasks that came before it (SAM-5 section 8.6).
    pub fn may_begin(&self, tag: u32) -> bool {
        let Some(task) = self.tasks.get(&tag).filter(|_| self.has_ordered()) else { return true };
        let mut before = self.tasks.values().filter(|other| other.serial < task.serial && !other.is_ending());
        match task.header.attribute {
            task_attribute::HEAD_OF_QUEUE => true,
            task_attribute::ORDERED => before.next().is_none(),
            _ => before.all(|other| other.header.attribute != task_attribute::ORDERED),
        }
    }

    pub fn insert(&mut self, mut task: Task) -> &mut Task {
        self.arrived += 1;
        task.serial = self.arrived;
        self.immediate += usize::from(task.header.immediate);
        self.ordered += usize::from(task.header.attribute == task_attribute::ORDERED);
        self.tasks.entry(task.header.task_tag).insert_entry(task).into_mut()
    }

    pub fn remove(&mut self, tag: u32) -> Option<Task> {
        let task = self.tasks.remove(&tag)?;
        self.immediate -= usize::from(task.header.immediate);
        self.ordered -= usize::from(task.header.attribute == task_attribute::ORDERED);
        Some(task)
    }

    /// The target transfer tag given out last.
    pub fn last_transfer_tag(&self) -> u32 {
        self.last_transfer_tag
    }

    /// A fresh target transfer tag.
    pub fn next_transfer_tag(&mut self) -> u32 {
        self.last_transfer_tag = match self.last_transfer_tag.wrapping_add(1) {
            RESERVED_TAG => 0,
            tag => tag,
        };
        self.last_transfer_tag
    }

    /// The next R2T of a task, if it may send one.
    pub fn next_r2t(&mut self, tag: u32, rules: &Negotiated) -> Option<R2t> {
        if !self.tasks.get(&tag)?.may_solicit(rules) {
            return None;
        }
        let transfer_tag = self.next_transfer_tag();
        Some(self.tasks.get_mut(&tag)?.next_r2t(rules, transfer_tag))
    }
}

/// Task tags are the initiator's to choose; an unlucky choice costs a walk through a table that is short.
#[derive(Debug, Default)]
struct TagHasher(u64);

impl Hasher for TagHasher {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, tag: u32) {
        self.0 = (self.0 ^ u64::from(tag)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
