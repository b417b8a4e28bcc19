//! Writers: PostgreSQL and command.
