//! The coordinator of snapshot sets: a state machine without I/O, clock or threads.
