//! How many calls may be in progress at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zbus::fdo;
use zbus::names::OwnedUniqueName;

/// Of one connection.
const PER_CONNECTION: usize = 8;
/// Of one user other than root, over all connections.
const PER_USER: usize = 16;
/// Of all users but root together.
const ALL_USERS: usize = 48;

/// Counts calls in progress; further ones are refused at once and do not wait, so that they cost next to nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    connections: HashMap<OwnedUniqueName, usize>,
    users: HashMap<u32, usize>,
    all_users: usize,
}

/// A call in progress; ends with the value.
#[derive(Debug)]
pub(super) struct Permit {
    gate: Gate,
    connection: Option<OwnedUniqueName>,
    /// Not root.
    user: Option<u32>,
}

impl Gate {
    /// Lets a call of `connection` in.
    pub(super) fn enter(&self, connection: OwnedUniqueName) -> fdo::Result<Permit> {
        let mut counts = self.lock();
        if !take(&mut counts.connections, connection.clone(), PER_CONNECTION) {
            return Err(busy(&format!("{PER_CONNECTION} calls of {connection}")));
        }
        Ok(Permit {
            gate: self.clone(),
            connection: Some(connection),
            user: None,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // A count is right or the call that panicked over it is still counted: neither is worth a second panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// The call turned out to be one of the user `uid`.
    pub(super) fn of_user(&mut self, uid: u32) -> fdo::Result<()> {
        if uid == 0 || self.user.is_some() {
            return Ok(());
        }
        let mut counts = self.gate.lock();
        if counts.all_users >= ALL_USERS {
            return Err(busy(&format!("{ALL_USERS} calls")));
        }
        if !take(&mut counts.users, uid, PER_USER) {
            return Err(busy(&format!("{PER_USER} calls of user {uid}")));
        }
        counts.all_users += 1;
        drop(counts);
        self.user = Some(uid);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.gate.lock();
        if let Some(connection) = self.connection.take() {
            give_back(&mut counts.connections, &connection);
        }
        if let Some(uid) = self.user {
            give_back(&mut counts.users, &uid);
            counts.all_users -= 1;
        }
    }
}

fn take<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, limit: usize) -> bool {
    let count = counts.entry(key).or_default();
    let free = *count < limit;
    *count += usize::from(free);
    free
}

fn give_back<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn busy(what: &str) -> fdo::Error {
    fdo::Error::LimitsExceeded(format!("{what} are in progress already: wait for their answers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> OwnedUniqueName {
        OwnedUniqueName::try_from(format!(":1.{n}")).expect("a unique name")
    }

    #[test]
    fn a_connection_a_user_and_all_users_have_their_limits() {
        let gate = Gate::default();
        let mut permits: Vec<Permit> = (0..PER_CONNECTION)
            .map(|_| gate.enter(name(1)).expect("room"))
            .collect();
        assert!(gate.enter(name(1)).is_err());
        permits.pop();
        drop(gate.enter(name(1)).expect("room again"));
        drop(permits);

        let of_user = |n: usize, uid: u32| {
            let mut permit = gate.enter(name(n)).expect("room");
            permit.of_user(uid).map(|()| permit)
        };
        let mut held: Vec<Permit> = (0..PER_USER).map(|n| of_user(n, 1000).expect("room")).collect();
        assert!(of_user(99, 1000).is_err());
        held.extend((0..PER_USER).map(|n| of_user(n, 1001).expect("room")));
        held.extend((0..PER_USER).map(|n| of_user(n, 1002).expect("room")));
        assert!(of_user(99, 1003).is_err(), "all users together");
        assert!(of_user(99, 0).is_ok(), "root is never kept out by others");
        drop(held);
        assert!(of_user(99, 1003).is_ok());
        let counts = gate.lock();
        assert!(counts.connections.is_empty() && counts.users.is_empty() && counts.all_users == 0);
    }
}
