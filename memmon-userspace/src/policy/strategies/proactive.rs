//! Acting before a threshold is reached: gently, from units of priority low only, and only where switched on.

use super::ledger::Ledger;
use super::reduce::{self, Reach};
use crate::config::Priority;

/// One round takes at most this share of RAM: 1/64.
const PART: u64 = 64;

/// Reclaims ahead if the forecast says that RAM use will be high within the horizon.
pub(super) fn gently(ledger: &mut Ledger<'_>) {
    let proactive = ledger.rules.proactive;
    let Some(outlook) = ledger.snapshot.outlook.filter(|_| proactive.enabled) else {
        return;
    };
    let horizon = proactive.horizon.as_secs();
    // The middle of the interval: its early end would act on every wide guess.
    let expected = outlook.earliest / 2 + outlook.latest / 2;
    if expected > horizon {
        return;
    }
    let left = ledger.state.left_today(ledger.rules);
    if left == 0 {
        let daily = proactive.daily;
        return ledger.idle(format!(
            "{daily} have been reclaimed ahead of need today: no more until tomorrow"
        ));
    }
    let amount = left.min(ledger.snapshot.host.total / PART);
    let why = format!(
        "RAM use will be high in {} to {} min",
        outlook.earliest / 60,
        outlook.latest.div_ceil(60)
    );
    let reach = Reach {
        up_to: Priority::Low,
        anon: true,
        only_ask: false,
        pressure: f64::from(proactive.pressure) / 10.0,
        below: None,
    };
    reduce::take(ledger, amount, reach, &why);
}
