//! The service of one host: coordination, providers, exposure, break.
