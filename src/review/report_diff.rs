//! A comparison of two policies, written for people.

use super::changes::{Change, Diff, Group, Placed, RouteName, Wholesale};
use super::matrix::{Right, State};
use super::report::{Page, Style, count, counted};

const GROUPS_MAX: usize = 200;
const EXAMPLES_MAX: usize = 5;
const RIGHTS_MAX: usize = 40;
const ROUTES_MAX: usize = 20;
/// In a part that is folded away.
const FOLDED_MAX: usize = 200;

impl Diff {
    /// As text.
    pub fn told(&self, style: Style) -> String {
        let mut page = Page::new(style);
        let (old, new) = (style.name(&self.old), style.name(&self.new));
        match style {
            Style::Terminal => page.line(&format!("policy {old} -> {new}")),
            Style::Markdown => page.line(&format!("### Policy {old} → {new}\n")),
        }
        let summary = self.summary();
        match style {
            Style::Terminal => page.line(&summary),
            Style::Markdown => page.line(&format!("**{summary}**")),
        }
        let places = style.names(self.places.iter().map(|it| &**it), EXAMPLES_MAX);
        page.line(&paragraph(style, &format!("asked by {places}")));
        for line in self.wholesale() {
            page.line(&item(style, &style.sentence(&line)));
        }
        for (what, ids) in [("new", &self.appear), ("gone", &self.disappear)] {
            if !ids.is_empty() {
                let names = style.names(ids.iter().map(|it| &**it), EXAMPLES_MAX);
                let number = counted(ids.len(), "identity is", "identities are");
                page.line(&item(style, &format!("{number} {what}: {names}")));
            }
        }
        for group in self.groups.iter().take(GROUPS_MAX) {
            page.block(&self.group(group, style));
        }
        page.leave_out(self.groups.len().saturating_sub(GROUPS_MAX));
        for note in &self.notes {
            page.line(&paragraph(style, &format!("note: {}", style.sentence(note))));
        }
        page.done()
    }

    fn summary(&self) -> String {
        let compared = counted(self.compared, "identity", "identities");
        let of = |which: fn(&Group) -> bool| {
            let groups = self.groups.iter().filter(|group| which(group));
            groups.map(|group| group.identities.len()).sum::<usize>()
        };
        let (gain, lose) = (of(Group::gains), of(Group::loses));
        let other = of(|group| !group.gains() && !group.loses());
        let mut parts = Vec::new();
        for (number, one, several) in [
            (gain, "gains", "gain"),
            (lose, "loses", "lose"),
            (other, "changes otherwise", "change otherwise"),
        ] {
            if number > 0 {
                let verb = if number == 1 { one } else { several };
                parts.push(format!("{} {verb}", count(number as u64)));
            }
        }
        if parts.is_empty() {
            return format!("of {compared}, none gains or loses anything");
        }
        format!("of {compared}, {}", parts.join(", "))
    }

    /// What was not tried out on identities.
    fn wholesale(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let changed = match self.request_deny {
            Wholesale::Absent | Wholesale::Unchanged => None,
            Wholesale::Added => Some("is new: requests may be lost"),
            Wholesale::Removed => Some("is gone: requests that it denied are let in"),
            Wholesale::Changed => Some("changed, or what it uses: replay a log to see the effect"),
        };
        lines.extend(changed.map(|what| format!("`request.deny` {what}")));
        for (what, entries) in
            [("lifted", &self.revocations.lifted), ("added", &self.revocations.added)]
        {
            if !entries.is_empty() {
                let number = counted(entries.len(), "revocation is", "revocations are");
                let some: Vec<_> = entries.iter().take(EXAMPLES_MAX).map(String::as_str).collect();
                let dots = if entries.len() > EXAMPLES_MAX { ", …" } else { "" };
                lines.push(format!("{number} {what} ({}{dots})", some.join(", ")));
            }
        }
        lines
    }

