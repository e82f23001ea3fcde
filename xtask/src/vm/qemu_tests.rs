use super::accelerator;

#[test]
fn a_thread_per_cpu_only_where_qemu_sees_code_that_another_cpu_has_rewritten() {
    let said =
        |version: &str| format!("QEMU emulator version {version}\nCopyright (c) 2003-2022 the developers\n");
    for version in ["7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b2)", "8.0.4"] {
        assert_eq!(accelerator(&said(version)), "tcg,thread=single", "{version}");
    }
    for version in ["8.1.0", "10.0.8 (Debian 1:10.0.8+ds-0+deb13u1)"] {
        assert_eq!(accelerator(&said(version)), "tcg,thread=multi", "{version}");
    }
    assert_eq!(accelerator("no idea"), "tcg,thread=single");
}
