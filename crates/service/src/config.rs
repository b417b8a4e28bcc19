//! What a service is told at its start: the TOML file, the command line's words over it, and the defaults under it.
//!
//! ```toml
//! [service]
//! runtime     = "/run/umbra"             # sockets, attachments, mounts, the guard's records; a tmpfs
//! state       = "/var/lib/umbra"         # made at the start; the service keeps nothing that must survive a reboot
//! socket      = "/run/umbra/umbra.sock"  # management (umbra.v1.Service), root only; default RUNTIME/umbra.sock
//! host_name   = "a"                      # this host in the array; default: the host name
//! initiator   = "iqn.2026-11.io.umbra:host:a" # its iSCSI name; default: from /etc/machine-id
//! writers_dir = "/etc/umbra/writers.d"   # one TOML file for each writer
//! program     = "/usr/bin/umbra"         # started as guard and as attachment; default: the running program
//!
//! [array]
//! address = "unix:/var/lib/umbra/array/array.sock" # management of the array
//! ```
//!
//! What always holds: every key is optional, an unknown key is an error that names it, and every path is absolute.

use crate::limits::CONFIG_BYTES;
use serde::Deserialize;
use std::{
    io::Read,
    path::{Path, PathBuf},
};
use umbra_api::Address;
use umbra_base::{
    Error, ErrorCode, Result,
    limits::{ISCSI_NAME_BYTES, NAME_BYTES},
};

/// The file that is read where nobody names another; it need not exist.
pub const DEFAULT_CONFIG: &str = "/etc/umbra/umbra.toml";

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The configuration file; it must exist if named.
    pub config: Option<PathBuf>,
    /// Overrides `service.socket`.
    pub socket: Option<PathBuf>,
    /// Overrides `array.address`.
    pub array: Option<Address>,
}

/// All that a running service needs to know, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Sockets, attachments and the guard's records.
    pub runtime: PathBuf,
    /// A folder of the service's own on disk.
    pub state: PathBuf,
    /// The management socket.
    pub socket: PathBuf,
    /// This host's name in the array.
    pub host_name: String,
    /// This host's iSCSI name.
    pub initiator: String,
    /// Where writers are described.
    pub writers_dir: PathBuf,
    /// The program that is started as guard and as attachment.
    pub program: PathBuf,
    /// The array.
    pub array: Address,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    service: ServiceSection,
    #[serde(default)]
    array: ArraySection,
    /// The array's, where both share a file.
    #[serde(default, rename = "pool")]
    _pool: serde::de::IgnoredAny,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceSection {
    runtime: Option<PathBuf>,
    state: Option<PathBuf>,
    socket: Option<PathBuf>,
    host_name: Option<String>,
    initiator: Option<String>,
    writers_dir: Option<PathBuf>,
    program: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArraySection {
    address: Option<String>,
}

impl Config {
    /// Reads the file that `options` name, or the default one if there is one.
    pub fn load(options: &Options) -> Result<Config> {
        let text = match &options.config {
            Some(path) => read(path)?,
            None if Path::new(DEFAULT_CONFIG).exists() => read(Path::new(DEFAULT_CONFIG))?,
            None => String::new(),
        };
        let name = options.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG));
        let file: File = toml::from_str(&text).map_err(|source| {
            Error::new(ErrorCode::InvalidArgument, format!("read configuration {}", name.display()))
                .hint("the keys are those of docs/configuration.md")
                .because(source)
        })?;
        Config::settle(file, options)
    }

    fn settle(file: File, options: &Options) -> Result<Config> {
        let service = file.service;
        let runtime = absolute("service.runtime", service.runtime.unwrap_or_else(|| "/run/umbra".into()))?;
        let socket = options.socket.clone().or(service.socket).unwrap_or_else(|| runtime.join("umbra.sock"));
        let array = match (&options.array, file.array.address) {
            (Some(address), _) => address.clone(),
            (None, Some(text)) => text.parse()?,
            (None, None) => umbra_api::DEFAULT_ARRAY.parse()?,
        };
        let writers_dir = service.writers_dir.unwrap_or_else(|| "/etc/umbra/writers.d".into());
        Ok(Config {
            state: absolute("service.state", service.state.unwrap_or_else(|| "/var/lib/umbra".into()))?,
            socket: absolute("service.socket", socket)?,
            host_name: host_name(service.host_name)?,
            initiator: initiator(service.initiator)?,
            writers_dir: absolute("service.writers_dir", writers_dir)?,
            program: program(service.program)?,
            runtime,
            array,
        })
    }
}

