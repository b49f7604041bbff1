//! A source that is scripted, in time that is told.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::Notify;
use tokio::time::sleep;

use super::*;
use crate::token::kit::{Log, lock};

const TOKEN: &str = "hunter2.hunter2.hunter2";

/// The wall clock, by the timers' clock.
fn now() -> SystemTime {
    static BASE: OnceLock<(SystemTime, std::time::Instant)> = OnceLock::new();
    let (wall, then) = *BASE.get_or_init(|| (SystemTime::now(), std::time::Instant::now()));
    let since = Instant::now().into_std().saturating_duration_since(then);
    wall + since
}

const WORLD: World = World { now, random: || 0.0 };

#[derive(Clone)]
struct Stage(Arc<Staged>);

struct Staged {
    plan: Plan,
    /// How long its tokens live; `None`: it fails.
    life: Mutex<Option<Duration>>,
    /// Its tokens never say when they end.
    opaque: bool,
    takes: Mutex<Duration>,
    attempts: Mutex<Vec<Instant>>,
    flying: AtomicUsize,
    changed: Notify,
}

impl Stage {
    fn new(plan: Plan, life: Option<Duration>) -> Self {
        Self(Arc::new(Staged {
            plan,
            life: Mutex::new(life),
            opaque: false,
            takes: Mutex::default(),
            attempts: Mutex::default(),
            flying: AtomicUsize::new(0),
            changed: Notify::new(),
        }))
    }

    fn gives(&self, life: Option<Duration>) {
        *lock(&self.0.life) = life;
    }

    fn attempts(&self) -> usize {
        lock(&self.0.attempts).len()
    }

    fn pauses(&self) -> Vec<u64> {
        let between = |it: &[Instant]| (it[1] - it[0]).as_secs();
        lock(&self.0.attempts).windows(2).map(between).collect()
    }

    fn follow(&self) -> Tokens {
        let (renewal, tokens) = Renewal::new("the stage".to_owned(), self.clone(), WORLD);
        tokio::spawn(renewal.run());
        tokens
    }
}

