//! What the model does with reports, signals and keys.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::{Value, json};

use super::rig::{PLAIN, Rig, document, with_alarm};
use crate::export::{
    dbus::Heard,
    top::{Command, Report, model::View, rates::Rate, text::Clean},
};

fn out(rig: &Rig, unit: &str) -> Rate {
    rig.model.rates.unit(&Clean::new(unit)).expect(unit).out
}

fn events(rig: &Rig) -> Vec<String> {
    rig.model.events.iter().map(|event| event.text.clone()).collect()
}

#[test]
fn the_shipped_example_can_be_read() {
    let example = include_str!("../../../../../packaging/schemas/examples/memmon.report.1.json");
    let report = Report::parse(example).expect("a report");
    assert_eq!(report.units.len(), 1);
    assert!(report.units[0].psi.is_some());
    assert!(Report::parse("{}").is_err() && Report::parse("").is_err());
}

#[test]
fn rates_need_two_reports_and_null_stays_unknown() {
    let mut rig = Rig::new(PLAIN);
    rig.report(&document([0, 10, 0]));
    assert_eq!(out(&rig, "backup.service"), Rate::Later);
    rig.second += 1;
    let mut next = document([0, 40, 0]);
    next["units"][0]["swapout_pages"] = Value::Null;
    rig.report(&next);
    assert_eq!(out(&rig, "backup.service"), Rate::Is(15.0));
    assert_eq!(out(&rig, "omnimind.service"), Rate::Unknown);
    assert_eq!(rig.model.rates.total, Rate::Is(15.0));
}

#[test]
fn no_rate_is_ever_negative() {
    let mut rig = Rig::new(PLAIN);
    rig.report(&document([5, 1000, 5]));
    // Fewer than before, of the same agent.
    rig.report(&document([5, 10, 5]));
    assert_eq!(out(&rig, "backup.service"), Rate::Later);
    assert_eq!(rig.model.rates.total, Rate::Later);
    // Another agent, which has counted more already: nothing can be said.
    let mut other = document([50, 2000, 50]);
    other["agent"]["since"] = json!("2026-01-02T04:00:00.000000Z");
    rig.report(&other);
    assert_eq!(out(&rig, "backup.service"), Rate::Later);
    assert!(events(&rig)[0].contains("has started"), "{:?}", events(&rig));
}

#[test]
fn a_unit_that_comes_back_with_its_old_sum_lost_nothing_now() {
    let mut rig = Rig::new(PLAIN);
    rig.report(&document([0, 1000, 0]));
    let mut without = document([0, 1000, 0]);
    without["units"].as_array_mut().expect("units").remove(1);
    rig.report(&without);
    rig.report(&document([0, 1000, 0]));
    assert_eq!(out(&rig, "backup.service"), Rate::Later);
    rig.report(&document([0, 1001, 0]));
    assert_eq!(out(&rig, "backup.service"), Rate::Is(1.0));
}

#[test]
fn an_alarm_is_told_once_by_signal_and_report() {
    let raised = Heard::AlarmRaised {
        id: "a-1".to_owned(),
        unit: "omnimind.service".to_owned(),
        severity: "critical".to_owned(),
        reason: "pages went".to_owned(),
    };
    let mut rig = Rig::new(PLAIN);
    rig.report(&document([0, 0, 0]));
    let now = rig.now();
    rig.model.signal(raised, &now);
    // This report was on its way already.
    rig.report(&document([2, 0, 0]));
    rig.report(&with_alarm(document([2, 0, 0])));
    rig.report(&with_alarm(document([2, 0, 0])));
    let count = |rig: &Rig, start: &str| events(rig).iter().filter(|text| text.starts_with(start)).count();
    assert_eq!(
        (count(&rig, "ALARM"), count(&rig, "alarm over")),
        (1, 0),
        "{:?}",
        events(&rig)
    );
    let now = rig.now();
    let cleared = Heard::AlarmCleared { id: "a-1".to_owned() };
    rig.model.signal(cleared.clone(), &now);
    rig.report(&with_alarm(document([2, 0, 0])));
    rig.report(&document([2, 0, 0]));
    rig.model.signal(cleared, &now);
    assert_eq!(
        (count(&rig, "ALARM"), count(&rig, "alarm over: omnimind.service")),
        (1, 1)
    );
}

