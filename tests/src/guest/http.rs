//! One HTTP request, without a library: what is asked for here is small and local.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};

/// Nothing on this machine takes longer, emulated or not.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gets a page from a port of this machine: its status and its body. `None` if nobody listens there.
///
/// # Errors
/// If the answer is not HTTP.
pub fn get(port: u16, path: &str) -> Result<Option<(u16, String)>> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) else {
        return Ok(None);
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("reading {path} from port {port}"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .with_context(|| format!("no HTTP from port {port}: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no status from port {port}: {head:?}"))?;
    Ok(Some((status, body.to_owned())))
}
