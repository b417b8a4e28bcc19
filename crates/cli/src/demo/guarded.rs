//! A future whose panic is a value, so that a fault of the demo's own does not skip the cleaning up.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

/// Runs a future and tells how it panicked, if it did.
pub struct Guarded<'a, T>(Pin<Box<dyn Future<Output = T> + 'a>>);

impl<'a, T> Guarded<'a, T> {
    pub fn new(future: impl Future<Output = T> + 'a) -> Self {
        Guarded(Box::pin(future))
    }
}

impl<T> Future for Guarded<'_, T> {
    type Output = Result<T, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A future that panicked is not polled again: nothing sees what it left half done.
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(text(panic.as_ref()))),
        }
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    let known = panic.downcast_ref::<String>().cloned();
    known
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_comes_back_as_its_text() {
        assert_eq!(
            Guarded::new(async { panic!("by {}", "intent") }).await,
            Err::<(), _>("by intent".to_owned())
        );
        assert_eq!(Guarded::new(async { 7 }).await, Ok(7));
    }
}