#[test]
fn an_alarm_whose_signals_were_missed_is_told_from_reports() {
    let mut rig = Rig::new(PLAIN);
    rig.report(&document([0, 0, 0]));
    rig.report(&with_alarm(document([2, 0, 0])));
    rig.report(&document([2, 0, 0]));
    rig.report(&document([2, 0, 0]));
    let told = events(&rig);
    assert_eq!(told[0], "alarm over: omnimind.service");
    assert!(told[1].starts_with("ALARM critical omnimind.service"), "{told:?}");
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn swap_outs_of_the_same_units_are_one_event_that_grows() {
    let mut rig = Rig::new(PLAIN);
    for pages in 0..5 {
        rig.report(&document([pages, 10 * pages, 0]));
    }
    let told = events(&rig);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.contains(&"swapped out 4 pages of omnimind.service by backup.service (direct)".to_owned()));
    assert!(told.contains(&"swapped out 40 pages of backup.service by kswapd".to_owned()));
    rig.second += 70;
    rig.report(&document([5, 40, 0]));
    assert_eq!(
        events(&rig)[0],
        "swapped out 1 page of omnimind.service by backup.service (direct)"
    );
}

#[test]
fn the_cursor_stays_on_its_unit() {
    let mut rig = Rig::new(PLAIN);
    rig.report(&document([0, 10, 0]));
    rig.report(&document([0, 20, 0]));
    rig.draw(80, 24);
    rig.press(KeyCode::Home);
    assert_eq!(rig.model.selected, Some(Clean::new("backup.service")));
    // Now another one loses more.
    rig.report(&document([0, 21, 500]));
    assert_eq!(rig.model.selected, Some(Clean::new("backup.service")));
    rig.press(KeyCode::End);
    assert_eq!(rig.model.selected, Some(Clean::new("omnimind.service")));
    rig.press(KeyCode::PageUp);
    rig.press(KeyCode::Up);
    assert!(
        rig.model
            .selected
            .as_ref()
            .is_some_and(|unit| unit.as_str().starts_with("a-service"))
    );
}

#[test]
fn the_page_of_a_unit_that_goes_says_so() {
    let mut rig = Rig::new(PLAIN);
    rig.report(&document([0, 10, 0]));
    rig.keys("j");
    rig.press(KeyCode::Enter);
    let unit = rig.model.selected.clone().expect("one");
    let mut without = document([0, 10, 0]);
    without["units"]
        .as_array_mut()
        .expect("units")
        .retain(|each| each["unit"] != unit.as_str());
    rig.report(&without);
    assert!(rig.screen(80, 24).contains("has no cgroup any more"));
    assert_eq!(rig.model.wants_processes(), None);
    rig.press(KeyCode::Esc);
    assert_eq!(rig.model.view, View::Units);
}

#[test]
fn while_paused_nothing_is_asked_and_signals_wait() {
    let mut rig = Rig::new(PLAIN);
    rig.report(&document([0, 0, 0]));
    assert!(rig.model.wants_reports());
    rig.keys("p");
    assert!(!rig.model.wants_reports());
    let now = rig.now();
    let asked = Heard::ReleaseRequested {
        unit: "backup.service".to_owned(),
        bytes: 1 << 20,
    };
    rig.model.signal(asked, &now);
    assert!(events(&rig).is_empty());
    assert!(rig.screen(100, 24).contains("1 event since the pause"));
    rig.second += 3600;
    rig.keys(" ");
    assert_eq!(events(&rig), ["backup.service was asked to release 1.0M"]);
    let now = rig.now();
    assert!(rig.model.wants_reports() && rig.model.overdue(&now).is_none());
}

