//! What a result means: whether an operation is through, or goes on.
//!
//! What always holds: an operation that is told as done has moved all its bytes (a receive: at least one, or the peer
//! has ended); one that was merely interrupted or cut short is never told at all.

use crate::Payload;
use std::io;
use umbra_sys::uring::Op;

/// What becomes of an operation that came back.
pub(crate) enum Verdict {
    /// It is pushed again and goes on where it was.
    Again,
    /// It is told to its owner.
    End(io::Result<u32>),
}

/// Judges the last `result` of an operation that has taken it into account.
pub(crate) fn verdict(op: &Op, result: io::Result<u32>) -> Verdict {
    let bytes = match result {
        Ok(bytes) => bytes,
        Err(why) if goes_on(op, &why) => return Verdict::Again,
        Err(why) => return Verdict::End(Err(why)),
    };
    match op {
        Op::Read { buf, done, .. } => moved(buf.spare() == 0, bytes, *done, io::ErrorKind::UnexpectedEof),
        Op::Write { parts, done, .. } | Op::Send { parts, done, .. } => {
            moved(parts.bytes() == *done as usize, bytes, *done, io::ErrorKind::WriteZero)
        }
        Op::Recv { .. } => Verdict::End(Ok(bytes)),
        Op::Sync { .. } => Verdict::End(Ok(0)),
        Op::Accept { .. } | Op::Wake { .. } => Verdict::Again,
    }
}

/// Something is left: it goes on as long as it gets on.
fn moved(all: bool, bytes: u32, done: u32, stuck: io::ErrorKind) -> Verdict {
    match (all, bytes) {
        (true, _) => Verdict::End(Ok(done)),
        (false, 0) => Verdict::End(Err(stuck.into())),
        (false, _) => Verdict::Again,
    }
}

fn goes_on(op: &Op, why: &io::Error) -> bool {
    match why.kind() {
        io::ErrorKind::Interrupted => true,
        // This connection is gone before it was accepted; the next may be well.
        io::ErrorKind::ConnectionAborted => matches!(op, Op::Accept { .. }),
        _ => matches!(op, Op::Wake { .. }),
    }
}

/// The operation, ready to be pushed again.
pub(crate) fn refreshed(mut op: Op) -> Op {
    if let Op::Wake { buf, .. } = &mut op {
        buf.clear();
    }
    op
}

/// What of an operation goes back to its owner.
pub(crate) fn payload<M>(op: Op) -> Payload<M> {
    match op {
        Op::Read { buf, .. } | Op::Recv { buf, .. } => Payload::Buf(buf),
        Op::Write { parts, .. } | Op::Send { parts, .. } => Payload::Parts(parts),
        Op::Sync { .. } | Op::Accept { .. } | Op::Wake { .. } => Payload::None,
    }
}

/// More operations at once than the shard was made for.
pub(crate) fn too_many() -> io::Error {
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        "the shard has as many operations in flight as it was made for; submit when some have completed",
    )
}

/// A request that no kernel could fulfil.
pub(crate) fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// A panic of a job, as the error of its call.
pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> io::Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    io::Error::other(format!("the call panicked in its worker: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use umbra_sys::{bufpool::BufPool, uring::Descriptor};

    fn null() -> Arc<Descriptor> {
        Arc::new(Descriptor::new(std::fs::File::open("/dev/null").unwrap().into()))
    }

    /// A send of eight bytes of which `bytes` were taken, and what is judged of it.
    fn judged(bytes: u32) -> Verdict {
        let mut buf = BufPool::new(1 << 20).take(8).unwrap();
        buf.fill_zero();
        let mut op = Op::Send { socket: null(), parts: buf.into(), done: 0 };
        op.progress(bytes);
        verdict(&op, Ok(bytes))
    }

    #[test]
    fn what_is_cut_short_goes_on_until_nothing_more_is_taken() {
        assert!(matches!(judged(3), Verdict::Again));
        assert!(matches!(judged(8), Verdict::End(Ok(8))));
        assert!(matches!(judged(0), Verdict::End(Err(why)) if why.kind() == io::ErrorKind::WriteZero));
    }

    #[test]
    fn an_interrupted_operation_goes_on_and_other_errors_are_told() {
        let sync = Op::Sync { file: null(), data_only: true };
        let error = |kind: io::ErrorKind| Err(io::Error::from(kind));
        assert!(matches!(verdict(&sync, error(io::ErrorKind::Interrupted)), Verdict::Again));
        assert!(matches!(verdict(&sync, error(io::ErrorKind::StorageFull)), Verdict::End(Err(_))));
    }

    #[test]
    fn an_accept_goes_on_after_a_connection_that_was_gone_but_not_without_descriptors() {
        let accept = Op::Accept { socket: null() };
        let errno = |number| Err(io::Error::from_raw_os_error(number));
        assert!(matches!(verdict(&accept, Ok(0)), Verdict::Again));
        assert!(matches!(verdict(&accept, errno(103)), Verdict::Again), "ECONNABORTED");
        assert!(matches!(verdict(&accept, errno(24)), Verdict::End(Err(_))), "EMFILE");
    }
}
