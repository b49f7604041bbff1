//! How tools write for people: columns, wrapped lines, and color only where it is wanted.

use std::io::IsTerminal as _;

const WIDTH: usize = 100;
/// Whatever stands before it, a line has room for this much.
const ROOM_MIN: usize = 30;

/// Color, if the reader wants it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(bool);

impl Paint {
    /// For standard output. `NO_COLOR` counts when it is set and not empty (no-color.org).
    pub(super) fn stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
        Self(std::io::stdout().is_terminal() && !unwanted)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn doubtful(self, text: &str) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// `first` and then `text`, broken between words; later lines stand below the beginning of `text`.
/// What `first` shows is `width` columns wide.
pub(super) fn hung(first: &str, width: usize, text: &str) -> String {
    let room = WIDTH.saturating_sub(width).max(ROOM_MIN);
    let mut out = first.to_owned();
    let mut column = 0;
    for word in visible(text).split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > room {
            out.push('\n');
            out.push_str(&" ".repeat(width));
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// Rows below a head, each column as wide as its widest cell; the last is not padded.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            let width = visible(cell).chars().count();
            match widths.get_mut(at) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let cell = visible(cell);
            let padding = width.saturating_sub(cell.chars().count()) + 2;
            line.push_str(&cell);
            line.push_str(&" ".repeat(padding));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// Names come from files and logs: what would move the cursor is shown, not obeyed.
pub(super) fn visible(text: &str) -> String {
    if text.chars().all(|it| !it.is_control()) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for it in text.chars() {
        if it.is_control() { out.extend(it.escape_default()) } else { out.push(it) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_hangs_below_its_beginning() {
        let text = hung("key  ", 5, &"word ".repeat(40));
        for line in text.lines().skip(1) {
            assert!(line.starts_with("     word"), "{line}");
            assert!(line.len() <= WIDTH, "{line}");
        }
        assert!(text.lines().count() > 1);
    }

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["a", "bb", "c"], ["aaaa", "b", "c"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|it| (*it).to_owned()).collect()).collect();
        assert_eq!(columns(&rows), "a     bb  c\naaaa  b   c\n");
    }

    #[test]
    fn what_would_move_the_cursor_is_shown() {
        assert_eq!(visible("a\u{1b}[31mb\r"), "a\\u{1b}[31mb\\r");
        assert_eq!(visible("ümlaut"), "ümlaut");
    }
}
