//! `sapo view`: runs in a browser, over loopback: their reports as they grow, every rollout that is on disk, curves of several runs.
//! It reads and never writes.

mod browse;
mod overlay;
mod routes;
mod run;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;

use self::run::Run;
use crate::error::{Result, RunError};

/// Serves runs until it is told to stop; `listening` hears the address once requests are taken.
///
/// # Errors
/// When a folder is no run, or the port is taken.
pub fn view(
    folders: &[PathBuf],
    port: u16,
    stop: oneshot::Receiver<()>,
    listening: &mut dyn FnMut(&str),
) -> Result<()> {
    let runs = folders.iter().map(|folder| Run::open(folder)).collect::<Result<Vec<Run>>>()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let fault =
        |error: std::io::Error| RunError::User(format!("cannot listen on {address}: {error}; try another --port"));
    let listener = TcpListener::bind(address).map_err(fault)?;
    listener.set_nonblocking(true).map_err(fault)?;
    let url = format!("http://{}", listener.local_addr().map_err(fault)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| RunError::Internal(format!("no threads to serve with: {error}")))?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(fault)?;
        listening(&url);
        tokio::select! {
            ended = axum::serve(listener, routes::router(Arc::new(runs))) => ended.map_err(fault),
            _ = stop => Ok(()),
        }
    })
}
