//! Which names the server answers to.
//!
//! A page from elsewhere can have its own name resolve to 127.0.0.1 (DNS rebinding); the browser then takes memmon for
//! that page's server. Such a request says in `Host` who it was meant for.

use std::net::IpAddr;

use hyper::{HeaderMap, Request, header::HOST};

/// The names that requests may be for, besides addresses and `localhost`.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// These names; with them requests through a proxy or by the host's own name get an answer.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Whether a request is meant for this server. Without `Host` it is not.
    pub(super) fn meant<B>(&self, request: &Request<B>) -> bool {
        let mut headers = request.headers().get_all(HOST).iter();
        let (Some(host), None) = (headers.next(), headers.next()) else {
            return false;
        };
        let named = |authority: &str| self.is_ours(authority);
        // A request as for a proxy names it twice.
        host.to_str().is_ok_and(named) && request.uri().authority().is_none_or(|to| named(to.as_str()))
    }

    fn is_ours(&self, authority: &str) -> bool {
        let Some(name) = without_port(authority) else {
            return false;
        };
        let name = name.to_ascii_lowercase();
        // An address cannot be made to lead elsewhere.
        address(&name).is_some() || name == "localhost" || self.0.contains(&name)
    }
}

/// Whether a request is for a loopback address or `localhost`, as from a browser on the host itself.
pub(in crate::export) fn is_for_loopback(headers: &HeaderMap) -> bool {
    let Some(name) = headers
        .get(HOST)
        .and_then(|host| without_port(host.to_str().ok()?))
    else {
        return false;
    };
    name.eq_ignore_ascii_case("localhost") || address(name).is_some_and(|address| address.is_loopback())
}

/// The address that a host's name is.
fn address(name: &str) -> Option<IpAddr> {
    let address = name
        .strip_prefix('[')
        .map_or(Some(name), |inner| inner.strip_suffix(']'));
    address?.parse().ok()
}

/// The host of `host:port`; `None` if the port is no number.
fn without_port(authority: &str) -> Option<&str> {
    let end = authority.find(']').map_or(0, |bracket| bracket + 1);
    match authority[end..].find(':') {
        None => Some(authority),
        Some(colon) => {
            let (host, port) = authority.split_at(end + colon);
            port[1..].parse::<u16>().is_ok().then_some(host)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cannot_be_rebound() {
        let hosts = Hosts::new(["Metrics.example.org".to_owned()]);
        for ours in [
            "127.0.0.1:9757",
            "127.0.0.1",
            "[::1]:9757",
            "[::1]",
            "localhost:1",
            "LocalHost",
            "192.0.2.7:80",
            "metrics.example.org:9757",
        ] {
            assert!(hosts.is_ours(ours), "{ours}");
        }
        for foreign in [
            "",
            "evil.example",
            "127.0.0.1.evil.example:9757",
            "localhost.evil.example",
            "localhost:x",
            "localhost:9757:1",
            "[::1",
            "[::1]x",
            "user@localhost",
            "metrics.example.org.",
        ] {
            assert!(!hosts.is_ours(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let request = |uri: &str, hosts: &[&str]| {
            let mut request = Request::builder().uri(uri);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            request.body(()).expect("it is well-formed")
        };
        let meant = |uri, hosts: &[&str]| Hosts::default().meant(&request(uri, hosts));
        assert!(meant("/metrics", &["localhost"]));
        assert!(meant("http://localhost:9757/metrics", &["localhost"]));
        assert!(!meant("/metrics", &[]));
        assert!(!meant("/metrics", &["localhost", "evil.example"]));
        assert!(!meant("http://evil.example/metrics", &["localhost"]));
    }
}
