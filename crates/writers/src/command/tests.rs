//! With real shell scripts.

use super::*;
use crate::config::{WriterConfig, parse};
use std::{path::PathBuf, sync::Arc};
use umbra_base::{ErrorCode, SetId};

struct Shop {
    folder: tempfile::TempDir,
}

impl Shop {
    fn new() -> Shop {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        Shop { folder }
    }

    fn path(&self, below: &str) -> PathBuf {
        std::fs::canonicalize(self.folder.path()).unwrap().join(below)
    }

    /// A writer over folder `a` whose programs write a line to a log each.
    fn config(&self, more: &str) -> WriterConfig {
        let (data, log) = (self.path("a"), self.path("log"));
        let script = format!("echo $UMBRA_EVENT $UMBRA_WRITER $UMBRA_SET >> {}", log.display());
        let run = format!("{{ run = ['/bin/sh', '-c', '{script}'], limit_s = 5 }}");
        let events = ["prepare", "freeze", "thaw", "post", "abort"].map(|event| format!("{event} = {run}"));
        let text = format!(
            "name = 'shop'\n[command]\npaths = ['{}']\n{}\n{more}",
            data.display(),
            events.join("\n")
        );
        parse(&text, "test").unwrap()
    }

    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }

    fn set(&self, volume: &str) -> SetContext {
        let (root, name) = (self.path(volume), volume.to_owned());
        let volume_of = move |path: &Path| path.starts_with(&root).then(|| name.clone());
        SetContext { set: SetId(uuid::Uuid::nil()), volume_of: Arc::new(volume_of) }
    }

    async fn writer(&self, more: &str) -> Arc<dyn Writer> {
        let config = self.config(more);
        config.join(&config.identify().await.unwrap(), &self.set("a")).expect("it is affected")
    }
}

#[tokio::test]
async fn each_event_runs_its_program_but_thaw_is_left_to_the_holder_of_the_undo() {
    let shop = Shop::new();
    let writer = shop.writer("attest = { run = ['/bin/true'] }").await;
    let report = writer.prepare().await.unwrap();
    assert_eq!(report.claims[0].level, Consistency::Application);
    writer.freeze().await.unwrap();
    writer.attest().await.unwrap();
    writer.thaw().await.unwrap();
    writer.post_snapshot().await.unwrap();
    writer.abort().await.unwrap();
    assert_eq!(shop.log(), ["prepare", "freeze", "post", "abort"]);
    let undo = writer.undo().unwrap();
    assert_eq!((undo.name.as_str(), undo.limit), ("shop", Duration::from_secs(5)));
    assert!(undo.env.contains(&("UMBRA_EVENT".into(), "thaw".into())));
    assert_eq!(undo.argv[0], "/bin/sh");
}

#[tokio::test]
async fn without_an_attest_command_no_application_consistency_is_claimed() {
    let shop = Shop::new();
    let report = shop.writer("").await.prepare().await.unwrap();
    assert_eq!(report.claims[0].level, Consistency::FileSystem);
    assert!(report.claims[0].reason.contains("nothing proves"));
}

#[tokio::test]
async fn a_path_that_moved_out_of_the_set_is_an_inconsistent_snapshot() {
    let shop = Shop::new();
    let writer = shop.writer("").await;
    std::fs::remove_dir(shop.path("a")).unwrap();
    std::os::unix::fs::symlink(shop.path("b"), shop.path("a")).unwrap();
    assert_eq!(writer.prepare().await.unwrap_err().code(), ErrorCode::InconsistentSnapshot);
    assert!(shop.log().is_empty(), "nothing is prepared for a set that cannot be");
}

#[tokio::test]
async fn a_writer_without_data_in_the_set_takes_no_part() {
    let shop = Shop::new();
    let config = shop.config("");
    assert!(config.join(&config.identify().await.unwrap(), &shop.set("b")).is_none());
}

#[tokio::test]
async fn a_failing_attest_says_why() {
    let shop = Shop::new();
    let writer = shop.writer("attest = { run = ['/bin/sh', '-c', 'echo thawed meanwhile; exit 1'] }").await;
    let error = writer.attest().await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::WriterFailed);
    assert!(error.message().contains("thawed meanwhile"), "{error}");
}
