//! Patterns that mean the same here and in OPA. The libraries below differ at their edges, so a
//! pattern keeps away from those.

use regex::RegexBuilder;

/// What the interpreter allows a compiled pattern to take.
const REGEX_BYTES_MAX: usize = 100 * 1024;
const REPEAT_MAX: u32 = 1000;

/// What is wrong with the pattern of `glob.match`, for the delimiters `["/"]`.
pub(super) fn glob(pattern: &str) -> Result<(), &'static str> {
    if pattern.contains(['[', ']', '?', '\\']) {
        return Err("only `*`, `**` and `{a,b}` mean the same in OPA");
    }
    let plain = braces(pattern)?;
    let mut segments = plain.split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if segment.contains("**") && !(segment == "**" && last) {
            return Err("`**` has to be the whole of the last segment");
        }
    }
    Ok(())
}

/// The pattern with `x` for each choice.
fn braces(pattern: &str) -> Result<String, &'static str> {
    let (mut plain, mut choice) = (String::new(), None::<String>);
    for letter in pattern.chars() {
        match (letter, &mut choice) {
            ('{', None) => choice = Some(String::new()),
            ('{', Some(_)) => return Err("`{…}` cannot be nested"),
            ('}', None) => return Err("`}` without `{`"),
            ('}', Some(choices)) => {
                if choices.split(',').any(str::is_empty) {
                    return Err("a choice in `{…}` is empty");
                }
                choice = None;
                plain.push('x');
            }
            ('*', Some(_)) => return Err("`*` cannot stand in `{…}`"),
            (other, Some(choices)) => choices.push(other),
            (other, None) => plain.push(other),
        }
    }
    if choice.is_some() { Err("`{` without `}`") } else { Ok(plain) }
}

/// What is wrong with a regular expression.
pub(super) fn regex(pattern: &str) -> Result<(), String> {
    Syntax { rest: pattern.chars().collect(), at: 0 }.check()?;
    RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map(drop)
        .map_err(|error| error.to_string().lines().last().unwrap_or_default().trim().to_owned())
}

/// Whether it finds something in nothing: then the texts between its finds are others in OPA.
pub(super) fn finds_nothing(pattern: &str) -> bool {
    regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(""))
}

struct Syntax {
    rest: Vec<char>,
    at: usize,
}

impl Syntax {
    fn next(&mut self) -> Option<char> {
        let letter = self.rest.get(self.at).copied();
        self.at += 1;
        letter
    }

    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn takes(&mut self, letter: char) -> bool {
        let is = self.peek() == Some(letter);
        self.at += usize::from(is);
        is
    }

    fn check(mut self) -> Result<(), String> {
        let mut repeated = false;
        while let Some(letter) = self.next() {
            let repeats = match letter {
                '\\' => {
                    self.escape()?;
                    false
                }
                '[' => {
                    self.class()?;
                    false
                }
                '(' => {
                    self.group()?;
                    false
                }
                '*' | '+' | '?' => true,
                '{' => {
                    self.times()?;
                    true
                }
                '}' => return Err("a bare `}` is to be written `\\}`".to_owned()),
                _ => false,
            };
            if repeats {
                if repeated {
                    return Err("something is repeated twice".to_owned());
                }
                // Not greedy.
                self.takes('?');
            }
            repeated = repeats;
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        let Some(letter) = self.next() else { return Err("it ends in `\\`".to_owned()) };
        let instead = match letter {
            'd' => "`[0-9]`",
            'D' => "`[^0-9]`",
            'w' => "`[0-9A-Za-z_]`",
            'W' => "`[^0-9A-Za-z_]`",
            's' => "`[\\t\\n\\f\\r ]`",
            'S' => "`[^\\t\\n\\f\\r ]`",
            'x' | 'A' | 'z' | 'n' | 't' | 'r' | 'f' | 'v' | 'a' => return Ok(()),
            letter if letter.is_ascii_punctuation() && letter != '<' && letter != '>' => {
                return Ok(());
            }
            _ => return Err(format!("`\\{letter}` means something else in OPA")),
        };
        Err(format!("`\\{letter}` takes letters of all languages here: write {instead}"))
    }

    fn class(&mut self) -> Result<(), String> {
        self.takes('^');
        // The first one is no end.
        self.takes(']');
        while let Some(letter) = self.next() {
            match letter {
                ']' => return Ok(()),
                '\\' => self.escape()?,
                '[' if self.takes(':') => {
                    while self.next().is_some_and(|letter| letter != ':') {}
                    if !self.takes(']') {
                        return Err("`[:` is not closed".to_owned());
                    }
                }
                '[' => return Err("`[` in a class is to be written `\\[`".to_owned()),
                '&' | '-' | '~' if self.peek() == Some(letter) => {
                    return Err(format!(
                        "`{letter}{letter}` in a class means something else in OPA"
                    ));
                }
                _ => {}
            }
        }
        Err("`[` is not closed".to_owned())
    }

    /// Behind `(`.
    fn group(&mut self) -> Result<(), String> {
        if !self.takes('?') {
            return Ok(());
        }
        let named = self.takes('P');
        if self.takes('<') {
            return Ok(());
        }
        while !named && let Some(letter) = self.next() {
            match letter {
                ':' | ')' => return Ok(()),
                'i' | 's' | 'm' => {}
                _ => break,
            }
        }
        Err("of the groups that begin with `(?` only `(?:…)`, `(?i)`, `(?s)`, `(?m)` and `(?P<name>…)` \
             mean the same in OPA"
            .to_owned())
    }

    /// Behind `{`.
    fn times(&mut self) -> Result<(), String> {
        let (mut numbers, mut number) = (Vec::new(), String::new());
        loop {
            match self.next() {
                Some(digit) if digit.is_ascii_digit() => number.push(digit),
                Some(',') if numbers.is_empty() && !number.is_empty() => {
                    numbers.push(std::mem::take(&mut number));
                }
                Some('}') if !(numbers.is_empty() && number.is_empty()) => break,
                _ => return Err("a bare `{` is to be written `\\{`".to_owned()),
            }
        }
        numbers.push(number);
        let given = numbers.iter().filter(|number| !number.is_empty());
        if given.clone().any(|number| number.parse::<u32>().map_or(true, |it| it > REPEAT_MAX)) {
            return Err(format!("nothing can be repeated more than {REPEAT_MAX} times"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
