//! How findings are written for people: in a terminal, or in a pull request.
//!
//! Names come from policies and logs, which others write: nothing in them reaches a terminal as
//! control characters, or a page as markup.

use std::fmt::Write as _;

/// What a comment on a pull request may hold, with room for what stands around it.
const MARKDOWN_MAX: usize = 60_000;
/// Names longer than this are cut.
const NAME_MAX: usize = 200;

/// For whom it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Terminal,
    Markdown,
}

/// A text that grows up to a bound.
#[derive(Debug)]
pub(super) struct Page {
    style: Style,
    text: String,
    left_out: usize,
}

impl Style {
    /// A name as it may be shown.
    pub(super) fn name(self, name: &str) -> String {
        let mut shown = String::with_capacity(name.len() + 2);
        for character in name.chars().take(NAME_MAX) {
            match character {
                '`' => shown.push('\''),
                it if it.is_control() || is_unseen(it) => {
                    write!(shown, "{}", it.escape_unicode()).ok();
                }
                it => shown.push(it),
            }
        }
        if name.chars().nth(NAME_MAX).is_some() {
            shown.push('…');
        }
        match self {
            Self::Terminal => shown,
            // A code span has to have something in it, and no space at its ends.
            Self::Markdown if shown.trim().is_empty() => "(empty)".to_owned(),
            Self::Markdown => format!("`{}`", shown.trim()),
        }
    }

    /// The first names of a list, and how many there are more.
    pub(super) fn names<'n>(self, names: impl Iterator<Item = &'n str>, max: usize) -> String {
        let mut text = String::new();
        let mut more = 0_usize;
        for (at, name) in names.enumerate() {
            if at >= max {
                more += 1;
                continue;
            }
            if at > 0 {
                text.push_str(", ");
            }
            text.push_str(&self.name(name));
        }
        if more > 0 {
            write!(text, ", and {} more", count(more as u64)).ok();
        }
        text
    }

    /// A sentence of ours in which there are names of others.
    pub(super) fn sentence(self, text: &str) -> String {
        let shown: String = text
            .chars()
            .map(|it| if it.is_control() || is_unseen(it) { ' ' } else { it })
            .collect();
        match self {
            Self::Terminal => shown,
            Self::Markdown => escaped(&shown),
        }
    }
}

/// Marks of Markdown and HTML lose their meaning; code spans of ours stay.
fn escaped(text: &str) -> String {
    let mut parts = text.split('`').peekable();
    let mut escaped = String::with_capacity(text.len());
    let mut in_code = false;
    while let Some(part) = parts.next() {
        if in_code && parts.peek().is_some() {
            write!(escaped, "`{part}`").ok();
        } else {
            for character in part.chars() {
                if matches!(character, '<' | '>' | '*' | '_' | '[' | ']' | '|' | '\\' | '@' | '#') {
                    escaped.push('\\');
                }
                escaped.push(character);
            }
        }
        in_code = !in_code;
    }
    escaped
}

/// What reorders or hides the text around it.
fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 identity`, `2 identities`.
pub(super) fn counted(number: usize, one: &str, several: &str) -> String {
    let what = if number == 1 { one } else { several };
    format!("{} {what}", count(number as u64))
}

impl Page {
    pub(super) fn new(style: Style) -> Self {
        Self { style, text: String::new(), left_out: 0 }
    }

    /// A line that stands there in any case.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A block that is left out where there is no room for it.
    pub(super) fn block(&mut self, block: &str) {
        let full = self.style == Style::Markdown && self.text.len() + block.len() > MARKDOWN_MAX;
        if full || self.left_out > 0 {
            self.left_out += 1;
        } else {
            self.text.push_str(block);
        }
    }

    /// Counts a block that is not even written.
    pub(super) fn leave_out(&mut self, blocks: usize) {
        self.left_out += blocks;
    }

    pub(super) fn done(mut self) -> String {
        if self.left_out > 0 {
            let left_out = counted(self.left_out, "more group", "more groups");
            self.line(&format!("\n… and {left_out}: `--format json` has everything."));
        }
        self.text.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn a_sentence_keeps_its_code_and_nothing_else() {
        let text = "role `a_b` <script> @everyone *bold* `open";
        let shown = Style::Markdown.sentence(text);
        assert_eq!(shown, "role `a_b` \\<script\\> \\@everyone \\*bold\\* open");
    }

    #[test]
    fn what_a_comment_cannot_hold_is_counted() {
        let mut page = Page::new(Style::Markdown);
        let block = "x".repeat(25_000);
        for _ in 0..5 {
            page.block(&block);
        }
        let text = page.done();
        assert!(text.len() < 65_000);
        assert!(text.ends_with("… and 3 more groups: `--format json` has everything."), "{text}");
    }

    proptest! {
        #[test]
        fn a_name_stays_one_harmless_word(name in "\\PC{0,300}|[\\x00-\\xff]{0,40}") {
            let shown = Style::Terminal.name(&name);
            prop_assert!(!shown.chars().any(char::is_control));
            let shown = Style::Markdown.name(&name);
            let within = shown.strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
            prop_assert!(shown == "(empty)" || within.is_some_and(|it| !it.contains(['`', '\n'])));
        }
    }
}