impl Obtain for Stage {
    async fn obtain(&mut self) -> Result<Obtained, Failure> {
        let count = {
            let mut attempts = lock(&self.0.attempts);
            attempts.push(Instant::now());
            attempts.len()
        };
        assert_eq!(self.0.flying.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
        let takes = *lock(&self.0.takes);
        sleep(takes).await;
        self.0.flying.fetch_sub(1, Ordering::SeqCst);
        let life = *lock(&self.0.life);
        let Some(life) = life else {
            return Err(Failure::new("nobody is there"));
        };
        let token =
            Secret::new(if self.0.opaque { TOKEN.into() } else { format!("{TOKEN}{count}") });
        Ok(Obtained { token, expires: (!self.0.opaque).then(|| now() + life) })
    }

    async fn changed(&mut self) {
        self.0.changed.notified().await;
    }

    fn plan(&self) -> Plan {
        self.0.plan
    }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets the time pass, and everybody do what they then do.
async fn pass(time: Duration) {
    sleep(time).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn state(tokens: &Tokens) -> TokensState {
    tokens.status.load().state
}

fn header(tokens: &Tokens) -> Option<String> {
    let current = tokens.current.load();
    let header = (**current).as_ref()?.at(now())?;
    Some(header.to_str().unwrap().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_at_two_thirds_of_its_life_and_there_always_is_one() {
    let log = Log::listen();
    let stage = Stage::new(Plan::AheadOfEnd, Some(s(300)));
    let tokens = stage.follow();
    assert_eq!((state(&tokens), header(&tokens)), (TokensState::Starting, None));
    pass(s(1)).await;
    for _ in 0..1000 {
        pass(s(1)).await;
        assert!(header(&tokens).is_some());
    }
    assert_eq!(stage.pauses(), [200; 5]);
    assert_eq!(header(&tokens), Some(format!("Bearer {TOKEN}6")));
    let status = tokens.status.snapshot();
    assert_eq!((status.renewals, status.failures, status.state), (6, 0, TokensState::Valid));
    assert_eq!((log.count("INFO"), log.count("WARN")), (1, 0), "{}", log.text());
    assert!(!log.text().contains("hunter2"), "{}", log.text());
    assert!(!format!("{tokens:?}").contains("hunter2"), "{tokens:?}");
}

#[tokio::test(start_paused = true)]
async fn the_token_in_hand_serves_until_shortly_before_its_end() {
    let log = Log::listen();
    let stage = Stage::new(Plan::AheadOfEnd, Some(s(300)));
    let tokens = stage.follow();
    pass(s(1)).await;
    stage.gives(None);
    pass(s(200)).await;
    assert_eq!((state(&tokens), header(&tokens).is_some()), (TokensState::Stale, true));
    pass(s(93)).await;
    assert_eq!((state(&tokens), header(&tokens).is_some()), (TokensState::Stale, true));
    pass(s(2)).await;
    assert_eq!((state(&tokens), header(&tokens)), (TokensState::Absent, None));
    let status = tokens.status.snapshot();
    assert_eq!(status.last_error.as_deref(), Some("nobody is there"));
    assert_eq!(status.expires, None);
    pass(s(600)).await;
    let counts = |log: &Log| (log.count("INFO"), log.count("WARN"), log.count("ERROR"));
    assert_eq!(counts(&log), (1, 1, 1), "{}", log.text());

    stage.gives(Some(s(300)));
    pass(s(61)).await;
    assert_eq!((state(&tokens), header(&tokens).is_some()), (TokensState::Valid, true));
    assert_eq!(counts(&log), (2, 1, 1), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_ever_later_but_never_past_half_of_what_is_left() {
    let stage = Stage::new(Plan::AheadOfEnd, None);
    let tokens = stage.follow();
    pass(s(200)).await;
    assert_eq!(stage.pauses(), [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(state(&tokens), TokensState::Absent);

    let stage = Stage::new(Plan::AheadOfEnd, Some(s(300)));
    let _tokens = stage.follow();
    pass(s(1)).await;
    stage.gives(None);
    pass(s(293)).await;
    // 95 s are left of what we would give out after the first failure, and so on.
    assert_eq!(stage.pauses(), [200, 1, 2, 4, 8, 16, 32, 16, 8, 4, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn there_is_one_attempt_at_a_time_and_none_takes_for_ever() {
    let stage = Stage::new(Plan::AheadOfEnd, Some(s(60)));
    *lock(&stage.0.takes) = s(20);
    let tokens = stage.follow();
    for _ in 0..290 {
        stage.0.changed.notify_one();
        pass(s(1)).await;
    }
    assert_eq!(stage.pauses(), [60; 4], "40 s of rest and 20 s of work");
    *lock(&stage.0.takes) = s(3600);
    pass(s(60)).await;
    assert!(header(&tokens).is_none(), "it ran out while another was waited for");
    assert_eq!(state(&tokens), TokensState::Absent);
    pass(s(60)).await;
    let error = tokens.status.load().last_error.clone();
    assert_eq!(error.as_deref(), Some("the attempt took too long"));
}

#[tokio::test(start_paused = true)]
async fn a_changed_input_is_tried_at_once_only_if_the_last_attempt_failed() {
    let stage = Stage::new(Plan::AheadOfEnd, Some(s(3600)));
    let tokens = stage.follow();
    pass(s(1)).await;
    stage.0.changed.notify_one();
    pass(s(10)).await;
    assert_eq!(stage.attempts(), 1);

    let stage = Stage::new(Plan::AheadOfEnd, None);
    let failing = stage.follow();
    pass(s(100)).await;
    let attempts = stage.attempts();
    stage.gives(Some(s(3600)));
    stage.0.changed.notify_one();
    pass(Duration::from_millis(10)).await;
    assert_eq!((stage.attempts(), state(&failing)), (attempts + 1, TokensState::Valid));
    assert_eq!(state(&tokens), TokensState::Valid);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_changes_is_no_storm_of_requests() {
    let stage = Stage::new(Plan::AheadOfEnd, None);
    let _tokens = stage.follow();
    for _ in 0..1000 {
        stage.0.changed.notify_one();
        pass(Duration::from_millis(10)).await;
    }
    assert!((5..=11).contains(&stage.attempts()), "{} in ten seconds", stage.attempts());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_others_renew_is_looked_at_when_it_changes() {
    let stage = Stage::new(Plan::OnChange, Some(s(3600)));
    let tokens = stage.follow();
    pass(s(3000)).await;
    assert_eq!(stage.attempts(), 1);
    stage.0.changed.notify_one();
    pass(s(1)).await;
    assert_eq!(header(&tokens), Some(format!("Bearer {TOKEN}2")));
    pass(s(3600)).await;
    assert_eq!((state(&tokens), header(&tokens)), (TokensState::Absent, None));
    stage.0.changed.notify_one();
    pass(s(1)).await;
    assert_eq!(state(&tokens), TokensState::Valid);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_run_out_or_is_about_to_is_not_presented() {
    let stage = Stage::new(Plan::OnChange, Some(s(5)));
    let tokens = stage.follow();
    pass(s(1)).await;
    assert_eq!((state(&tokens), header(&tokens)), (TokensState::Absent, None));
    let error = tokens.status.load().last_error.clone().unwrap();
    assert!(error.contains("run out"), "{error}");
    stage.gives(Some(s(3600)));
    stage.0.changed.notify_one();
    pass(s(1)).await;
    assert_eq!(state(&tokens), TokensState::Valid);
    // Whoever writes an old token over a good one does not take the good one away.
    stage.gives(Some(s(0)));
    stage.0.changed.notify_one();
    pass(s(1)).await;
    assert_eq!((state(&tokens), header(&tokens).is_some()), (TokensState::Stale, true));
}

#[tokio::test(start_paused = true)]
async fn the_same_token_read_again_is_no_renewal() {
    let mut stage = Stage::new(Plan::OnChange, Some(s(3600)));
    Arc::get_mut(&mut stage.0).unwrap().opaque = true;
    let tokens = stage.follow();
    pass(s(1)).await;
    let first = tokens.current.snapshot();
    stage.0.changed.notify_one();
    pass(s(86400)).await;
    assert_eq!(stage.attempts(), 2);
    assert!(Arc::ptr_eq(&first, &tokens.current.snapshot()));
    let status = tokens.status.snapshot();
    assert_eq!((status.renewals, status.state), (1, TokensState::Valid));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_what_it_is_is_looked_at_once() {
    let stage = Stage::new(Plan::Never, Some(s(600)));
    let tokens = stage.follow();
    pass(s(590)).await;
    assert_eq!((state(&tokens), header(&tokens).is_some()), (TokensState::Valid, true));
    pass(s(10)).await;
    assert_eq!((state(&tokens), header(&tokens)), (TokensState::Absent, None));
    stage.0.changed.notify_one();
    pass(s(3600)).await;
    assert_eq!(stage.attempts(), 1);
}
