#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

const DEP: &str = "\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/block/virtio_blk.ko.xz: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
";

#[test]
fn dependencies_come_first_and_once() {
    assert_eq!(
        load_order(DEP, "", &["crc32c_generic"], &["virtio_pci", "virtio_blk"]).unwrap(),
        [
            "kernel/drivers/virtio/virtio.ko",
            "kernel/drivers/virtio/virtio_ring.ko",
            "kernel/drivers/virtio/virtio_pci.ko",
            "kernel/drivers/block/virtio_blk.ko.xz",
        ]
    );
}

#[test]
fn built_in_needs_no_module_but_absent_is_an_error() {
    let builtin = "kernel/fs/ext4/ext4.ko\nkernel/crypto/lzo-rle.ko\n";
    assert!(load_order(DEP, builtin, &[], &["lzo_rle"]).unwrap().is_empty());
    assert!(load_order(DEP, builtin, &[], &["virtio_gpu"]).is_err());
}
