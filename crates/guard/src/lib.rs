//! The freeze guard: a pair of processes that thaws whatever happens.
