//! Asking a running agent.

use std::time::Duration;

use futures_util::Stream;
use zbus::connection::Builder;
use zbus::{Connection, fdo, proxy};

use super::{Heard, RangeField};
use crate::action::systemd::Bus;

/// How long an answer may take: longer than putting leases back does.
const ANSWER: Duration = Duration::from_secs(60);

#[proxy(
    default_service = "org.omnimind.memmon1",
    default_path = "/org/omnimind/memmon1",
    interface = "org.omnimind.memmon1.Manager"
)]
trait Manager {
    fn get_report(&self) -> fdo::Result<String>;
    fn list_regions(&self) -> fdo::Result<Vec<(u32, u64, u64, u64, String)>>;
    fn apply_strategies(&self, dry_run: bool) -> fdo::Result<String>;
}

/// The agent did not answer, or refused.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no bus.
    #[error(
        "no agent can be asked, the system bus cannot be reached: {0}; start the bus (systemctl start dbus.socket), then memmon.service"
    )]
    NoBus(zbus::Error),
    /// Nobody has the name.
    #[error("no agent is running: start it with systemctl start memmon.service")]
    NoAgent,
    /// The caller may not.
    #[error("the agent refused: {0}")]
    Denied(String),
    /// Something else.
    #[error("asking the agent: {0}")]
    Failed(fdo::Error),
}

/// A connection to the agent.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
}

impl Client {
    /// Connects to the bus.
    ///
    /// # Errors
    /// If there is none.
    pub async fn connect(bus: &Bus) -> Result<Self, ClientError> {
        let builder = match bus {
            Bus::System => Builder::system(),
            Bus::Address(address) => Builder::address(address.as_str()),
        };
        let connection = builder
            .method_timeout(ANSWER)
            .build()
            .await
            .map_err(ClientError::NoBus)?;
        Ok(Self { connection })
    }

    /// The report, as JSON.
    ///
    /// # Errors
    /// If no agent runs, or it does not answer.
    pub async fn report(&self) -> Result<String, ClientError> {
        self.proxy().await?.get_report().await.map_err(failed)
    }

    /// The tagged ranges that the caller may see, by process; disjoint within one.
    ///
    /// # Errors
    /// As [`Self::report`].
    pub async fn regions(&self) -> Result<Vec<RangeField>, ClientError> {
        let ranges = self.proxy().await?.list_regions().await.map_err(failed)?;
        let field = |(pid, started, start, length, label)| RangeField {
            pid,
            started,
            start,
            length,
            label,
        };
        Ok(ranges.into_iter().map(field).collect())
    }

    /// The strategies, carried out or not, as JSON.
    ///
    /// # Errors
    /// As [`Self::report`], and if the caller is not root.
    pub async fn apply(&self, dry_run: bool) -> Result<String, ClientError> {
        self.proxy()
            .await?
            .apply_strategies(dry_run)
            .await
            .map_err(failed)
    }

    /// The signals of whoever runs the agent, from now on; also of one that starts later.
    ///
    /// # Errors
    /// If the bus does not let us listen.
    pub async fn signals(&self) -> Result<impl Stream<Item = Heard> + use<>, ClientError> {
        let proxy = self.proxy().await?;
        let signals = proxy.inner().receive_all_signals().await;
        Ok(Heard::all(signals.map_err(ClientError::NoBus)?))
    }

    async fn proxy(&self) -> Result<ManagerProxy<'_>, ClientError> {
        ManagerProxy::new(&self.connection)
            .await
            .map_err(ClientError::NoBus)
    }
}

fn failed(error: fdo::Error) -> ClientError {
    match error {
        fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => ClientError::NoAgent,
        fdo::Error::AccessDenied(why) => ClientError::Denied(why),
        other => ClientError::Failed(other),
    }
}
