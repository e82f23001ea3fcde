//! SIGHUP: the configuration is read again; a bad one changes nothing.

use std::sync::Arc;

use super::{Agent, now, service::Service};
use crate::{config::Config, policy::MonoTime};

/// A configuration that was read and waits: what went to swap before it counts under the priorities that held then.
pub(super) struct Reload {
    since: MonoTime,
    config: Arc<Config>,
}

impl Agent {
    pub(super) fn reload(&mut self, service: &Service) {
        service.reloading();
        match Config::load(&self.options.layers) {
            Ok(config) => {
                if config.reaction.write_path != self.config.reaction.write_path {
                    tracing::warn!("reaction.write_path takes effect at the next start");
                }
                let (old, new) = (&self.config, &config);
                if (&old.listen, &old.http, &old.alerts) != (&new.listen, &new.http, &new.alerts) {
                    tracing::warn!("listen, [http] and [alerts] take effect at the next start");
                }
                self.reload = Some(Reload {
                    since: now(),
                    config: Arc::new(config),
                });
                self.outside.want_counts();
            }
            Err(errors) => {
                tracing::error!("the configuration is kept as it was: {errors}");
                service.ready();
            }
        }
    }

    /// Goes over to the configuration that waits, once the counters have been read after it came.
    pub(super) fn reload_if_counted(&mut self, service: &Service) {
        let counted = self.counted;
        if let Some(reload) = self.reload.take_if(|reload| reload.since <= counted) {
            self.config = reload.config;
            self.mark_critical();
            tracing::info!("configuration read again");
            service.ready();
        }
    }
}
