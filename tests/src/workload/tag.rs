//! Declaring memory of this process critical, as its author would.

use anyhow::{Context, Result};
use zbus::proxy;

use super::Range;

#[proxy(
    default_service = "org.omnimind.memmon1",
    default_path = "/org/omnimind/memmon1",
    interface = "org.omnimind.memmon1.Manager"
)]
trait Manager {
    fn tag_region(&self, start: u64, length: u64, label: &str) -> zbus::Result<u64>;
    fn untag_region(&self, id: u64) -> zbus::Result<()>;
}

/// Tags a range and returns the tag's id. The connection is closed: a tag lives as long as its process.
///
/// # Errors
/// If there is no bus, or the agent refuses.
pub fn tag(range: Range, label: &str) -> Result<u64> {
    with_agent(async |agent| agent.tag_region(range.start, range.length, label).await)
}

/// Tags every second page of a range, each as a region of its own, all in flight at once; returns how many.
///
/// # Errors
/// As [`tag`].
pub fn tag_every_second_page(range: Range, label: &str) -> Result<u64> {
    with_agent(async |agent| {
        let mut tagged = 0;
        for start in (range.start..range.start + range.length).step_by(2 * 4096) {
            agent.tag_region(start, 4096, label).await?;
            tagged += 1;
        }
        Ok(tagged)
    })
}

/// Takes a tag away.
///
/// # Errors
/// As [`tag`], and if it is not one of this process.
pub fn untag(id: u64) -> Result<()> {
    with_agent(async |agent| agent.untag_region(id).await)
}

fn with_agent<T>(call: impl AsyncFnOnce(&ManagerProxy<'_>) -> zbus::Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("a runtime")?;
    runtime.block_on(async {
        let bus = zbus::Connection::system()
            .await
            .context("connecting to the bus")?;
        let agent = ManagerProxy::new(&bus).await.context("addressing the agent")?;
        call(&agent).await.context("calling the agent")
    })
}
