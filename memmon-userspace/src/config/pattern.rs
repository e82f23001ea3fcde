//! Patterns of unit names: `*`, `?`, `[a-z]`, `[!a-z]`.
//!
//! Not one of the glob crates, because a backslash is an ordinary character in unit names
//! (`dev-disk-by\x2duuid.swap`) and because the rule "longest literal beginning wins" needs the parts.

use std::{cmp::Ordering, fmt};

/// A pattern of unit names. It matches whole names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    AnyOne,
    AnyRun,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing in it.
    #[error("is empty: write a unit name, or \"*\" for every unit")]
    Empty,
    /// `[` without `]`.
    #[error("has a \"[\" without its \"]\": close it, or drop it (unit names have no brackets)")]
    Unclosed,
    /// `[z-a]`.
    #[error("has the range {from}-{to}, which holds nothing: write {to}-{from}")]
    EmptyRange {
        /// First character of the range.
        from: char,
        /// Last character of the range.
        to: char,
    },
}

impl Pattern {
    /// Parses `text`.
    ///
    /// # Errors
    /// If it is empty or a bracket expression is malformed.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let mut tokens = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '?' => tokens.push(Token::AnyOne),
                '*' if tokens.last() == Some(&Token::AnyRun) => {}
                '*' => tokens.push(Token::AnyRun),
                '[' => tokens.push(class(&mut rest)?),
                _ => tokens.push(Token::Literal(c)),
            }
        }
        Ok(Self {
            text: text.to_owned(),
            tokens,
        })
    }

    /// The text it was made from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has no wildcard, and so matches exactly one name.
    pub fn is_exact(&self) -> bool {
        self.literals() == self.tokens.len()
    }

    /// Whether it matches the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut token) = (0, 0);
        // Where to go on after a mismatch: behind the last `*`, which then swallows one character more.
        let mut retry: Option<(usize, usize)> = None;
        while at < name.len() {
            match self.tokens.get(token) {
                Some(Token::AnyRun) => {
                    retry = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                Some(one) if one.accepts(name[at]) => {
                    at += 1;
                    token += 1;
                    continue;
                }
                _ => {}
            }
            let Some((after_star, swallowed)) = retry else {
                return false;
            };
            retry = Some((after_star, swallowed + 1));
            (token, at) = (after_star, swallowed + 1);
        }
        self.tokens[token..].iter().all(|t| *t == Token::AnyRun)
    }

    /// Literal characters before the first wildcard.
    pub fn literal_prefix_len(&self) -> usize {
        self.tokens
            .iter()
            .take_while(|t| matches!(t, Token::Literal(_)))
            .count()
    }

    /// The text behind the last wildcard; the whole text if there is none.
    pub(super) fn literal_tail(&self) -> String {
        let tail: Vec<char> = self.tokens.iter().rev().map_while(Token::literal).collect();
        tail.into_iter().rev().collect()
    }

    /// Every character that the pattern names, the ends of ranges included.
    pub(super) fn characters(&self) -> impl Iterator<Item = char> + '_ {
        self.tokens.iter().flat_map(|token| match token {
            Token::Literal(c) => vec![*c],
            Token::Class { ranges, .. } => ranges.iter().flat_map(|(from, to)| [*from, *to]).collect(),
            Token::AnyOne | Token::AnyRun => Vec::new(),
        })
    }

    /// Orders patterns by how much they say about a name; the greater one decides. `Equal` does not
    /// mean the same pattern.
    pub(super) fn cmp_specificity(&self, other: &Self) -> Ordering {
        let rank = |p: &Self| {
            let stars = p.tokens.iter().filter(|t| **t == Token::AnyRun).count();
            (p.literal_prefix_len(), p.literals(), usize::MAX - stars)
        };
        rank(self).cmp(&rank(other))
    }

    fn literals(&self) -> usize {
        self.tokens
            .iter()
            .filter(|t| matches!(t, Token::Literal(_)))
            .count()
    }
}

impl Token {
    fn accepts(&self, c: char) -> bool {
        match self {
            Self::Literal(l) => *l == c,
            Self::AnyOne => true,
            Self::AnyRun => false,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated
            }
        }
    }

    fn literal(&self) -> Option<char> {
        match self {
            Self::Literal(c) => Some(*c),
            _ => None,
        }
    }
}

/// Reads a bracket expression whose `[` has been read. As in fnmatch(3), a `]` that comes first is
/// literal, and so is a `-` that comes first or last.
fn class(rest: &mut std::str::Chars<'_>) -> Result<Token, PatternError> {
    let negated = matches!(rest.clone().next(), Some('!' | '^'));
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        let from = rest.next().ok_or(PatternError::Unclosed)?;
        if from == ']' && !ranges.is_empty() {
            return Ok(Token::Class { negated, ranges });
        }
        let mut ahead = rest.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                *rest = ahead;
                to
            }
            _ => from,
        };
        if to < from {
            return Err(PatternError::EmptyRange { from, to });
        }
        ranges.push((from, to));
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::str::FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::new(text)
    }
}
