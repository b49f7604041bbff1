//! A look at a module before it is parsed, for what would kill or stall the parser.
//!
//! The parser descends by recursion, and it reads the first item of a list or set twice, once as
//! if it were a comprehension. So brackets and long chains of operators can overflow its stack, and
//! nested literals take time without bound. Neither happens in a policy that a person writes.

use super::error::Problem;
use super::source::Text;

/// `[` and `{` one inside another, bodies of rules included.
const NESTING_MAX: usize = 10;
/// All brackets one inside another.
const BRACKETS_MAX: usize = 32;
/// Operators, dots and brackets in one expression.
const CHAIN_MAX: usize = 128;
const LINES_MAX: u32 = 20_000;
/// Tokens, each as often as the parser may read it, in all modules together.
const WORK_MAX: u64 = 4_000_000;

/// What is wrong with the modules; empty if they may be parsed.
pub(super) fn check(modules: &[Text]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut work = 0_u64;
    for module in modules {
        let mut scan = Scan::default();
        if let Err(message) = scan.module(&module.text) {
            let line = scan.line + 1;
            let file = module.name.clone();
            problems.push(Problem { file, line, column: 1, message: message.to_owned() });
        }
        work = work.saturating_add(scan.work);
        if work > WORK_MAX {
            let message = "the policy has too much in nested lists and sets".to_owned();
            problems.push(Problem::in_file(&module.name, message));
            break;
        }
    }
    problems
}

#[derive(Default)]
struct Scan {
    line: u32,
    work: u64,
    open: Vec<Bracket>,
    /// Links of the chain outside all brackets.
    chain: usize,
    last: Last,
}

/// An open bracket.
struct Bracket {
    /// `[` or `{`, whose first item is read twice.
    twice: bool,
    /// No `,` has come yet.
    first: bool,
    /// Links of the chain in which it stands, to go on with once it is closed.
    outside: usize,
}

/// What came last, to tell where one expression ends and the next begins.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Last {
    #[default]
    Start,
    Operator,
    Value,
    /// A value, and a line break since.
    ValueAndBreak,
}

impl Scan {
    fn module(&mut self, text: &str) -> Result<(), &'static str> {
        // The parser takes it for the end, and drops what follows without a word.
        if let Some(at) = memchr::memchr(0, text.as_bytes()) {
            let before = text.bytes().take(at).filter(|byte| *byte == b'\n').count();
            self.line = u32::try_from(before).unwrap_or(u32::MAX - 1);
            return Err("the file holds a NUL, which is no part of any policy");
        }
        let mut bytes = text.bytes().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\n' => self.line_break()?,
                b' ' | b'\t' | b'\r' => {}
                b'#' => while bytes.next_if(|byte| *byte != b'\n').is_some() {},
                b'"' => {
                    self.value()?;
                    while let Some(byte) = bytes.next() {
                        match byte {
                            b'"' => break,
                            b'\\' => drop(bytes.next()),
                            b'\n' => self.line += 1,
                            _ => {}
                        }
                    }
                }
                b'`' => {
                    self.value()?;
                    for byte in bytes.by_ref() {
                        match byte {
                            b'`' => break,
                            b'\n' => self.line += 1,
                            _ => {}
                        }
                    }
                }
                b'[' | b'{' | b'(' => self.open(byte)?,
                b']' | b'}' | b')' => self.close(),
                b',' | b';' => {
                    self.token();
                    self.chain = 0;
                    self.last = Last::Operator;
                    if let Some(bracket) = self.open.last_mut() {
                        bracket.first &= byte == b';';
                    }
                }
                byte if is_word(byte) => {
                    let mut word = vec![byte];
                    while let Some(byte) = bytes.next_if(|byte| is_word(*byte)) {
                        word.push(byte);
                    }
                    // `in` is an operator, and a chain of it nests like any other.
                    if word == b"in" { self.operator()? } else { self.value()? }
                }
                _ => self.operator()?,
            }
        }
        Ok(())
    }

    fn line_break(&mut self) -> Result<(), &'static str> {
        self.line += 1;
        if self.line > LINES_MAX {
            return Err("the file has too many lines");
        }
        if self.last == Last::Value {
            self.last = Last::ValueAndBreak;
        }
        Ok(())
    }

    fn value(&mut self) -> Result<(), &'static str> {
        self.token();
        if self.last != Last::Operator {
            // Two values without an operator between them: another expression begins.
            self.chain = 0;
        }
        self.last = Last::Value;
        Ok(())
    }

    fn operator(&mut self) -> Result<(), &'static str> {
        self.token();
        self.last = Last::Operator;
        self.link()
    }

    fn link(&mut self) -> Result<(), &'static str> {
        self.chain += 1;
        if self.chain > CHAIN_MAX {
            return Err("an expression has too many operators");
        }
        Ok(())
    }

    fn open(&mut self, byte: u8) -> Result<(), &'static str> {
        self.token();
        if self.last == Last::ValueAndBreak {
            self.chain = 0;
        }
        self.link()?;
        let twice = byte != b'(';
        self.open.push(Bracket { twice, first: true, outside: self.chain });
        self.chain = 0;
        self.last = Last::Operator;
        if self.open.len() > BRACKETS_MAX
            || self.open.iter().filter(|bracket| bracket.twice).count() > NESTING_MAX
        {
            return Err("brackets are nested too deeply");
        }
        Ok(())
    }

    fn close(&mut self) {
        self.token();
        self.chain = self.open.pop().map_or(0, |bracket| bracket.outside);
        self.last = Last::Value;
    }

    fn token(&mut self) {
        let doubled = self.open.iter().filter(|bracket| bracket.twice && bracket.first).count();
        self.work = self.work.saturating_add(1 << doubled.min(NESTING_MAX));
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

#[cfg(test)]
mod tests;
