//! What is taken from a host that is writing to it at that moment: nothing that it sent lands later (A1, B1).

use crate::bench::{Bench, HOST_A, HOST_B, Kill, MIB, eventually, lun_tool, run};
use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Stdio};

/// Sessions that write at the same time, so that something is always under way.
const WRITERS: usize = 3;

/// A process of host `a` that writes one MiB over and over until that is refused.
struct Writer {
    child: Kill,
    said: BufReader<ChildStdout>,
}

impl Writer {
    /// Begun, but perhaps not writing yet.
    fn start(bench: &Bench, number: u32) -> Writer {
        let mut tool = lun_tool(bench, ("a", HOST_A), number, "churn", 0xaa);
        let tool = tool.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Kill(tool.spawn().unwrap());
        let said = BufReader::new(child.0.stdout.take().unwrap());
        Writer { child, said }
    }

    /// Returns when one of its writes was acknowledged, and the next is on its way.
    fn writes(&mut self) {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert_eq!(line, "writing\n");
    }

    /// Waits for its end, and for what its last write was answered.
    fn refused(mut self) {
        eventually("the end of a writer", || self.child.0.try_wait().unwrap().is_some());
        let mut text = String::new();
        self.child.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(self.child.0.wait().unwrap().code(), Some(1), "{text}");
        assert!(text.contains("LOGICAL_UNIT_NOT_SUPPORTED"), "{text}");
    }
}

/// All of them write to the LUN.
fn writers(bench: &Bench, number: u32) -> Vec<Writer> {
    let mut writers: Vec<Writer> = (0..WRITERS).map(|_| Writer::start(bench, number)).collect();
    writers.iter_mut().for_each(Writer::writes);
    writers
}

#[test]
fn a_lun_can_be_deleted_while_it_is_written_and_nothing_of_it_stays() {
    let bench = Bench::with_lun("data", 10 * MIB);
    let client = &bench.client;
    client.unmask("data", "a");
    let writers = writers(&bench, 1);
    client.delete("data").unwrap();
    writers.into_iter().for_each(Writer::refused);
    bench.reaped();
    assert_eq!(client.status().pool.unwrap().data_used_bytes, 0, "all of it has left the pool");
    client.create_lun("next", 10 * MIB);
    client.unmask("next", "b");
    let (ok, text) = run(&mut lun_tool(&bench, ("b", HOST_B), 1, "read", 0));
    assert!(ok, "a new LUN reads as zeroes: {text}");
    bench.stop_and_check();
}

#[test]
fn a_takeover_from_a_host_that_writes_lets_nothing_of_it_land_on_what_the_new_one_wrote() {
    let bench = Bench::with_lun("data", 10 * MIB);
    let client = &bench.client;
    let set = client.create_set(&["data"], true);
    client.import(&set.id, "a", false).unwrap();
    let writers = writers(&bench, 1);
    client.import(&set.id, "b", true).unwrap();
    let as_b = |what: &str| run(&mut lun_tool(&bench, ("b", HOST_B), 1, what, 0xbb));
    let (ok, text) = as_b("write");
    assert!(ok, "{text}");
    writers.into_iter().for_each(Writer::refused);
    let (ok, text) = as_b("read");
    assert!(ok, "a write of the old importer came after those of the new one: {text}");
    bench.stop_and_check();
}
