//! What a sandbox is told to be, as arguments of the internal subcommand.

use serde::{Deserialize, Serialize};
use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use umbra_base::{Error, ErrorCode, Result};

/// A folder that is seen at another place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// The folder, a copy's mount point.
    pub source: PathBuf,
    /// Where the command finds it.
    pub target: PathBuf,
}

/// Whom the command runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    #[serde(default)]
    pub groups: Vec<u32>,
}

/// A private view of the host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sandbox {
    /// Copies and where they are seen; writable as far as their mounts are.
    #[serde(default)]
    pub binds: Vec<Bind>,
    /// Folders of the host that stay writable.
    #[serde(default)]
    pub writable: Vec<PathBuf>,
    /// Folders of the host that are seen empty: sockets of the originals' servers lie in such.
    #[serde(default)]
    pub hidden: Vec<PathBuf>,
    /// None: as the caller, without the capabilities that could undo the sandbox.
    #[serde(default)]
    pub user: Option<User>,
}

impl Sandbox {
    /// The command `PROGRAM sandbox ... -- CMD ARGS`, for programs whose `sandbox` subcommand is
    /// [`super::run_sandbox`]. Standard streams and environment are the caller's to set.
    pub fn command(&self, program: &Path, command: impl AsRef<OsStr>, args: &[impl AsRef<OsStr>]) -> Command {
        let mut outer = Command::new(program);
        outer.arg("sandbox").args(self.to_args()).arg("--").arg(command).args(args);
        outer
    }

    fn to_args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        for bind in &self.binds {
            let mut pair = bind.source.clone().into_os_string();
            pair.push("=");
            pair.push(&bind.target);
            args.extend(["--bind".into(), pair]);
        }
        for path in &self.writable {
            args.extend(["--writable".into(), path.into()]);
        }
        for path in &self.hidden {
            args.extend(["--hidden".into(), path.into()]);
        }
        if let Some(user) = &self.user {
            args.extend([
                "--uid".into(),
                user.uid.to_string().into(),
                "--gid".into(),
                user.gid.to_string().into(),
            ]);
            for group in &user.groups {
                args.extend(["--group".into(), group.to_string().into()]);
            }
        }
        args
    }
}

/// Where in its start a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Outer,
    Init,
    Command,
}

/// The arguments of the subcommand, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) sandbox: Sandbox,
    pub(super) stage: Stage,
    pub(super) command: Vec<String>,
}

impl Order {
    pub(super) fn parse(args: &[String]) -> Result<Order> {
        let usage = || {
            Error::new(
                ErrorCode::InvalidArgument,
                "usage: sandbox [--spec FILE] [--bind COPY=PATH]... [--writable PATH]... [--hidden PATH]... \
                 [--uid N --gid N [--group N]...] -- CMD [ARG...]",
            )
        };
        let end = args.iter().position(|arg| arg == "--").ok_or_else(usage)?;
        let mut order =
            Order { sandbox: Sandbox::default(), stage: Stage::Outer, command: args[end + 1..].to_vec() };
        let mut user = (None, None, Vec::new());
        for pair in args[..end].chunks(2) {
            let [name, value] = pair else { return Err(usage()) };
            let number = || value.parse::<u32>().map_err(|_| usage());
            match name.as_str() {
                "--spec" => order.sandbox = load(Path::new(value))?,
                "--bind" => {
                    let (source, target) = value.split_once('=').ok_or_else(usage)?;
                    order.sandbox.binds.push(Bind { source: source.into(), target: target.into() });
                }
                "--writable" => order.sandbox.writable.push(value.into()),
                "--hidden" => order.sandbox.hidden.push(value.into()),
                "--uid" => user.0 = Some(number()?),
                "--gid" => user.1 = Some(number()?),
                "--group" => user.2.push(number()?),
                "--stage" if value == "init" => order.stage = Stage::Init,
                "--stage" if value == "command" => order.stage = Stage::Command,
                _ => return Err(usage()),
            }
        }
        match user {
            (None, None, groups) if groups.is_empty() => {}
            (Some(uid), Some(gid), groups) => order.sandbox.user = Some(User { uid, gid, groups }),
            _ => return Err(usage()),
        }
        if order.command.is_empty() {
            return Err(usage());
        }
        order.check()?;
        Ok(order)
    }

    fn check(&self) -> Result<()> {
        let sandbox = &self.sandbox;
        let binds = sandbox.binds.iter().flat_map(|bind| [&bind.source, &bind.target]);
        for path in binds.chain(&sandbox.writable).chain(&sandbox.hidden) {
            if !path.is_absolute() || path.components().any(|part| part == std::path::Component::ParentDir) {
                let text = format!("{} is not an absolute path without ..", path.display());
                return Err(Error::new(ErrorCode::InvalidArgument, text));
            }
        }
        Ok(())
    }

    /// The arguments for the next stage.
    pub(super) fn args(&self, stage: &str) -> Vec<OsString> {
        let mut args = vec!["sandbox".into(), "--stage".into(), stage.into()];
        args.extend(self.sandbox.to_args());
        args.push("--".into());
        args.extend(self.command.iter().map(OsString::from));
        args
    }
}

fn load(path: &Path) -> Result<Sandbox> {
    let text = fs::read(path).map_err(|error| Error::io(format!("read {}", path.display()), error))?;
    serde_json::from_slice(&text).map_err(|error| {
        Error::new(ErrorCode::InvalidArgument, format!("{} describes no sandbox", path.display()))
            .because(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_what_is_read() {
        let sandbox = Sandbox {
            binds: vec![Bind { source: "/copy".into(), target: "/data".into() }],
            writable: vec!["/out".into()],
            hidden: vec!["/sock".into()],
            user: Some(User { uid: 5, gid: 6, groups: vec![7] }),
        };
        let order =
            Order { sandbox, stage: Stage::Init, command: vec!["ls".into(), "--".into(), "-l".into()] };
        let args: Vec<String> =
            order.args("init").into_iter().map(|arg| arg.into_string().unwrap()).collect();
        assert_eq!(Order::parse(&args[1..]).unwrap(), order);
    }

    #[test]
    fn half_an_order_is_refused() {
        for args in [
            &["--bind", "/a=/b"][..],
            &["--"],
            &["--bind", "/a", "--", "ls"],
            &["--bind", "a=/b", "--", "ls"],
            &["--bind", "/a=/b/../c", "--", "ls"],
            &["--uid", "1", "--", "ls"],
            &["--nonsense", "1", "--", "ls"],
        ] {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            assert_eq!(Order::parse(&args).unwrap_err().code(), ErrorCode::InvalidArgument, "{args:?}");
        }
    }
}
