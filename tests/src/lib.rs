//! What memmon's tests on a live kernel, its tests in a VM and its benchmark are made of.

pub mod bench;
pub mod case;
pub mod guest;
pub mod host;
pub mod live;
pub mod pages;
pub mod web;
pub mod workload;
