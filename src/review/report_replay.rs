//! A replay of recorded decisions, written for people.

use super::replay::{Move, Moved, Replayed, Verdict};
use super::report::{Page, Style, count};

const GROUPS_MAX: usize = 200;

impl Replayed {
    /// As text.
    pub fn told(&self, style: Style) -> String {
        let mut page = Page::new(style);
        let policy = style.name(&self.policy);
        let than = match &self.baseline {
            Some(old) => format!("policy {}", style.name(old)),
            None => "the log".to_owned(),
        };
        let headline = format!(
            "{} of {} decisions would go otherwise than by {than}",
            count(self.changed()),
            count(self.replayed)
        );
        match style {
            Style::Terminal => page.line(&format!("policy {policy}: {headline}")),
            Style::Markdown => page.line(&format!("### Policy {policy}\n\n**{headline}**\n")),
        }
        for (number, what) in [
            (self.gained, "denied, and would be allowed"),
            (self.lost, "allowed, and would be denied"),
            (self.other_reason, "denied, and would be so for another reason"),
            (self.other_rights, "decided alike, with another tenant or other scopes"),
            (
                self.not_as_baseline,
                "not decided as the baseline does: the log is not of that policy",
            ),
        ] {
            if number > 0 {
                page.line(&item(style, &format!("{} {what}", count(number))));
            }
        }
        for group in self.groups.iter().take(GROUPS_MAX) {
            page.block(&told(group, style));
        }
        page.leave_out(self.groups.len().saturating_sub(GROUPS_MAX));
        self.rest(&mut page, style);
        page.done()
    }

    /// What was not replayed, and what is to be known.
    fn rest(&self, page: &mut Page, style: Style) {
        let mut lines = Vec::new();
        for (cause, number) in &self.not_replayed {
            lines.push(format!("not replayed: {}: {cause}", count(*number)));
        }
        for (what, number) in &self.passed_over {
            lines.push(format!("passed over: {}: {what}", count(*number)));
        }
        if self.malformed > 0 {
            let first: Vec<String> = self.first_malformed.iter().map(u64::to_string).collect();
            lines.push(format!(
                "malformed: {} of {} lines (the first: {})",
                count(self.malformed),
                count(self.lines),
                first.join(", ")
            ));
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        if !lines.is_empty() {
            page.line("");
        }
        for line in lines {
            let line = style.sentence(&line);
            page.line(&match style {
                Style::Terminal => line,
                Style::Markdown => format!("- {line}"),
            });
        }
    }
}

fn told(group: &Moved, style: Style) -> String {
    let mut who = style.name(&group.caller);
    if let Some(route) = &group.route {
        who.push_str(&format!(" on {}", style.name(route)));
    }
    if let Some(listener) = &group.listener {
        who.push_str(&format!(" ({})", style.name(listener)));
    }
    if let Some(service) = &group.service {
        who.push_str(&format!(" of {}", style.name(service)));
    }
    let what = match group.change {
        Move::Gained => "GAINED",
        Move::Lost => "LOST",
        Move::OtherReason => "OTHER REASON",
        Move::OtherRights => "OTHER RIGHTS",
    };
    let change = format!("{} -> {}", verdict(&group.before, style), verdict(&group.after, style));
    let times = if group.count == 1 { "time" } else { "times" };
    let when = format!(
        "{} {times}, {} to {}, request {}",
        count(group.count),
        group.first,
        group.last,
        style.name(&group.request_id)
    );
    match style {
        Style::Terminal => format!("\n{what}  {who}\n  {change}\n  {when}\n"),
        Style::Markdown => format!("\n- **{what}** {who}: {change}; {when}\n"),
    }
}

fn verdict(verdict: &Verdict, style: Style) -> String {
    let Some(scopes) = &verdict.scopes else { return style.name(verdict.reason) };
    let tenant = verdict.tenant.as_deref().unwrap_or("none");
    let scopes = if scopes.is_empty() { "none" } else { scopes };
    format!("tenant {}, scopes {}", style.name(tenant), style.name(scopes))
}

fn item(style: Style, text: &str) -> String {
    match style {
        Style::Terminal => format!("  {text}"),
        Style::Markdown => format!("- {text}"),
    }
}
