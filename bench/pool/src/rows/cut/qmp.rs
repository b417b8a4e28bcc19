//! The QEMU Machine Protocol's client side: a command, an answer, events in between (qemu docs/interop/qmp-spec).

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
};

/// A connection that takes commands.
#[derive(Debug)]
pub struct Qmp(BufReader<UnixStream>);

impl Qmp {
    /// Greets the other side.
    pub fn new(socket: UnixStream) -> Result<Qmp> {
        let mut qmp = Qmp(BufReader::new(socket));
        qmp.receive().context("read qemu's greeting")?;
        qmp.call("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command to its end.
    pub fn call(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let line = json!({ "execute": command, "arguments": arguments }).to_string() + "\n";
        self.0.get_mut().write_all(line.as_bytes()).with_context(|| format!("send {command} to qemu"))?;
        loop {
            let mut answer = self.receive().with_context(|| format!("read qemu's answer to {command}"))?;
            if let Some(error) = answer.get("error") {
                bail!("qemu refused {command}: {error}");
            }
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
        }
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            bail!("qemu has closed the connection");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_passed_over_and_errors_are_told() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let said = concat!(
            "{\"QMP\": {}}\n{\"return\": {}}\n{\"event\": \"JOB\"}\n{\"return\": 7}\n",
            "{\"error\": {\"desc\": \"no such node\"}}\n"
        );
        theirs.write_all(said.as_bytes()).unwrap();
        let mut qmp = Qmp::new(ours).unwrap();
        assert_eq!(qmp.call("one", json!({})).unwrap(), json!(7));
        assert!(qmp.call("two", json!({})).unwrap_err().to_string().contains("no such node"));
        drop(theirs);
        assert!(qmp.call("three", json!({})).is_err());
    }
}
