#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::super::test_support::*;
use super::*;
use crate::source::cgroupfs::CgroupRoot;

fn root(world: &World) -> CgroupRoot {
    CgroupRoot::open(&world.dir.path().join("cgroup")).unwrap()
}

fn open(world: &World, inode: Option<u64>, property: Property) -> Result<LimitFile, CgroupWriteError> {
    LimitFile::open(&root(world), UNIT, CGROUP, inode, property)
}

#[test]
fn a_value_is_written_and_read_back() {
    let world = World::new();
    let mut file = open(&world, Some(world.inode(CGROUP)), Property::MemorySwapMax).unwrap();
    assert_eq!(file.value, Limit::Max);
    file.write(Limit::Bytes(0), 4096).unwrap();
    assert_eq!((world.swap_max().as_str(), file.value), ("0", Limit::Bytes(0)));
    file.write(Limit::Max, 4096).unwrap();
    assert_eq!((world.swap_max().as_str(), file.value), ("max", Limit::Max));
}

#[test]
fn another_cgroup_at_the_same_path_is_not_written_to() {
    let world = World::new();
    let inode = world.inode(CGROUP);
    // Kept alive under another name, so that the new directory cannot get the same inode number.
    std::fs::rename(
        world.dir.path().join("cgroup/ai.slice/omnimind.service"),
        world.dir.path().join("old"),
    )
    .unwrap();
    world.cgroup(CGROUP);
    assert!(matches!(
        open(&world, Some(inode), Property::MemorySwapMax),
        Err(CgroupWriteError::Gone { .. })
    ));
    assert!(open(&world, None, Property::MemorySwapMax).is_ok());
    world.remove(CGROUP);
    assert!(matches!(
        open(&world, Some(inode), Property::MemorySwapMax),
        Err(CgroupWriteError::Gone { .. })
    ));
}

#[test]
fn a_cgroup_that_is_removed_after_it_was_opened_is_gone() {
    let world = World::new();
    let mut file = open(&world, None, Property::MemorySwapMax).unwrap();
    world.remove(CGROUP);
    world.cgroup(CGROUP);
    assert!(matches!(
        file.write(Limit::Bytes(0), 4096),
        Err(CgroupWriteError::Gone { .. })
    ));
    assert_eq!(world.swap_max(), "max");
}

#[test]
fn nothing_below_a_delegation_boundary_is_written() {
    let world = World::new();
    for (path, unit) in [
        ("/ai.slice/omnimind.service/worker.service", "worker.service"),
        ("/ai.slice/omnimind.service/worker", UNIT),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/shell.service",
            "shell.service",
        ),
        ("/ai.slice", UNIT),
        ("/ai.slice/../omnimind.service", UNIT),
        ("/", "-.slice"),
    ] {
        world.cgroup(path);
        let error = LimitFile::open(&root(&world), unit, path, None, Property::MemorySwapMax).unwrap_err();
        assert!(
            matches!(error, CgroupWriteError::NotTheUnits { .. }),
            "{path}: {error}"
        );
    }
}

#[test]
fn memory_high_is_not_lowered_below_usage() {
    let world = World::new();
    let mut file = open(&world, None, Property::MemoryHigh).unwrap();
    let error = file.write(Limit::Bytes(99 * MIB), 4096).unwrap_err();
    assert!(
        matches!(
            error,
            CgroupWriteError::WouldBlock {
                current: 104_857_600,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(world.read(CGROUP, "memory.high"), "max");
    file.write(Limit::Bytes(100 * MIB), 4096).unwrap();
    file.write(Limit::Bytes(101 * MIB), 4096).unwrap();
    // Raising is never refused, even where usage is above both.
    world.write(CGROUP, "memory.current", "209715200");
    file.write(Limit::Bytes(102 * MIB), 4096).unwrap();
    assert_eq!(world.read(CGROUP, "memory.high"), (102 * MIB).to_string());
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let world = World::new();
    std::fs::remove_file(
        world
            .dir
            .path()
            .join("cgroup/ai.slice/omnimind.service/memory.swap.max"),
    )
    .unwrap();
    let error = open(&world, None, Property::MemorySwapMax)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot read memory.swap.max of cgroup /ai.slice/omnimind.service: "),
        "{error}"
    );
}
