//! The engine on a disk in memory: golden pools, the format's smallest pool byte for byte, generated histories.

mod disk;
mod format;
mod golden;
mod histories;
