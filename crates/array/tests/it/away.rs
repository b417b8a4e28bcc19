//! Who and what is kept away from the management socket.