    fn group(&self, group: &Group, style: Style) -> String {
        let who = counted(group.identities.len(), "identity", "identities");
        let mut lines = vec![match style {
            Style::Terminal => format!("\n{who}"),
            Style::Markdown => format!("\n#### {who}: {}\n", self.headline(group, style)),
        }];
        for placed in &group.changes {
            let at = self.at(placed, style);
            for line in change(&placed.change, style) {
                lines.push(item(style, &format!("{line}{at}")));
            }
        }
        for (what, routes) in [("opens", &group.routes_gained), ("closes", &group.routes_lost)] {
            if !routes.is_empty() {
                let number = counted(routes.len(), "route", "routes");
                let names = self.routes(routes, style);
                lines.push(item(style, &format!("{what} {number}: {names}")));
            }
        }
        let ids = || group.identities.iter().map(|it| &*it.id);
        if style == Style::Terminal || group.identities.len() <= EXAMPLES_MAX {
            lines.push(item(style, &format!("for {}", style.names(ids(), EXAMPLES_MAX))));
        } else {
            let first = style.names(ids().take(1), 1).replace('`', "");
            let others = count(group.identities.len().saturating_sub(1) as u64);
            lines.push(format!("\n<details><summary>{first} and {others} more</summary>\n"));
            lines.extend(ids().take(FOLDED_MAX).map(|id| format!("- {}", style.name(id))));
            let more = group.identities.len().saturating_sub(FOLDED_MAX);
            if more > 0 {
                lines.push(format!("- and {} more", count(more as u64)));
            }
            lines.push("\n</details>".to_owned());
        }
        lines.join("\n") + "\n"
    }

    fn headline(&self, group: &Group, style: Style) -> String {
        let Some(placed) = group.changes.first() else { return String::new() };
        let change = &placed.change;
        let (verb, rights) = match (&*change.gained, &*change.lost) {
            ([], []) => return style.sentence(&states(change).unwrap_or_default()),
            ([], lost) => ("lose", lost),
            (gained, _) => ("gain", gained),
        };
        format!("{verb} {}", told(rights, style, 3))
    }

    /// Nothing, where it is so everywhere.
    fn at(&self, placed: &Placed, style: Style) -> String {
        if placed.places.len() == self.places.len() {
            return String::new();
        }
        let places = style.names(placed.places.iter().map(|it| &**it), EXAMPLES_MAX);
        format!(" (asked by {places})")
    }

    fn routes(&self, routes: &[RouteName], style: Style) -> String {
        let name = |route: &RouteName| {
            if self.places.len() > 1 {
                return format!("{} ({}, {})", route.route, route.listener, route.place);
            }
            format!("{} ({})", route.route, route.listener)
        };
        let names: Vec<String> = routes.iter().map(name).collect();
        style.names(names.iter().map(String::as_str), ROUTES_MAX)
    }
}

fn change(change: &Change, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(states(change).map(|it| style.sentence(&it)));
    for (what, rights) in [
        ("gain", &change.gained),
        ("lose", &change.lost),
        ("would gain, but are not let in,", &change.dormant_gained),
        ("would lose, but are not let in,", &change.dormant_lost),
    ] {
        if !rights.is_empty() {
            lines.push(format!("{what} {}", told(rights, style, RIGHTS_MAX)));
        }
    }
    if !change.why.is_empty() {
        let why: Vec<&str> = change.why.iter().take(RIGHTS_MAX).map(String::as_str).collect();
        lines.push(style.sentence(&format!("because {}", why.join(", "))));
    }
    lines
}

fn states(change: &Change) -> Option<String> {
    if change.before == change.after {
        return None;
    }
    Some(format!("{}, now {}", state(&change.before), state(&change.after)))
}

fn state(state: &State) -> String {
    match state {
        State::Fine => "let in".to_owned(),
        State::NoTenant => "of no tenant".to_owned(),
        State::Denied(reasons) => format!("denied ({})", reasons.join("; ")),
        State::Revoked(entry) => format!("revoked (by {entry})"),
        State::Failed(message) => format!("without an answer ({message})"),
    }
}

fn told(rights: &[Right], style: Style, max: usize) -> String {
    let words: Vec<String> = rights
        .iter()
        .map(|right| match right {
            Right::Tenant(tenant) => format!("tenant {tenant}"),
            Right::CrossTenant => "reach into every tenant".to_owned(),
            Right::Scope(scope) => scope.to_string(),
        })
        .collect();
    style.names(words.iter().map(String::as_str), max)
}

fn item(style: Style, text: &str) -> String {
    match style {
        Style::Terminal => format!("  {text}"),
        Style::Markdown => format!("- {text}"),
    }
}

fn paragraph(style: Style, text: &str) -> String {
    match style {
        Style::Terminal => text.to_owned(),
        Style::Markdown => format!("\n{text}\n"),
    }
}
