//! A running array: everything put together, started in the order in which it becomes safe, stopped in the reverse.
//!
//! ```text
//!   folder -> pool (lock, log entered) -> catalogue -> driver (crash undone, masks applied)
//!          -> TCP portals -> iscsi.sock -> array.sock           (its being there: ready)
//!   stop: array.sock -> requests under way -> target (sessions ended) -> background -> pool closed, clean
//! ```
//!
//! What always holds: nobody can reach a LUN before every mask is in force, and the pool is closed only when nothing
//! can write to it any more.

use crate::{
    audit::Audit,
    catalogue::{CatalogueStore, SqliteCatalogue},
    clock::{Clock, SystemClock},
    config::PoolTuning,
    driver::{Array, Background, GiveUp, Parts},
    folder::Folder,
    limits,
    portal::{Hosts, TargetFront},
    reservations::Reservations,
    secrets::Secrets,
    server::{self, Addresses, Identity, Requests},
    unit::Unit,
};
use std::{
    fmt,
    fs::File,
    io::{Seek, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle, time::timeout};
use umbra_base::{ArrayId, Error, ErrorCode, Result};
use umbra_store::{LunStore, PoolParams, ThinPoolStore, backing::Backing};
use umbra_target::{Backend, PortalAuth, Target, TargetConfig};
use uuid::Uuid;

/// How an array is to be served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its folder; made if missing.
    pub dir: PathBuf,
    /// Bytes of the pool, at the first start.
    pub size: Option<u64>,
    /// Bytes of the pool's blocks, at the first start.
    pub block_size: Option<u64>,
    /// TCP portals; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Whether TCP portals ask for CHAP (X1).
    pub auth: PortalAuth,
    /// Addresses that discovery tells instead of those that are listened on, `HOST:PORT`: one for each, in the same order, or
    /// none.
    pub advertise: Vec<String>,
    /// What carries the I/O of hosts.
    pub backend: Backend,
    /// How long a thread that serves hosts waits awake for the next command, at most, instead of the target's own default.
    pub busy_poll: Option<Duration>,
    /// Go on without a log that is missing or damaged; see [`PoolParams::accept_lost_log`].
    pub accept_lost_log: bool,
    /// Where the pool is, if not in the folder.
    pub files: Option<PoolFiles>,
    /// A file with more on how the pool is to be served; see [`PoolTuning`].
    pub config: Option<PathBuf>,
    /// What wins over that file.
    pub tuning: PoolTuning,
}

/// Files of a pool that are not in the array's folder. Its log is there nevertheless.
#[derive(Debug, Clone)]
pub struct PoolFiles {
    /// Data.
    pub data: PathBuf,
    /// Metadata.
    pub meta: PathBuf,
}

impl Options {
    /// An array in `dir`, reachable from this machine alone.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Options {
            dir: dir.into(),
            size: None,
            block_size: None,
            listen: Vec::new(),
            auth: PortalAuth::Chap,
            advertise: Vec::new(),
            backend: Backend::Auto,
            busy_poll: None,
            accept_lost_log: false,
            files: None,
            config: None,
            tuning: PoolTuning::default(),
        }
    }
}

/// An array that is being served. Dropped without [`Server::stop`], it ends as if its process had died.
pub struct Server {
    folder: Folder,
    addresses: Addresses,
    array: Arc<Array>,
    background: Background,
    target: Arc<Target<Unit>>,
    store: Arc<ThinPoolStore>,
    runtime: Runtime,
    management: Management,
}

/// The management server's task, and what ends it.
#[derive(Debug)]
struct Management {
    stop: oneshot::Sender<()>,
    requests: Requests,
    task: JoinHandle<Result<()>>,
}

