//! Runs a program of a command writer: closed input, bounded output that is kept for the error text, killed as a process
//! group when its limit is over or nobody waits for it any more.

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    pin::pin,
    process::{ExitStatus, Stdio},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::timeout,
};
use umbra_base::{Error, ErrorCode, Result};

use crate::{
    config::Program,
    limits::{LAST_WORDS, OUTPUT_BYTES},
};

/// A bare environment's PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whose program it is, and for which event.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub writer: String,
    pub event: &'static str,
    pub env: Vec<(String, String)>,
}

/// Runs `program` to its end; an error unless it exits with 0 within its limit.
pub(crate) async fn run(program: &Program, cause: &Cause) -> Result<()> {
    let mut group = Group::start(program, cause)?;
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
    let status = {
        let mut reading = pin!(async { tokio::join!(keep(stdout, &mut out), keep(stderr, &mut err)) });
        let mut heard = false;
        // Whoever inherited the streams may keep them open after the end of the program itself: its end counts.
        let ended = async {
            loop {
                tokio::select! {
                    status = group.child.wait() => break status,
                    _ = &mut reading, if !heard => heard = true,
                }
            }
        };
        let status = timeout(program.limit, ended).await;
        if !heard && matches!(&status, Ok(Ok(status)) if !status.success()) {
            // What it said last may be in the streams still.
            let _kept_open_by_others = timeout(LAST_WORDS, reading).await;
        }
        status
    };
    match status {
        Err(_) => Err(late(program, cause)),
        Ok(Err(source)) => Err(failed(cause, format!("wait for {:?}", program.argv)).because(source)),
        Ok(Ok(status)) => {
            group.ended = true;
            out.extend(err);
            judge(status, &out, program, cause)
        }
    }
}

/// A program and what it started. Dropped before its end, all of it is killed.
struct Group {
    child: Child,
    id: Option<Pid>,
    ended: bool,
}

impl Group {
    fn start(program: &Program, cause: &Cause) -> Result<Group> {
        let (path, arguments) =
            program.argv.split_first().ok_or_else(|| failed(cause, "no program".to_owned()))?;
        let mut command = Command::new(path);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .envs(cause.env.iter().cloned())
            .current_dir("/");
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command
            .spawn()
            .map_err(|source| failed(cause, format!("start {:?}", program.argv)).because(source))?;
        let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Group { child, id, ended: false })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.id.filter(|_| !self.ended) {
            // The child is not reaped yet, so the id is still that of our group.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

/// Reads a stream to its end and keeps the beginning.
async fn keep(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let room = OUTPUT_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..length.min(room)]);
    }
}

fn judge(status: ExitStatus, output: &[u8], program: &Program, cause: &Cause) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(output);
    Err(failed(cause, format!("{:?} ended with {status}: {}", program.argv[0], said.trim())))
}

fn failed(cause: &Cause, what: String) -> Error {
    Error::new(ErrorCode::WriterFailed, format!("writer {:?}: {}: {what}", cause.writer, cause.event))
        .param("writer", &cause.writer)
}

fn late(program: &Program, cause: &Cause) -> Error {
    let limit = program.limit.as_millis();
    let text =
        format!("writer {:?}: {}: {:?} ran for {limit} ms", cause.writer, cause.event, program.argv[0]);
    Error::new(ErrorCode::WriterTimeout, text).param("writer", &cause.writer).param("limit_ms", limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shell(script: &str, limit: Duration) -> Program {
        Program { argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(), limit }
    }

    fn cause() -> Cause {
        Cause { writer: "w".into(), event: "freeze", env: vec![("UMBRA_EVENT".into(), "freeze".into())] }
    }

    #[tokio::test]
    async fn a_program_gets_its_event_and_no_input() {
        let script = "test \"$UMBRA_EVENT\" = freeze && test -z \"$HOME\" && ! read line";
        run(&shell(script, Duration::from_secs(10)), &cause()).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_failing_program_said_is_in_the_error_up_to_a_bound() {
        let script = "echo cannot; head -c 100000 /dev/zero | tr '\\0' x >&2; exit 3";
        let error = run(&shell(script, Duration::from_secs(10)), &cause()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::WriterFailed);
        assert!(error.message().contains("cannot\nxxx") && error.message().len() < 3 * OUTPUT_BYTES);
    }

    #[tokio::test]
    async fn a_daemon_that_keeps_the_streams_does_not_keep_us() {
        let start = std::time::Instant::now();
        run(&shell("sleep 5 & exit 0", Duration::from_secs(20)), &cause()).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(4));
    }

    async fn assert_killed(path: &std::path::Path) {
        for _ in 0..200 {
            let id = std::fs::read_to_string(path).unwrap_or_default();
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim()));
            if !id.trim().is_empty() && stat.map_or(true, |stat| stat.contains(") Z ")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the child lives on");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", path.display());
        let error = run(&shell(&script, Duration::from_millis(400)), &cause()).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::WriterTimeout);
        assert_killed(&path).await;
    }

    #[tokio::test]
    async fn a_program_that_nobody_waits_for_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let program =
            shell(&format!("sleep 1000 & echo $! > {}; wait", path.display()), Duration::from_secs(100));
        let cause = cause();
        assert!(timeout(Duration::from_millis(400), run(&program, &cause)).await.is_err());
        assert_killed(&path).await;
    }
}
