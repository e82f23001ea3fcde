//! Which paths a source file uses.
//!
//! Works on tokens: comments and strings cannot mislead it, and what is inside a macro's braces is seen as
//! well. A name that a `use` brought in is not followed; the `use` itself has been seen.

use std::iter::Peekable;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree, token_stream::IntoIter};

/// A path such as `crate::action::run`, wherever it occurs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UsedPath {
    /// Its segments; `*` for a glob. The call of a method is the one segment `.method`.
    pub(super) segments: Vec<String>,
    /// From 1.
    pub(super) line: usize,
}

impl std::fmt::Display for UsedPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.segments.join("::"))
    }
}

/// The paths of at least two segments and the called methods in `text`, without what is compiled for tests
/// only.
pub(super) fn paths(text: &str) -> Result<Vec<UsedPath>, String> {
    let stream: TokenStream = text.parse().map_err(|e: proc_macro2::LexError| e.to_string())?;
    let mut found = Vec::new();
    walk(stream, &mut found);
    Ok(found)
}

type Tokens = Peekable<IntoIter>;

fn walk(stream: TokenStream, found: &mut Vec<UsedPath>) {
    let mut tokens = stream.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(p) if p.as_char() == '#' => {
                let inner = next_punct(&mut tokens, '!');
                if let Some(attribute) = next_group(&mut tokens, Delimiter::Bracket) {
                    if is_cfg_test(&attribute) {
                        if inner {
                            return;
                        }
                        skip_item(&mut tokens);
                    } else {
                        walk(attribute.stream(), found);
                    }
                }
            }
            TokenTree::Punct(p) if p.as_char() == '.' => {
                if let Some(TokenTree::Ident(name)) = tokens.peek() {
                    let (segment, line) = (format!(".{name}"), name.span().start().line);
                    tokens.next();
                    if matches!(tokens.peek(), Some(TokenTree::Group(g)) if g.delimiter() == Delimiter::Parenthesis)
                    {
                        found.push(UsedPath {
                            segments: vec![segment],
                            line,
                        });
                    }
                }
            }
            TokenTree::Ident(first) => {
                let line = first.span().start().line;
                path(vec![first.to_string()], line, &mut tokens, found);
            }
            TokenTree::Group(group) => walk(group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Reads what follows the segments `so_far`, which began on `line`, and adds the path or, at the braces of a
/// `use`, its paths.
fn path(mut so_far: Vec<String>, line: usize, tokens: &mut Tokens, found: &mut Vec<UsedPath>) {
    while next_path_separator(tokens) {
        match tokens.peek() {
            Some(TokenTree::Ident(segment)) => so_far.push(segment.to_string()),
            Some(TokenTree::Punct(p)) if p.as_char() == '*' => so_far.push("*".to_owned()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                tree(&so_far, group.stream(), found);
                tokens.next();
                return;
            }
            _ => break,
        }
        tokens.next();
    }
    if so_far.len() > 1 {
        found.push(UsedPath {
            segments: so_far,
            line,
        });
    }
}

/// The inside of the braces of a `use`.
fn tree(prefix: &[String], inside: TokenStream, found: &mut Vec<UsedPath>) {
    let mut tokens = inside.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let segment = match &token {
            TokenTree::Ident(ident) if ident == "self" => None,
            TokenTree::Ident(ident) => Some(ident.to_string()),
            TokenTree::Punct(p) if p.as_char() == '*' => Some("*".to_owned()),
            _ => continue,
        };
        let so_far = prefix.iter().cloned().chain(segment).collect();
        path(so_far, token.span().start().line, &mut tokens, found);
        // `as name`, and the comma.
        while tokens
            .next_if(|token| !matches!(token, TokenTree::Punct(p) if p.as_char() == ','))
            .is_some()
        {}
    }
}

fn next_punct(tokens: &mut Tokens, wanted: char) -> bool {
    tokens
        .next_if(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == wanted))
        .is_some()
}

fn next_group(tokens: &mut Tokens, wanted: Delimiter) -> Option<Group> {
    match tokens.next_if(|token| matches!(token, TokenTree::Group(g) if g.delimiter() == wanted)) {
        Some(TokenTree::Group(group)) => Some(group),
        _ => None,
    }
}

fn next_path_separator(tokens: &mut Tokens) -> bool {
    let joint = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ':' && p.spacing() == proc_macro2::Spacing::Joint);
    tokens.next_if(joint).is_some() && next_punct(tokens, ':')
}

/// Whether the inside of an attribute's brackets is `cfg(test)`.
fn is_cfg_test(attribute: &Group) -> bool {
    attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// Skips to behind the item's body, or its semicolon.
fn skip_item(tokens: &mut Tokens) {
    for token in tokens.by_ref() {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            TokenTree::Punct(p) if p.as_char() == ';' => return,
            _ => {}
        }
    }
}
