//! Which key does what.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::model::View;

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// End.
    Quit,
    /// Stop this process until the shell continues it.
    Suspend,
    /// Draw everything again.
    Redraw,
    /// Something that the model has done already.
    Nothing,
}

/// What a key does to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Leave(Command),
    Help,
    Show(View),
    NextView,
    PreviousView,
    EditFilter,
    Sort,
    Reverse,
    Pause,
    Open,
    Back,
    Move(isize),
    Page(isize),
    First,
    Last,
}

/// What a key does while the filter is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Add(char),
    DeleteLast,
    DeleteAll,
    Keep,
    Drop,
    Leave(Command),
}

const fn is_press(key: &KeyEvent) -> bool {
    !matches!(key.kind, KeyEventKind::Release)
}

/// With Control held.
const fn control(c: char) -> Option<Command> {
    match c {
        'c' => Some(Command::Quit),
        'z' => Some(Command::Suspend),
        'l' => Some(Command::Redraw),
        _ => None,
    }
}

/// The action of a key; `None` if it has none.
pub(super) fn action(key: &KeyEvent) -> Option<Action> {
    if !is_press(key) {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        let KeyCode::Char(c) = key.code else { return None };
        return match c {
            'f' => Some(Action::Page(1)),
            'b' => Some(Action::Page(-1)),
            _ => control(c).map(Action::Leave),
        };
    }
    Some(match key.code {
        KeyCode::Char('q' | 'Q') => Action::Leave(Command::Quit),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Action::Help,
        KeyCode::Char('1') => Action::Show(View::Units),
        KeyCode::Char('2') => Action::Show(View::Blame),
        KeyCode::Char('3') => Action::Show(View::Unit),
        KeyCode::Char('4') => Action::Show(View::Events),
        KeyCode::Tab => Action::NextView,
        KeyCode::BackTab => Action::PreviousView,
        KeyCode::Char('/') => Action::EditFilter,
        KeyCode::Char('s') => Action::Sort,
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Enter => Action::Open,
        KeyCode::Esc => Action::Back,
        KeyCode::Up | KeyCode::Char('k') => Action::Move(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Move(1),
        KeyCode::PageUp => Action::Page(-1),
        KeyCode::PageDown => Action::Page(1),
        KeyCode::Home | KeyCode::Char('g') => Action::First,
        KeyCode::End | KeyCode::Char('G') => Action::Last,
        _ => return None,
    })
}

/// What a key does while the filter is typed.
pub(super) fn typed(key: &KeyEvent) -> Option<Typed> {
    if !is_press(key) {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('u' | 'w') => Some(Typed::DeleteAll),
            KeyCode::Char('h') => Some(Typed::DeleteLast),
            KeyCode::Char(c) => control(c).map(Typed::Leave),
            _ => None,
        };
    }
    match key.code {
        KeyCode::Char(c) => Some(Typed::Add(c)),
        KeyCode::Backspace => Some(Typed::DeleteLast),
        KeyCode::Enter => Some(Typed::Keep),
        KeyCode::Esc => Some(Typed::Drop),
        _ => None,
    }
}
