use super::*;

#[test]
fn names_in_depends_are_first_alternatives_without_versions() {
    let field = "dracut | initramfs-tools (>= 0.120) | linux-initramfs-tool, linux-base-7.3.4-cloud-amd64 (= 7.3.4-1), \
                 linux-modules-7.3.4-cloud-amd64 (= 7.3.4-1)";
    let names: Vec<_> = dependencies(field).collect();
    assert_eq!(
        names,
        [
            "dracut",
            "linux-base-7.3.4-cloud-amd64",
            "linux-modules-7.3.4-cloud-amd64"
        ]
    );
}