#[test]
fn late_and_lost_reports_are_told() {
    let mut rig = Rig::new(PLAIN);
    rig.model.lose("no agent is running\u{1b}[2J", &rig.now());
    assert!(
        rig.screen(80, 24)
            .contains("no report yet: no agent is running\u{fffd}[2J")
    );
    rig.report(&document([0, 0, 0]));
    rig.second += 10;
    assert!(
        rig.screen(80, 24)
            .contains("! the agent has not answered for 10 s")
    );
    rig.model.lose("it left", &rig.now());
    rig.second += 5;
    assert!(
        rig.screen(80, 24)
            .contains("! NO REPORT for 5 s, trying again: it left")
    );
    rig.report(&document([0, 0, 0]));
    assert!(!rig.screen(80, 24).contains("! "));
    assert_eq!(
        events(&rig),
        ["the agent answers again, after 6 s", "no report: it left"]
    );
}

#[test]
fn keys_while_the_filter_is_typed_are_text() {
    let mut rig = Rig::new(PLAIN);
    rig.report(&document([0, 0, 0]));
    rig.keys("/q");
    assert_eq!(rig.model.filter, "q");
    assert_eq!(rig.press(KeyCode::Backspace), Command::Nothing);
    rig.keys("back");
    rig.press(KeyCode::Enter);
    assert_eq!(rig.model.rows().len(), 1);
    rig.keys("/x");
    rig.press(KeyCode::Esc);
    assert_eq!(rig.model.filter, "back");
    rig.press(KeyCode::Esc);
    assert_eq!(rig.model.filter, "");
    let now = rig.now();
    rig.keys("/");
    let quit = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(rig.model.key(&quit, &now), Command::Quit);
}

#[test]
fn quit_suspend_and_redraw_are_for_others() {
    let mut rig = Rig::new(PLAIN);
    let now = rig.now();
    assert_eq!(rig.press(KeyCode::Char('q')), Command::Quit);
    for (c, command) in [
        ('c', Command::Quit),
        ('z', Command::Suspend),
        ('l', Command::Redraw),
    ] {
        let key = KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        assert_eq!(rig.model.key(&key, &now), command);
    }
    let released = KeyEvent::new_with_kind(KeyCode::Char('q'), KeyModifiers::NONE, KeyEventKind::Release);
    assert_eq!(rig.model.key(&released, &now), Command::Nothing);
}

#[test]
fn every_sort_puts_the_unknown_last_and_can_be_reversed() {
    let mut rig = Rig::new(PLAIN);
    let mut first = document([1, 2, 3]);
    first["units"][0]["psi"] = Value::Null;
    first["units"][0]["swapout_pages"] = Value::Null;
    rig.report(&first);
    rig.report(&first);
    let names = |rig: &Rig| -> Vec<char> {
        rig.model
            .rows()
            .iter()
            .filter_map(|unit| unit.unit.as_str().chars().next())
            .collect()
    };
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.push((rig.model.sort.as_str(), names(&rig)));
        rig.keys("s");
    }
    assert_eq!(seen[1], ("swap-outs", vec!['a', 'b', 'o']));
    assert_eq!(seen[4], ("memory", vec!['o', 'b', 'a']));
    assert_eq!(seen[5], ("PSI", vec!['a', 'b', 'o']));
    assert_eq!(seen[6], ("priority", vec!['o', 'b', 'a']));
    assert_eq!(seen[7], ("name", vec!['a', 'b', 'o']));
    assert_eq!(rig.model.sort.as_str(), seen[0].0);
    rig.keys("sssr");
    assert_eq!(rig.model.sort.as_str(), "swap");
    assert_eq!(names(&rig), ['o', 'b', 'a']);
}
