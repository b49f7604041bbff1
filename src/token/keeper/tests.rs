//! An issuer that is scripted, in time that is told.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::*;
use crate::dev::TokenIssuer;
use crate::token::kit::{Log, lock};

const DAY: Duration = Duration::from_secs(24 * 3600);
const FRESH: Duration = Duration::from_secs(100);

/// What the issuer does from now on, and what was asked of it.
#[derive(Clone, Default)]
struct Stage(Arc<Staged>);

#[derive(Default)]
struct Staged {
    says: Mutex<Says>,
    takes: Mutex<Duration>,
    lasting: Mutex<bool>,
    attempts: Mutex<Vec<Instant>>,
    changed: Notify,
}

#[derive(Clone)]
enum Says {
    Bytes(Vec<u8>),
    Nothing(Option<Duration>),
}

impl Default for Says {
    fn default() -> Self {
        Self::Nothing(None)
    }
}

impl Stage {
    fn says(&self, jwks: &str) {
        *lock(&self.0.says) = Says::Bytes(jwks.as_bytes().to_vec());
    }

    fn goes_away(&self) {
        *lock(&self.0.says) = Says::Nothing(None);
    }

    fn attempts(&self) -> usize {
        lock(&self.0.attempts).len()
    }

    /// Between one attempt and the next.
    fn pauses(&self) -> Vec<Duration> {
        lock(&self.0.attempts).windows(2).map(|it| it[1] - it[0]).collect()
    }
}

impl Fetch for Stage {
    async fn fetch(&mut self) -> Result<Fetched, Failure> {
        lock(&self.0.attempts).push(Instant::now());
        let takes = *lock(&self.0.takes);
        sleep(takes).await;
        let says = lock(&self.0.says).clone();
        let fresh_for = (!*lock(&self.0.lasting)).then_some(FRESH);
        match says {
            Says::Bytes(bytes) => Ok(Fetched { bytes, fresh_for }),
            Says::Nothing(retry_after) => {
                Err(Failure { retry_after, ..Failure::new("nobody is there") })
            }
        }
    }

    async fn changed(&mut self) {
        self.0.changed.notified().await;
    }
}

fn keep(stage: &Stage, max_age: Duration) -> Kept {
    let (keeper, kept) =
        Keeper::new("https://auth.example.com".to_owned(), max_age, stage.clone(), || 0.0);
    tokio::spawn(keeper.run());
    kept
}

