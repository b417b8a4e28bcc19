//! How the pool is to be served: the command line's words over the table `[pool]` of a TOML file, over the defaults.
//!
//! ```toml
//! [pool]
//! low       = 80     # percent of the data in use from which on new sets are refused
//! critical  = 95     # percent from which on expendable sets are given up
//! full_wait = 5      # seconds that a full pool queues writes before it fails them
//! cache     = "64M"  # memory for metadata
//! ```
//!
//! What always holds: an unknown key of the table is an error that names it; other tables are the service's business.

use crate::limits;
use serde::Deserialize;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};
use umbra_base::{Error, ErrorCode, Result, size::parse_size};
use umbra_store::Thresholds;

/// The file that is read where nobody names another; it need not exist.
pub const DEFAULT_CONFIG: &str = "/etc/umbra/umbra.toml";

/// What may be told of a pool at each start. `None` leaves it to the next in line.
#[derive(Debug, Clone, Default)]
pub struct PoolTuning {
    /// Percent of the data in use from which on new sets are refused.
    pub low_percent: Option<u8>,
    /// Percent from which on expendable sets are given up.
    pub critical_percent: Option<u8>,
    /// How long a full pool queues writes before it fails them.
    pub full_wait: Option<Duration>,
    /// Bytes of memory for what is known of mappings.
    pub cache_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct Tables {
    #[serde(default)]
    pool: Pool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pool {
    low: Option<u8>,
    critical: Option<u8>,
    full_wait: Option<u64>,
    cache: Option<String>,
}

impl PoolTuning {
    /// The file's word, for what is not told here. A `file` that is named must be there.
    pub fn or_from(self, file: Option<&Path>) -> Result<PoolTuning> {
        let Some(path) = file else { return Ok(self) };
        let tables: Tables = toml::from_str(&read(path)?).map_err(|source| {
            Error::new(ErrorCode::InvalidArgument, format!("read configuration {}", path.display()))
                .hint("the keys are those of docs/configuration.md")
                .because(source)
        })?;
        let Pool { low, critical, full_wait, cache } = tables.pool;
        let cache = cache.as_deref().map(parse_size).transpose()?;
        Ok(PoolTuning {
            low_percent: self.low_percent.or(low),
            critical_percent: self.critical_percent.or(critical),
            full_wait: self.full_wait.or(full_wait.map(Duration::from_secs)),
            cache_bytes: self.cache_bytes.or(cache),
        })
    }

    /// The thresholds, checked.
    pub fn thresholds(&self) -> Result<Thresholds> {
        let default = Thresholds::default();
        // One alone moves the other along where the default would contradict it.
        let critical =
            self.critical_percent.unwrap_or(default.critical_percent.max(self.low_percent.unwrap_or(0)));
        let low = self.low_percent.unwrap_or(default.low_percent.min(critical));
        let full_wait = self.full_wait.unwrap_or(default.full_wait);
        if !limits::PERCENTS.contains(&low) || !limits::PERCENTS.contains(&critical) || low > critical {
            let text = format!("low space at {low} % and critical space at {critical} % of the pool");
            return Err(Error::new(ErrorCode::InvalidArgument, text)
                .hint("percents are 1 to 100, and low is not above critical"));
        }
        if full_wait > limits::FULL_WAIT_MAX {
            let (wish, max) = (full_wait.as_secs(), limits::FULL_WAIT_MAX.as_secs());
            let text = format!("a full pool cannot queue writes for {wish} s, which is longer than {max} s");
            return Err(Error::new(ErrorCode::InvalidArgument, text)
                .hint("stay below the time after which hosts give a command up, mostly 30 s"));
        }
        Ok(Thresholds { low_percent: low, critical_percent: critical, full_wait })
    }

    /// Memory for mappings, checked.
    pub fn cache_bytes(&self, default: u64) -> Result<u64> {
        let bytes = self.cache_bytes.unwrap_or(default);
        if limits::CACHE_BYTES.contains(&bytes) {
            return Ok(bytes);
        }
        Err(Error::new(ErrorCode::InvalidArgument, format!("a cache of {bytes} bytes for mappings"))
            .hint("1M to 64G; 8M serve 128 GiB in blocks of 64 KiB"))
    }
}

/// The file to read: the one that is named, or the default one if there is one.
pub fn config_file(named: Option<PathBuf>) -> Option<PathBuf> {
    named.or_else(|| Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists()))
}

fn read(path: &Path) -> Result<String> {
    let what = || format!("read configuration {}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(|source| Error::io(what(), source))?;
    let read = file.take(limits::CONFIG_BYTES + 1).read_to_string(&mut text);
    let bytes = read.map_err(|source| Error::io(what(), source))?;
    if bytes as u64 > limits::CONFIG_BYTES {
        let why = format!("it is above {} bytes", limits::CONFIG_BYTES);
        return Err(Error::new(ErrorCode::LimitReached, what()).because(why));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str, told: PoolTuning) -> Result<PoolTuning> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("umbra.toml");
        std::fs::write(&path, text).unwrap();
        told.or_from(Some(&path))
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_defaults() {
        let text = "[pool]\nlow = 50\ncritical = 70\ncache = \"2M\"\n[service]\nruntime = \"/x\"\n";
        let told = PoolTuning { critical_percent: Some(60), ..PoolTuning::default() };
        let tuning = from(text, told).unwrap();
        let full_wait = Thresholds::default().full_wait;
        let expected = Thresholds { low_percent: 50, critical_percent: 60, full_wait };
        assert_eq!((tuning.thresholds().unwrap(), tuning.cache_bytes(9).unwrap()), (expected, 2 << 20));
        let nothing = from("", PoolTuning::default()).unwrap();
        assert_eq!(nothing.thresholds().unwrap(), Thresholds::default());
        assert_eq!(nothing.cache_bytes(3 << 20).unwrap(), 3 << 20);
    }

    #[test]
    fn one_percent_alone_never_contradicts_a_default() {
        for (low, critical, expected) in
            [(Some(99), None, (99, 99)), (None, Some(10), (10, 10)), (Some(5), None, (5, 95))]
        {
            let tuning = PoolTuning { low_percent: low, critical_percent: critical, ..PoolTuning::default() };
            let found = tuning.thresholds().unwrap();
            assert_eq!((found.low_percent, found.critical_percent), expected);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_hint() {
        for text in ["[pool]\nlow = 90\ncritical = 80", "[pool]\nlow = 0", "[pool]\nfull_wait = 99999"] {
            let error = from(text, PoolTuning::default()).unwrap().thresholds().unwrap_err();
            assert!(error.code() == ErrorCode::InvalidArgument && error.hint_text().is_some(), "{text}");
        }
        for text in ["[pool]\nlo = 1", "[pool]\nlow = 300", "[pool"] {
            let error = from(text, PoolTuning::default()).unwrap_err();
            assert!(error.chain().contains("umbra.toml"), "{text}: {error:?}");
        }
        let small = PoolTuning { cache_bytes: Some(1), ..PoolTuning::default() };
        assert_eq!(small.cache_bytes(0).unwrap_err().code(), ErrorCode::InvalidArgument);
        let nowhere = PoolTuning::default().or_from(Some(Path::new("/nonexistent/umbra.toml")));
        assert_eq!(nowhere.unwrap_err().code(), ErrorCode::Io);
    }
}
