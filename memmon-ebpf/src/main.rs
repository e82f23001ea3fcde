//! memmon's eBPF programs: who owns the page that leaves memory, and who pushed it out.
//!
//! `maps` holds everything shared with the agent, `kread` reads kernel structures by the offsets the agent
//! found in BTF, `emit` sends records; each file of `probes` is one family of hooks.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod emit;
mod kread;
mod maps;
mod page_maps;
mod probes;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
