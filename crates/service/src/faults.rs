//! Faults on purpose, for the tests that must be able to fail: the environment variable `UMBRA_FAULT`, read only in builds
//! with the feature `faults`. Without the feature no fault can be switched on.
//!
//! `skip_freeze`: file systems are not frozen, and nobody attests that they are. `pause_after_freeze=MS`: the creation rests
//! inside the window, for a test to strike there; `UMBRA_FAULT_TELL=PATH` names a file that is made when that rest begins.

#[cfg(feature = "faults")]
mod switched {
    use std::time::Duration;

    /// The faults that are switched on.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct Faults {
        skip_freeze: bool,
        pause_after_freeze: Duration,
    }

    impl Faults {
        pub fn from_environment() -> Faults {
            Faults::parse(&std::env::var("UMBRA_FAULT").unwrap_or_default())
        }

        fn parse(text: &str) -> Faults {
            let mut faults = Faults::default();
            for word in text.split(',') {
                match word.split_once('=') {
                    None if word == "skip_freeze" => faults.skip_freeze = true,
                    Some(("pause_after_freeze", ms)) => {
                        faults.pause_after_freeze = Duration::from_millis(ms.parse().unwrap_or(0));
                    }
                    _ => {}
                }
            }
            faults
        }

        pub fn skip_freeze(self) -> bool {
            self.skip_freeze
        }

        pub async fn after_freeze(self) {
            if let Some(path) = std::env::var_os("UMBRA_FAULT_TELL") {
                let _ = std::fs::write(path, "");
            }
            tokio::time::sleep(self.pause_after_freeze).await;
        }
    }
}

#[cfg(feature = "faults")]
pub use switched::Faults;

/// No faults.
#[cfg(not(feature = "faults"))]
#[derive(Debug, Clone, Copy)]
pub struct Faults;

#[cfg(not(feature = "faults"))]
impl Faults {
    pub fn from_environment() -> Faults {
        Faults
    }

    pub fn skip_freeze(self) -> bool {
        false
    }

    pub async fn after_freeze(self) {}
}