fn read(path: &Path) -> Result<String> {
    let what = || format!("read configuration {}", path.display());
    let file = std::fs::File::open(path).map_err(|source| Error::io(what(), source))?;
    let mut text = String::new();
    let count = file.take(CONFIG_BYTES + 1).read_to_string(&mut text);
    let count = count.map_err(|source| Error::io(what(), source))?;
    if count as u64 > CONFIG_BYTES {
        return Err(
            Error::new(ErrorCode::LimitReached, what()).because(format!("it is above {CONFIG_BYTES} bytes"))
        );
    }
    Ok(text)
}

fn absolute(key: &str, path: PathBuf) -> Result<PathBuf> {
    if path.is_absolute() {
        return Ok(path);
    }
    let text = format!("{key} = {:?} is not an absolute path", path.display().to_string());
    Err(Error::new(ErrorCode::InvalidArgument, text))
}

fn host_name(given: Option<String>) -> Result<String> {
    let name = given.unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > NAME_BYTES || !name.chars().all(legal) {
        let text = format!("{name:?} is not a host name");
        return Err(Error::new(ErrorCode::InvalidArgument, text).hint(format!(
            "set service.host_name: letters, digits, '-', '_' and '.', at most {NAME_BYTES}"
        )));
    }
    Ok(name)
}

fn initiator(given: Option<String>) -> Result<String> {
    let name = match given {
        Some(name) => name,
        None => format!("iqn.2026-11.io.umbra:host:{}", machine_id()?),
    };
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c);
    if name.len() > ISCSI_NAME_BYTES || !name.starts_with("iqn.") || !name.chars().all(legal) {
        let text = format!("service.initiator = {name:?} is not an iSCSI name");
        return Err(Error::new(ErrorCode::InvalidArgument, text)
            .hint("write iqn.YYYY-MM.reversed.domain:anything in lower case (RFC 7143 section 4.2.7)"));
    }
    Ok(name)
}

fn machine_id() -> Result<String> {
    let text = std::fs::read_to_string("/etc/machine-id").map_err(|source| {
        Error::io("read /etc/machine-id for this host's iSCSI name", source)
            .hint("make it with systemd-machine-id-setup, or set service.initiator")
    })?;
    Ok(text.trim().to_ascii_lowercase())
}

fn program(given: Option<PathBuf>) -> Result<PathBuf> {
    match given {
        Some(path) => absolute("service.program", path),
        None => std::env::current_exe()
            .map_err(|source| Error::io("find the path of the running program", source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(text: &str) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("umbra.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&Options { config: Some(path), ..Options::default() })
    }

    #[test]
    fn the_socket_follows_the_runtime_folder_unless_set() {
        let base = "[service]\nhost_name='a'\ninitiator='iqn.2026-11.io.umbra:host:a'\nruntime='/x'\n";
        assert_eq!(settle(base).unwrap().socket, Path::new("/x/umbra.sock"));
        assert_eq!(settle(&format!("{base}socket='/y.sock'")).unwrap().socket, Path::new("/y.sock"));
        let array = settle(&format!("{base}[array]\naddress='unix:/z.sock'")).unwrap().array;
        assert_eq!(array.to_string(), "unix:/z.sock");
        assert!(settle(&format!("{base}[pool]\nlow=80\n")).is_ok(), "a file that an array reads as well");
    }

    #[test]
    fn wrong_configuration_is_refused_with_the_key_in_the_sentence() {
        for (text, part) in [
            ("[service]\nruntim='/x'", "runtim"),
            ("[service]\nruntime='x'", "service.runtime"),
            ("[service]\nhost_name='a b'", "a b"),
            ("[service]\ninitiator='IQN.x'", "IQN.x"),
            ("[array]\naddress='http://x'", "http://x"),
        ] {
            let error = settle(text).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidArgument, "{text}");
            assert!(error.chain().contains(part), "{text}: {}", error.chain());
        }
    }

    #[test]
    fn a_named_file_must_exist() {
        let options = Options { config: Some("/nonexistent/umbra.toml".into()), ..Options::default() };
        assert_eq!(Config::load(&options).unwrap_err().code(), ErrorCode::Io);
    }
}
