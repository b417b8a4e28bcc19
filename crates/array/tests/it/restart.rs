//! What a restart brings back, clean or after a kill.
