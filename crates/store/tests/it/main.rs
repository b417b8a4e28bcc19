//! The embedded store on real files and on a disk that forgets.

mod basics;
mod judge;
