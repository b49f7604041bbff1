//! Two lines of scopes and a scope: never a panic, and a meeting that never adds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidegate::authz::{Scope, ScopeSet};

fuzz_target!(|text: &str| {
    let mut lines = text.splitn(3, '\n');
    let (Some(a), Some(b), Some(asked)) = (lines.next(), lines.next(), lines.next()) else {
        return;
    };
    let (Ok(a), Ok(b)) = (ScopeSet::parse(a), ScopeSet::parse(b)) else { return };
    assert_eq!(ScopeSet::parse(a.text()).expect("a set is read as it was written"), a);
    let Ok(asked) = Scope::parse(asked) else { return };
    assert_eq!(Scope::parse(&asked.to_string()).as_ref(), Ok(&asked));
    let Ok(met) = a.meet(&b) else { return };
    assert_eq!(met.allows(&asked), a.allows(&asked) && b.allows(&asked));
});
