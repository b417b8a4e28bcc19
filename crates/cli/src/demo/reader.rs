//! A second host's eyes: third-party initiators that read a LUN over TCP with CHAP, without a line of our own code.
//!
//! qemu-img where it has its iSCSI module, else libiscsi itself, called from Python. Both use libiscsi's protocol code;
//! both get the secret by environment or file, never on a command line that others can see.

use super::{
    preflight,
    process::run,
    scene::{Scene, text},
    trouble::{Told, Trouble, demand, doing},
};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Reads a whole LUN through libiscsi and writes it to a file: URL and file are its arguments, CHAP comes by environment.
const PYTHON: &str = include_str!("read_lun.py");

/// The program that reads.
#[derive(Debug)]
pub enum Reader {
    Qemu(PathBuf),
    Python(PathBuf),
}

/// What a host logs in with.
#[derive(Debug)]
pub struct Login {
    pub initiator: String,
    pub user: String,
    pub secret: String,
}

impl Reader {
    pub fn find() -> Option<Reader> {
        let qemu = preflight::find("qemu-img").filter(|qemu| qemu_speaks_iscsi(qemu)).map(Reader::Qemu);
        qemu.or_else(|| {
            preflight::find("python3").filter(|python| python_has_libiscsi(python)).map(Reader::Python)
        })
    }

    pub fn describe(&self) -> &'static str {
        match self {
            Reader::Qemu(_) => "qemu-img",
            Reader::Python(_) => "libiscsi, from Python",
        }
    }

    /// Reads the LUN at `url` (`iscsi://HOST:PORT/IQN/NUMBER`) into `file`.
    pub async fn read(&self, scene: &Scene, login: &Login, url: &str, file: &Path) -> Told<()> {
        match self {
            Reader::Qemu(qemu) => self::qemu(scene, qemu, login, url, file).await,
            Reader::Python(python) => {
                let mut command = with_login(scene, python, login);
                let ran = run(command.args(["-c", PYTHON, url]).arg(file).arg(&login.initiator)).await?;
                ran.ok().map(drop)
            }
        }
    }
}

/// The LUN numbers that a host sees at a portal, by iscsi-ls.
pub async fn luns_seen(scene: &Scene, login: &Login, portal: &str) -> Told<Vec<String>> {
    let mut command = with_login(scene, Path::new("iscsi-ls"), login);
    let ran = run(command.args(["-i", &login.initiator, "-s", &format!("iscsi://{portal}")])).await?;
    let said = ran.ok()?;
    demand(said.contains("Target:"), || format!("iscsi-ls shows no target: {said}"))?;
    // "Lun:1    Type:DIRECT_ACCESS (Size:256M)"; a LUN 0 that only answers for the target is no disk.
    let disks = said.lines().filter(|line| line.contains("DIRECT_ACCESS"));
    Ok(disks.map(|line| line.trim().to_owned()).collect())
}

/// Whether a login is refused.
pub async fn login_refused(scene: &Scene, login: &Login, portal: &str) -> Told<bool> {
    let mut command = with_login(scene, Path::new("iscsi-ls"), login);
    let ran = run(command.args(["-i", &login.initiator, "-s", &format!("iscsi://{portal}")])).await?;
    Ok(ran.code != Some(0) && !ran.stdout.contains("Lun:"))
}

fn with_login(scene: &Scene, program: &Path, login: &Login) -> tokio::process::Command {
    let mut command = scene.command(program);
    command.env("LIBISCSI_CHAP_USERNAME", &login.user).env("LIBISCSI_CHAP_PASSWORD", &login.secret);
    command
}

async fn qemu(scene: &Scene, qemu: &Path, login: &Login, url: &str, file: &Path) -> Told<()> {
    let secret = scene.path("chap-secret");
    let written = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&secret);
    doing("write the secret", written.and_then(|mut out| out.write_all(login.secret.as_bytes())))?;
    let mut command = scene.command(qemu);
    command.arg("convert").args(["--object", &format!("secret,id=chap,file={}", text(&secret))]);
    command.args(["--image-opts", &qemu_source(login, url)?, "-O", "raw"]).arg(file);
    let ran = run(&mut command).await;
    doing("remove the secret", fs::remove_file(&secret))?;
    ran?.ok().map(drop)
}

/// qemu's words for a LUN; its URL has no place for an initiator name.
fn qemu_source(login: &Login, url: &str) -> Told<String> {
    let parts: Vec<_> = url.strip_prefix("iscsi://").unwrap_or_default().splitn(3, '/').collect();
    let [portal, target, lun] = parts[..] else {
        return Err(Trouble::new(format!("{url:?} is no URL of a LUN")));
    };
    Ok(format!(
        "driver=iscsi,transport=tcp,portal={portal},target={target},lun={lun},user={},password-secret=chap,initiator-name={}",
        login.user, login.initiator
    ))
}

/// A closed port is answered with a refused connection only where the module is there.
fn qemu_speaks_iscsi(qemu: &Path) -> bool {
    let asked = Command::new(qemu).args(["info", "iscsi://127.0.0.1:1/iqn.2026-11.io.umbra:none/0"]).output();
    asked.is_ok_and(|output| {
        let said = String::from_utf8_lossy(&output.stderr);
        !said.contains("module")
            && !said.contains("Unknown protocol")
            && !said.contains("Must specify either driver")
    })
}

fn python_has_libiscsi(python: &Path) -> bool {
    let asked = Command::new(python).args(["-c", PYTHON]).output();
    asked.is_ok_and(|output| output.status.success())
}

/// Another host's name and initiator.
pub const SECOND: (&str, &str) = ("second-host", "iqn.2026-11.io.umbra:host:second");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_words_for_qemu() {
        let login = Login { initiator: "iqn.i".into(), user: "u".into(), secret: "s".into() };
        let source = qemu_source(&login, "iscsi://127.0.0.1:3260/iqn.t/3").unwrap();
        assert!(source.contains("portal=127.0.0.1:3260,target=iqn.t,lun=3,user=u"), "{source}");
        assert!(!source.contains("=s,"), "the secret is not on the command line");
        assert!(qemu_source(&login, "http://x").is_err());
    }
}
