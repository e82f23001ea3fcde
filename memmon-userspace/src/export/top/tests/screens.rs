//! Whole screens, as they were looked at.

use insta::assert_snapshot;
use ratatui::{
    crossterm::event::KeyCode,
    style::{Color, Modifier},
};

use super::rig::{FULL, PLAIN, Rig, document, lines, with_alarm};
use crate::export::top::{Look, Processes, model::Process};

/// Two minutes in which the backup loses ever more, and at their end two pages of the critical unit go out.
fn after_a_while(look: Look) -> Rig {
    let mut rig = Rig::new(look);
    for second in 0..120 {
        rig.report(&document([0, second * second, second / 30]));
    }
    rig.report(&with_alarm(document([2, 14_400, 4])));
    rig
}

#[test]
fn units_in_80_columns() {
    assert_snapshot!(after_a_while(FULL).screen(80, 24));
}

#[test]
fn units_in_132_columns() {
    assert_snapshot!(after_a_while(FULL).screen(132, 43));
}

#[test]
fn units_without_colour_and_unicode() {
    let mut rig = after_a_while(PLAIN);
    let buffer = rig.draw(80, 24);
    let colours = buffer
        .content
        .iter()
        .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
    assert_eq!(colours.count(), 0);
    assert!(
        buffer
            .content
            .iter()
            .any(|cell| cell.modifier.contains(Modifier::REVERSED))
    );
    let screen = lines(&buffer).join("\n");
    assert!(screen.is_ascii(), "{screen}");
    assert_snapshot!(screen);
}

#[test]
fn an_alarm_is_red_and_has_a_sign() {
    let mut rig = after_a_while(FULL);
    rig.keys("j");
    let buffer = rig.draw(80, 24);
    let text = lines(&buffer);
    let row = |start: &str| {
        let at = text.iter().position(|line| line.starts_with(start)).expect(start);
        buffer[(3, u16::try_from(at).expect("few lines"))].clone()
    };
    assert_eq!(row("! CRITICAL omnimind.service").fg, Color::Red);
    assert_eq!(row("!L omnimind.service").fg, Color::Red);
    assert_eq!(row("   backup.service").fg, Color::Reset);
}

#[test]
fn blame() {
    let mut rig = after_a_while(FULL);
    rig.keys("2");
    assert_snapshot!(rig.screen(80, 24));
}

#[test]
fn page_of_a_unit() {
    let mut rig = after_a_while(FULL);
    rig.press(KeyCode::Enter);
    let (unit, _) = rig.model.wants_processes().expect("its processes");
    rig.model.processes(Processes {
        unit,
        all: vec![
            Process::new(412, "python3", Some(3 << 30), Some(8192)),
            Process::new(413, "a\u{1b}[0mb", None, None),
        ],
        cut: true,
    });
    assert_snapshot!(rig.screen(80, 30));
}

#[test]
fn events() {
    let mut rig = after_a_while(FULL);
    rig.keys("4");
    assert_snapshot!(rig.screen(80, 24));
}

#[test]
fn without_an_agent() {
    let mut rig = Rig::new(PLAIN);
    for out in [[0, 5, 0], [0, 9, 0]] {
        let mut alone = document(out);
        alone["agent"] = serde_json::Value::Null;
        alone["alarms"] = serde_json::Value::Null;
        alone["regions"] = serde_json::Value::Null;
        alone["units"][0]["leases"] = serde_json::Value::Null;
        alone["units"][0]["psi"] = serde_json::Value::Null;
        alone["system"]["psi"] = serde_json::Value::Null;
        alone["system"]["swap_used"] = serde_json::Value::Null;
        rig.report(&alone);
    }
    assert_snapshot!(rig.screen(80, 16));
}

#[test]
fn any_size_can_be_drawn() {
    for view in ["1", "2", "3", "4", "?"] {
        let mut rig = after_a_while(FULL);
        rig.keys(view);
        for (width, height) in [
            (1, 1),
            (39, 9),
            (40, 10),
            (41, 11),
            (80, 11),
            (200, 60),
            (500, 12),
        ] {
            for line in rig.screen(width, height).lines() {
                assert!(line.chars().count() <= usize::from(width));
            }
        }
    }
}