/// Lets the time pass, and everybody do what they then do.
async fn pass(time: Duration) {
    sleep(time).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn issuer() -> TokenIssuer {
    TokenIssuer::new("https://auth.example.com").unwrap()
}

impl Kept {
    fn state(&self) -> KeysState {
        self.status.load().state
    }

    fn has_keys(&self) -> bool {
        self.keys.load().is_some()
    }

    fn count(&self) -> usize {
        (**self.keys.load()).as_ref().map_or(0, KeySet::len)
    }
}

#[tokio::test(start_paused = true)]
async fn keys_are_refreshed_ahead_of_time_and_the_same_ones_are_left_as_they_are() {
    let log = Log::listen();
    let stage = Stage::default();
    stage.says(&issuer().jwks());
    let kept = keep(&stage, DAY);
    pass(s(1)).await;
    assert_eq!((kept.state(), kept.has_keys()), (KeysState::Fresh, true));
    let first = kept.keys.snapshot();
    pass(s(400)).await;
    assert_eq!(stage.pauses(), [s(80); 5], "at 80 % of what is fresh for 100 s");
    assert!(Arc::ptr_eq(&first, &kept.keys.snapshot()));
    assert_eq!(kept.status.load().refreshes, 6);
    assert_eq!((log.count("INFO"), log.count("WARN")), (1, 0), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn rotation_is_followed() {
    let (stage, issuer) = (Stage::default(), issuer());
    stage.says(&issuer.jwks());
    let kept = keep(&stage, DAY);
    pass(s(1)).await;
    assert_eq!(kept.count(), 1);
    issuer.rotate().unwrap();
    stage.says(&issuer.jwks());
    pass(s(80)).await;
    assert_eq!(kept.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_outage_leaves_the_last_good_keys_until_they_are_too_old() {
    let log = Log::listen();
    let stage = Stage::default();
    stage.says(&issuer().jwks());
    let kept = keep(&stage, s(1000));
    pass(s(1)).await;
    stage.goes_away();
    pass(s(80)).await;
    assert_eq!((kept.state(), kept.has_keys()), (KeysState::Stale, true));
    assert_eq!(kept.status.load().last_error.as_deref(), Some("nobody is there"));
    pass(s(900)).await;
    assert_eq!((kept.state(), kept.has_keys()), (KeysState::Stale, true));
    pass(s(30)).await;
    assert_eq!((kept.state(), kept.has_keys()), (KeysState::Expired, false));
    pass(s(3600)).await;
    let counts = |log: &Log| (log.count("INFO"), log.count("WARN"), log.count("ERROR"));
    assert_eq!(counts(&log), (1, 1, 1), "{}", log.text());

    stage.says(&issuer().jwks());
    pass(s(61)).await;
    assert_eq!((kept.state(), kept.has_keys()), (KeysState::Fresh, true));
    assert_eq!(kept.status.load().last_error, None);
    assert_eq!(counts(&log), (2, 1, 1), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn the_same_keys_come_back_after_they_were_given_up() {
    let (stage, jwks) = (Stage::default(), issuer().jwks());
    stage.says(&jwks);
    let kept = keep(&stage, s(200));
    pass(s(1)).await;
    stage.goes_away();
    pass(s(300)).await;
    assert!(!kept.has_keys());
    stage.says(&jwks);
    pass(s(61)).await;
    assert!(kept.has_keys());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_key_set_never_replaces_one() {
    let stage = Stage::default();
    stage.says(&issuer().jwks());
    let kept = keep(&stage, DAY);
    pass(s(1)).await;
    let good = kept.keys.snapshot();
    for bad in ["", "{}", r#"{"keys":[]}"#, "<html>", r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#]
    {
        stage.says(bad);
        pass(s(81)).await;
        assert_eq!(kept.state(), KeysState::Stale, "{bad}");
        assert!(Arc::ptr_eq(&good, &kept.keys.snapshot()), "{bad}");
        let shown = format!("{:?}", kept.status.snapshot());
        assert!(!shown.contains("c2VjcmV0"), "{shown}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_keys_there_are_none_and_that_is_said_once() {
    let log = Log::listen();
    let stage = Stage::default();
    let kept = keep(&stage, DAY);
    pass(s(200)).await;
    assert_eq!((kept.state(), kept.has_keys()), (KeysState::Starting, false));
    assert_eq!(stage.pauses(), [1, 2, 4, 8, 16, 32, 60, 60].map(s));
    assert_eq!((log.count("WARN"), log.count("ERROR")), (1, 0), "{}", log.text());
    stage.says(&issuer().jwks());
    pass(s(60)).await;
    assert_eq!((kept.state(), kept.has_keys()), (KeysState::Fresh, true));
    assert_eq!(kept.status.load().failures, 9);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_names_a_time_is_left_alone_until_then() {
    let stage = Stage::default();
    *lock(&stage.0.says) = Says::Nothing(Some(s(120)));
    let kept = keep(&stage, DAY);
    pass(s(60)).await;
    kept.refetch.now().await;
    assert_eq!(stage.attempts(), 1);
    pass(s(61)).await;
    assert_eq!(stage.attempts(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_has_them_fetched_out_of_turn_and_finds_them() {
    let (stage, issuer) = (Stage::default(), issuer());
    stage.says(&issuer.jwks());
    *lock(&stage.0.takes) = Duration::from_millis(300);
    let kept = keep(&stage, DAY);
    kept.refetch.now().await;
    assert_eq!((stage.attempts(), kept.count()), (1, 1), "the first attempt is shared");
    pass(s(11)).await;
    issuer.rotate().unwrap();
    stage.says(&issuer.jwks());
    kept.refetch.now().await;
    assert_eq!((stage.attempts(), kept.count()), (2, 2));
    for _ in 0..100 {
        kept.refetch.now().await;
        pass(Duration::from_millis(90)).await;
    }
    assert_eq!(stage.attempts(), 2, "nine seconds of strangers' tokens");
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_hangs_neither_holds_us_nor_keeps_old_keys_in_force() {
    let stage = Stage::default();
    stage.says(&issuer().jwks());
    let kept = keep(&stage, s(90));
    pass(s(1)).await;
    *lock(&stage.0.takes) = DAY;
    pass(s(88)).await;
    assert!(kept.has_keys());
    assert_eq!(stage.attempts(), 2, "one is under way");
    pass(s(2)).await;
    assert_eq!((kept.state(), kept.has_keys()), (KeysState::Expired, false));
    *lock(&stage.0.takes) = Duration::ZERO;
    pass(s(30)).await;
    assert!(kept.has_keys(), "{:?}", kept.status);
}

#[tokio::test(start_paused = true)]
async fn keys_that_may_not_serve_for_long_are_refreshed_in_time() {
    let stage = Stage::default();
    stage.says(&issuer().jwks());
    let kept = keep(&stage, s(10));
    for _ in 0..100 {
        pass(s(1)).await;
        assert_eq!((kept.state(), kept.has_keys()), (KeysState::Fresh, true));
    }
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_file_are_good_until_the_file_is_not() {
    let (stage, issuer) = (Stage::default(), issuer());
    stage.says(&issuer.jwks());
    *lock(&stage.0.lasting) = true;
    let kept = keep(&stage, s(600));
    pass(DAY).await;
    assert_eq!((kept.state(), stage.attempts()), (KeysState::Fresh, 1));

    issuer.rotate().unwrap();
    stage.says(&issuer.jwks());
    stage.0.changed.notify_one();
    pass(s(1)).await;
    assert_eq!(kept.count(), 2);

    pass(DAY).await;
    stage.goes_away();
    stage.0.changed.notify_one();
    pass(s(590)).await;
    assert_eq!((kept.state(), kept.count()), (KeysState::Stale, 2));
    pass(s(20)).await;
    assert_eq!((kept.state(), kept.count()), (KeysState::Expired, 0));
}
