//! The contract of a writer in one set.

use async_trait::async_trait;
use std::{fmt::Debug, time::Duration};
use umbra_base::Result;
use umbra_vss::{Level, WriterReport};

/// A writer that takes part in one set.
///
/// The calls come in this order: `prepare`, `freeze`, `attest`, `thaw`, `post_snapshot`; and, at any point, whatever was
/// called before and whatever came of it, `abort`, after which nothing comes but `abort`. A future may be dropped at any
/// point (its limit is over); `abort` follows then.
///
/// **prepare** may take long and must not stop the application. It finds where the data lies *now*, refuses if a part
/// lies outside of the set, does the work that would make the freeze long, and says what it can vouch for.
///
/// **freeze** brings the application's files to a state that can be copied, and returns when it is reached: from then on
/// until the thaw, whatever is in the files is enough for the application to start from, without anything that is
/// only in memory. The application may go on reading, and go on accepting work that waits; it must not need the end
/// of the freeze to answer `attest`. A writer whose files can be copied at any instant, because it recovers from a crash
/// by design, has nothing to stop. From here until the thaw the writer touches no file of its own: logs, temporary
/// files, sockets' folders may lie on a frozen file system.
///
/// **attest** proves that what `freeze` promised held without a gap until now: on the same connection, under the same
/// lock, by the same process. "It is frozen now" is not enough. It may come more than once.
///
/// **thaw** ends the freeze. If it never comes, because the service is gone, a freeze that a closed connection does not
/// end must be ended by [`Writer::undo`], which somebody else holds and runs.
///
/// **post_snapshot** may work on the copy. The application runs.
///
/// **abort** is `thaw` in whatever state, and releases everything. It may come twice, and after a thaw.
#[async_trait]
pub trait Writer: Send + Sync + Debug {
    /// Its name, unique on the host.
    fn name(&self) -> &str;

    /// When it is frozen.
    fn level(&self) -> Level;

    /// How long it can be frozen, if it knows before `prepare`; the report of `prepare` says it too.
    fn freeze_at_most(&self) -> Option<Duration> {
        None
    }

    /// The command that ends a freeze of this writer when nobody is left to call `thaw`. A writer that has one leaves its
    /// thaw to whoever holds it: armed before `freeze`, run before `thaw` and `abort`.
    fn undo(&self) -> Option<Undo> {
        None
    }

    /// See the trait.
    async fn prepare(&self) -> Result<WriterReport>;
    /// See the trait.
    async fn freeze(&self) -> Result<()>;
    /// See the trait.
    async fn attest(&self) -> Result<()>;
    /// See the trait.
    async fn thaw(&self) -> Result<()>;
    /// See the trait.
    async fn post_snapshot(&self) -> Result<()>;
    /// See the trait.
    async fn abort(&self) -> Result<()>;
}

/// A command that ends a freeze. It may be run more than once, and in any state of the writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undo {
    /// The writer's name.
    pub name: String,
    /// Program (an absolute path) and arguments.
    pub argv: Vec<String>,
    /// Environment, on top of a bare PATH.
    pub env: Vec<(String, String)>,
    /// How long it may run.
    pub limit: Duration,
}
