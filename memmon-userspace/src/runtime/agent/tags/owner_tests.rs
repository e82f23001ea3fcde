//! What the owner does where the kernel's side fails, or is not needed any more.

use tokio::sync::oneshot;

use super::{force::AGAIN, *};

/// An owner without page level, and what it tells the loop.
fn owner() -> (Owner, mpsc::Receiver<News>) {
    let (news, told) = mpsc::channel(64);
    let host = tempfile::tempdir().expect("a temporary directory");
    let proc = host.path().join("proc");
    std::fs::create_dir_all(proc.join("self")).expect("directories");
    let mountinfo = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
    std::fs::write(proc.join("self/mountinfo"), mountinfo).expect("mountinfo");
    std::fs::write(proc.join("cgroups"), "memory\t0\t1\t1\n").expect("cgroups");
    let mount = host.path().join("sys/fs/cgroup");
    std::fs::create_dir_all(&mount).expect("directories");
    std::fs::write(mount.join("cgroup.controllers"), "memory\n").expect("controllers");
    let tree = CgroupTree::discover(host.path()).expect("cgroup v2");
    (Owner::new(news, tree).0, told)
}

/// This process, with one tag that nobody has brought into force.
fn tag(owner: &mut Owner, page: u64, label: &str) -> (u32, u64) {
    let handle = ProcessHandle::open(std::process::id()).expect("alive");
    let (key, found) = Process::of(&handle).expect("readable");
    let pid = key.pid;
    let id = owner
        .tags
        .tag(&key, found.uid, page * 4096, 1, label)
        .expect("there is room");
    if !owner.held.contains_key(&pid) {
        owner.hold(Process {
            key,
            uid: found.uid,
            comm: found.comm,
            cgroups: found.cgroups,
            handle,
        });
    }
    (pid, id)
}

fn wait_for(owner: &mut Owner, pid: u32, id: u64, tags: bool) -> oneshot::Receiver<Result<u64, Refused>> {
    let (to, answer) = oneshot::channel();
    owner
        .wait(pid, Instant::now())
        .answers
        .push(Answer { id, tags, to });
    answer
}

#[tokio::test]
async fn a_tag_that_did_not_come_into_force_is_not_kept() {
    let (mut owner, mut told) = owner();
    let (pid, id) = tag(&mut owner, 1, "a");
    owner.tell_labels(pid).await;
    let answer = wait_for(&mut owner, pid, id, true);
    owner.publish(Instant::now()).await;
    let refused = answer
        .await
        .expect("an answer")
        .expect_err("page level is not attached");
    assert!(matches!(refused, Refused::Kernel(_)), "{refused}");
    assert!(owner.tags.get(pid).is_none() && owner.held.is_empty() && owner.waiting.is_empty());
    let mut last = None;
    while let Ok(News::Labels { labels, .. }) = told.try_recv() {
        last = Some(labels.len());
    }
    assert_eq!(last, Some(0), "the loop hears that nothing is tagged");
}

#[tokio::test]
async fn what_was_tagged_before_stays_and_what_was_untagged_is_tried_again() {
    let (mut owner, _told) = owner();
    let (pid, before) = tag(&mut owner, 1, "a");
    let (_, new) = tag(&mut owner, 9, "b");
    let new = wait_for(&mut owner, pid, new, true);
    let now = Instant::now();
    owner.publish(now).await;
    assert!(new.await.expect("an answer").is_err());
    assert_eq!(owner.tags.get(pid).map(|process| process.tags()), Some(1));
    assert!(owner.waiting.is_empty(), "what is in force is what was before");
    let untagged = wait_for(&mut owner, pid, before + 100, false);
    owner.publish(now + AGAIN).await;
    assert!(untagged.await.expect("an answer").is_err());
    let waiting = owner.waiting.get(&pid).expect("it is still in force");
    assert_eq!((waiting.not_before, waiting.stale), (now + AGAIN + AGAIN, true));
}

#[tokio::test]
async fn a_wish_for_a_process_without_tags_is_answered() {
    let (mut owner, mut told) = owner();
    let wanted = Wanted {
        pid: 7,
        cgroup: "/a.service".to_owned(),
    };
    owner.wanted.push_back(wanted);
    owner.fetch().await;
    match told.try_recv() {
        Ok(News::BroughtBack { pid: 7, outcome }) => {
            assert_eq!(outcome.why.as_deref(), Some("its tags were gone"))
        }
        _ => panic!("no answer"),
    }
}

#[tokio::test]
async fn page_level_is_detached_a_while_after_the_last_tag() {
    let (mut owner, mut told) = owner();
    let (pid, _) = tag(&mut owner, 1, "a");
    owner.tags.forget(pid);
    owner.let_go(pid).await;
    let since = owner.idle.expect("nothing is tagged any more");
    assert!(matches!(told.try_recv(), Ok(News::Labels { .. })));
    owner.tidy().await;
    assert!(told.try_recv().is_err(), "not at once");
    assert!(owner.next_wake() <= since + LINGER);
    owner.idle = Instant::now().checked_sub(LINGER);
    owner.tidy().await;
    assert!(matches!(told.try_recv(), Ok(News::Detached)));
    assert_eq!(owner.idle, None, "only once");
}

#[tokio::test]
async fn a_process_that_was_moved_is_told_under_its_new_unit() {
    let (mut owner, mut told) = owner();
    let (pid, _) = tag(&mut owner, 1, "a");
    owner.tell_labels(pid).await;
    assert!(told.try_recv().is_ok());
    let found = |cgroups: &str| Found {
        uid: 0,
        comm: "x".to_owned(),
        cgroups: cgroups.to_owned(),
    };
    let moved = found("0::/system.slice/new.service\n");
    owner.moved(pid, &moved).await;
    match told.try_recv() {
        Ok(News::Labels { unit, labels, .. }) => {
            assert_eq!((unit.as_str(), labels.len()), ("new.service", 1))
        }
        _ => panic!("nothing told"),
    }
    owner.moved(pid, &moved).await;
    assert!(told.try_recv().is_err(), "once");
}