impl Management {
    /// Takes in nobody new, waits for the requests under way and then a moment for their answers to be read. A peer
    /// that keeps its connection open holds nothing up.
    async fn end(self) -> Result<()> {
        let Management { stop, requests, mut task } = self;
        // The receiver is gone only if the task has ended by itself.
        let _ended_already = stop.send(());
        if timeout(limits::STOP_LIMIT, requests.drain()).await.is_err() {
            tracing::warn!("management requests did not end in time");
        }
        match timeout(limits::STOP_GRACE, &mut task).await {
            Ok(Ok(served)) => served,
            Ok(Err(source)) => {
                Err(Error::new(ErrorCode::Internal, "the management server failed").because(source))
            }
            Err(_) => {
                task.abort();
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("folder", &self.folder)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// Serves an array until SIGTERM or SIGINT, then stops it cleanly.
pub fn serve(options: Options) -> Result<()> {
    best_effort("lock memory", umbra_sys::writeback::lock_memory());
    best_effort("join the writeback path", umbra_sys::writeback::mark_io_flusher());
    let server = Server::start(options)?;
    server.wait_for_signal()?;
    tracing::info!("stopping");
    server.stop()
}

fn best_effort(what: &str, done: std::io::Result<()>) {
    if let Err(error) = done {
        tracing::warn!(%error, what, "not allowed here; going on without");
    }
}

impl Server {
    /// Starts an array. On return it answers.
    pub fn start(options: Options) -> Result<Server> {
        check_advertised(&options)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("management")
            .enable_all()
            .build()
            .map_err(|source| Error::io("start the management threads", source))?;
        let tuning = options.tuning.clone().or_from(options.config.as_deref())?;
        let thresholds = tuning.thresholds()?;
        let folder = Folder::open(&options.dir)?;
        let store = Arc::new(open_pool(&folder, &options, &tuning)?);
        folder.remove_stale_sockets()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (catalogue, opened) =
            SqliteCatalogue::open(&folder.catalogue(), ArrayId(Uuid::new_v4()), clock.unix())?;
        let catalogue: Arc<dyn CatalogueStore> = Arc::new(catalogue);
        let secrets = Arc::new(Secrets::open(&folder.secrets())?);
        let audit = Arc::new(Audit::open(&folder.audit(), clock.clone())?);
        let (target, iqn) = make_target(&catalogue, &secrets, &folder, &options)?;
        let front = Arc::new(TargetFront(target.clone()));
        let parts = Parts { catalogue, store: store.clone(), front, secrets, clock, thresholds };
        let array = Array::start(parts, opened)?;
        store.set_policy(Arc::new(GiveUp::new(&array, audit.clone())));
        let background = Background::start(&array)?;
        let addresses = open_portals(&target, &options, &folder, iqn)?;
        let management = manage(&runtime, &folder, &array, audit, &addresses)?;
        tracing::info!(dir = %folder.path().display(), iqn = addresses.iqn, portals = ?addresses.portals, "array serves");
        Ok(Server { folder, addresses, array, background, target, store, runtime, management })
    }

    /// Where hosts reach its target.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Waits until everything that was deleted has left the pool, at most so long.
    pub fn wait_reaped(&self, limit: Duration) -> bool {
        self.array.wait_reaped(limit)
    }

    fn wait_for_signal(&self) -> Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let wait = async {
            let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            Ok::<_, std::io::Error>(())
        };
        self.runtime.block_on(wait).map_err(|source| Error::io("wait for signals", source))
    }

    /// Stops cleanly: afterwards the pool is valid for anyone (A4).
    pub fn stop(self) -> Result<()> {
        self.folder.remove_array_socket();
        self.store.end_waiting();
        self.runtime.block_on(self.management.end())?;
        self.target.shutdown();
        // What tokens kept stands in no catalogue: what was left of it would be orphans at the next start.
        self.array.bury_all();
        self.background.stop();
        let closed = self.store.close();
        self.runtime.shutdown_timeout(limits::STOP_GRACE);
        closed
    }
}

/// Each portal is a portal group of its own, which discovery tells with its address (RFC 7143 section 13.9): an address without
/// a portal, or a portal without an address, would be told as a path that is not there, or not at all.
fn check_advertised(options: &Options) -> Result<()> {
    let (told, portals) = (options.advertise.len(), options.listen.len());
    if told == 0 || told == portals {
        return Ok(());
    }
    let text = format!("tell hosts {told} addresses of {portals} portals");
    Err(Error::new(ErrorCode::InvalidArgument, text)
        .hint("give one --advertise for each --listen, in the same order, or none"))
}

/// Opens the pool. One that is to be made needs a size: the one given, or that of a data file which is there already.
fn open_pool(folder: &Folder, options: &Options, tuning: &PoolTuning) -> Result<ThinPoolStore> {
    let files = options.files.clone().unwrap_or_else(|| folder.pool_files());
    // A device has no length in its inode; seeking to its end works for files, too.
    let length = |path: &Path| {
        let end = File::open(path).and_then(|mut file| file.seek(SeekFrom::End(0)));
        end.unwrap_or(0)
    };
    let size = options.size.unwrap_or_else(|| length(&files.data));
    let is_new = length(&files.meta) == 0;
    if size == 0 && is_new {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            format!("there is no pool at {} and no size to make one of", files.meta.display()),
        )
        .hint("give --size at the first start, such as --size 100G"));
    }
    let mut params = PoolParams::new(size);
    params.block_bytes = options.block_size.unwrap_or(params.block_bytes);
    params.cache_bytes = tuning.cache_bytes(params.cache_bytes)?;
    params.foreign = false;
    params.make = !folder.catalogue().exists();
    params.accept_lost_log = options.accept_lost_log;
    params.thresholds = tuning.thresholds()?;
    if is_new {
        // Before there are files.
        params.check().map_err(|error| error.hint("give another --size or --block-size"))?;
    }
    ThinPoolStore::on(Backing::at(&files.meta, &files.data, &folder.pool_log())?, params)
}

fn make_target(
    catalogue: &Arc<dyn CatalogueStore>,
    secrets: &Arc<Secrets>,
    folder: &Folder,
    options: &Options,
) -> Result<(Arc<Target<Unit>>, String)> {
    let iqn = format!("iqn.2026-01.io.umbra:{}", catalogue.read().array);
    let hosts = Hosts { catalogue: catalogue.clone(), secrets: secrets.clone(), target: iqn.clone() };
    let reservations = Reservations::open(&folder.reservations())?;
    reservations.keep_only(&catalogue.read().luns.values().map(|lun| lun.scsi.uuid()).collect())?;
    let default = TargetConfig::new(&iqn);
    let config = TargetConfig {
        advertised: options.advertise.clone(),
        backend: options.backend,
        busy_poll: options.busy_poll.unwrap_or(default.busy_poll),
        ..default
    };
    Ok((Target::new(config, Arc::new(hosts), Arc::new(reservations))?, iqn))
}

fn open_portals(
    target: &Arc<Target<Unit>>,
    options: &Options,
    folder: &Folder,
    iqn: String,
) -> Result<Addresses> {
    let mut portals = Vec::with_capacity(options.listen.len());
    for addr in &options.listen {
        portals.push(target.listen_tcp(*addr, options.auth)?.to_string());
        if options.auth == PortalAuth::InsecureNone {
            tracing::warn!(portal = portals.last(), "this portal asks for no CHAP");
        }
    }
    target.listen_unix(&folder.iscsi_socket())?;
    Ok(Addresses { iqn, portals, iscsi_socket: folder.iscsi_socket() })
}

fn manage(
    runtime: &Runtime,
    folder: &Folder,
    array: &Arc<Array>,
    audit: Arc<Audit>,
    addresses: &Addresses,
) -> Result<Management> {
    let identity = Identity {
        directory: folder.path().to_owned(),
        addresses: addresses.clone(),
        uid: rustix::process::geteuid().as_raw(),
    };
    let (stop, stopped) = oneshot::channel();
    let _inside = runtime.enter();
    let listener = folder.bind_array_socket()?;
    let requests = Requests::new();
    let served = server::serve(listener, array.clone(), audit, identity, requests.clone(), async {
        // A sender that was dropped means the same as one that was used.
        let _ = stopped.await;
    });
    Ok(Management { stop, requests, task: runtime.spawn(served) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_tell_that_do_not_match_the_portals_are_refused_before_there_are_files() {
        let dir = tempfile::tempdir().unwrap();
        let array = dir.path().join("array");
        let with = |told: usize, portals: usize| Options {
            listen: vec!["127.0.0.1:0".parse().unwrap(); portals],
            advertise: vec!["192.0.2.1:3260".to_owned(); told],
            ..Options::new(&array)
        };
        for (told, portals) in [(1, 2), (2, 1), (1, 0)] {
            let error = Server::start(with(told, portals)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidArgument, "{error:?}");
            let text = error.to_string();
            assert!(text.contains(&format!("{told} addresses of {portals} portals")), "{text}");
            assert!(error.hint_text().is_some() && !array.exists());
        }
        for (told, portals) in [(0, 0), (0, 2), (2, 2)] {
            assert!(check_advertised(&with(told, portals)).is_ok());
        }
    }
}
