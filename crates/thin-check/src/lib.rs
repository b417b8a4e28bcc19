//! An independent checker of dm-thin metadata; shares no code with the writer.
