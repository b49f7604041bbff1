//! A sidecar's side doors: probes and metrics.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::client::{Http, Reply};

/// Asks once, on a connection of its own.
pub async fn ask(address: SocketAddr, path: &str) -> Reply {
    let stream = TcpStream::connect(address).await.unwrap();
    Http::http1(stream).await.unwrap().get(path).await
}

/// The codes of all that stands in the way; nothing means yes.
pub async fn reasons(address: SocketAddr, probe: &str) -> Vec<String> {
    let reply = ask(address, probe).await;
    let body = reply.json();
    let reasons: Vec<String> = body["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reason| reason["code"].as_str().unwrap().to_owned())
        .collect();
    let word = if probe == "/startup" { "started" } else { probe.trim_start_matches('/') };
    assert_eq!(body[word].as_bool(), Some(reasons.is_empty()), "{body}");
    assert_eq!(reply.status(), if reasons.is_empty() { 200 } else { 503 });
    reasons
}

/// The codes of what is not as it should be although traffic may come.
pub async fn notes(address: SocketAddr) -> Vec<String> {
    let body = ask(address, "/ready").await.json();
    let notes = body["notes"].as_array().into_iter().flatten();
    notes.map(|note| note["code"].as_str().unwrap().to_owned()).collect()
}

/// One scrape.
#[derive(Debug)]
pub struct Metrics(pub String);

impl Metrics {
    pub async fn scrape(address: SocketAddr) -> Self {
        let reply = ask(address, "/metrics").await;
        assert_eq!(reply.status(), 200);
        Self(reply.text().to_owned())
    }

    /// The sum over all samples with this name and at least these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.samples().filter(|(found, said, _)| {
            let has = |(key, value): &(&str, &str)| said.contains(&format!("{key}=\"{value}\""));
            *found == name && labels.iter().all(has)
        });
        samples.map(|(.., value)| value).sum()
    }

    pub fn has(&self, name: &str) -> bool {
        self.samples().any(|(found, ..)| found == name)
    }

    /// Name, labels, value.
    pub fn samples(&self) -> impl Iterator<Item = (&str, &str, f64)> {
        self.0.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            (name, labels, value.parse().unwrap())
        })
    }
}
