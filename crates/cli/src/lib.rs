//! The command line: nothing but a client of the API.
