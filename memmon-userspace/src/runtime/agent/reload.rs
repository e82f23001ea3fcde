//! SIGHUP: the configuration is read again; a bad one changes nothing.

use std::sync::Arc;

use super::{Agent, service::Service};
use crate::config::Config;

impl Agent {
    pub(super) fn reload(&mut self, service: &Service) {
        service.reloading();
        match Config::load(&self.options.layers) {
            Ok(config) => {
                if config.reaction.write_path != self.config.reaction.write_path {
                    tracing::warn!("reaction.write_path takes effect at the next start");
                }
                self.read_counters();
                self.config = Arc::new(config);
                self.mark_critical();
                tracing::info!("configuration read again");
            }
            Err(errors) => tracing::error!("the configuration is kept as it was: {errors}"),
        }
        service.ready();
    }
}
