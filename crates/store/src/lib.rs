//! The LUN store: volumes, snapshots and durability behind one trait; the embedded thin pool.
