//! Handshakes with certificates made to break one rule each, and the rules of the handshake.

mod testkit;
mod world;

mod ids;
mod profile;
mod chains;
mod handshakes;
mod rotation;
mod memory;
mod hostile;
mod named;
mod roots;
mod certificate;
mod callers;
mod streams;

use testkit::Issued;
use world::World;

/// A row of `standards.md`, what its certificate should come to, and the certificate.
struct Row {
    row: &'static str,
    /// `ok`, or the code of the refusal.
    want: &'static str,
    make: fn(&World) -> Issued,
}

/// Meets each stranger in both directions and compares, all rows before the first complaint.
async fn hold(rows: &[Row], expect: &[&str]) {
    let world = World::new();
    let ours = world.ours();
    let mut wrong = Vec::new();
    for Row { row, want, make } in rows {
        let stranger = make(&world);
        for (direction, outcome) in
            ["inbound", "outbound"].iter().zip(world::meet(&ours, &stranger, expect).await)
        {
            let got = outcome.ours.as_ref().map_or_else(|refusal| refusal.code(), |_| "ok");
            // Whoever is refused hears of it by an alert, and whoever is accepted hears nothing.
            let heard = outcome.theirs.is_some_and(|text| text.contains("alert"));
            if got != *want || heard == (got == "ok") {
                wrong.push(format!("{row} {direction}: want {want}, got {got}, alert {heard}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
