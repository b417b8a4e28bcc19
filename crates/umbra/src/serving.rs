//! The two servers: what the command line says becomes what their crates ask for.

use crate::logging;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use umbra_array::{Backend, PortalAuth};
use umbra_base::{Error, ErrorCode, ExitCode, Result};
use umbra_cli::{
    args::{ArrayServe, Global, Serve},
    output::Output,
    report::report_to,
};

/// Is the array until SIGTERM.
pub fn array(global: &Global, serve: ArrayServe) -> ExitCode {
    logging::start(global, std::io::stderr);
    ended(global, serve_array(serve))
}

fn serve_array(serve: ArrayServe) -> Result<()> {
    let auth = if serve.insecure_no_auth { PortalAuth::InsecureNone } else { PortalAuth::Chap };
    let backend = Backend::from_env().map_err(|source| {
        Error::new(ErrorCode::InvalidArgument, "choose what carries the array's I/O").because(source)
    })?;
    umbra_array::serve(umbra_array::Options {
        dir: serve.dir,
        size: serve.size,
        block_size: serve.block_size,
        listen: serve.listen,
        auth,
        advertise: serve.advertise,
        backend,
        accept_lost_log: serve.accept_lost_log,
        busy_poll: serve.busy_poll.map(|micros| Duration::from_micros(micros.into())),
        config: umbra_array::config_file(serve.config),
        tuning: umbra_array::PoolTuning {
            low_percent: serve.low,
            critical_percent: serve.critical,
            full_wait: serve.full_wait.map(Duration::from_secs),
            cache_bytes: serve.cache_size,
        },
        files: serve.data.zip(serve.meta).map(|(data, meta)| umbra_array::PoolFiles { data, meta }),
    })
}

/// Is the service until SIGTERM.
pub fn service(global: &Global, serve: Serve) -> ExitCode {
    logging::start(global, || umbra_service::LogWriter);
    ended(global, serve_service(global, serve))
}

fn serve_service(global: &Global, serve: Serve) -> Result<()> {
    // The variables are for clients: where a configuration is named, its word counts for more.
    let named = serve.config.is_some();
    let said = |word: &str, variable| !(named && std::env::var(variable).is_ok_and(|value| value == word));
    let socket = global.socket.clone().filter(|path| said(&path.to_string_lossy(), "UMBRA_SOCKET"));
    let array = global.array.as_deref().filter(|address| said(address, "UMBRA_ARRAY"));
    let options =
        umbra_service::Options { config: serve.config, socket, array: array.map(str::parse).transpose()? };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::io("start the threads of the service", source))?;
    runtime.block_on(async {
        let catch = |kind| signal(kind).map_err(|source| Error::io("catch signals", source));
        let (mut terminate, mut interrupt) =
            (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        umbra_service::serve(options, stop).await
    })
}

fn ended(global: &Global, served: Result<()>) -> ExitCode {
    match served {
        Ok(()) => ExitCode::Done,
        Err(error) => report_to(Output::new(global), &error),
    }
}
