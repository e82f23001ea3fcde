//! Stands in for the agent's connection in a build without the feature `dbus`.

use std::time::Duration;

use crate::{pages::PageRange, tag::TagState};

/// Nobody.
#[derive(Debug)]
pub(crate) struct Agent;

impl Agent {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn add(&self, _: PageRange, _: &str) -> u64 {
        0
    }

    pub(crate) fn remove(&self, _: &[u64]) {}

    pub(crate) fn states(&self, tags: &[u64]) -> Vec<TagState> {
        let why = "this program was built without memmon-client's feature `dbus`";
        tags.iter().map(|_| TagState::Not(why.to_owned())).collect()
    }

    pub(crate) fn wait(&self, _: &[u64], _: Duration) -> bool {
        false
    }

    pub(crate) fn listen(&self, _: fn(&str, u64)) {}
}

/// Does nothing in a build without the feature `dbus`.
pub fn use_bus(_: &str) {}
