//! Hears from the system that something happened in a folder.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::look::Sight;

/// Where the watch tells of what it heard.
#[derive(Debug, Clone)]
pub(super) struct Bell {
    /// One place: more than "something happened" need not be remembered.
    rung: mpsc::Sender<()>,
    /// What happened was about the files themselves, whatever they look like.
    certain: Arc<AtomicBool>,
}

/// As long as it is kept, the bell rings.
#[derive(Debug)]
pub(super) struct Watch {
    _watcher: RecommendedWatcher,
}

impl Bell {
    pub(super) fn new() -> (Self, mpsc::Receiver<()>) {
        let (rung, heard) = mpsc::channel(1);
        (Self { rung, certain: Arc::default() }, heard)
    }

    /// Whether the files themselves were touched since the last call.
    pub(super) fn take_certain(&self) -> bool {
        self.certain.swap(false, Ordering::AcqRel)
    }

    pub(super) fn ring(&self, certain: bool) {
        if certain {
            self.certain.store(true, Ordering::Release);
        }
        // Full is fine: one is waiting already.
        let _ = self.rung.try_send(());
    }
}

impl Watch {
    /// Of every place of `sight` that can be watched, and why one of them cannot.
    pub(super) fn new(sight: &Sight, bell: &Bell) -> (Option<Self>, Option<notify::Error>) {
        let bell = bell.clone();
        let names = sight.names.clone();
        let tell = move |event: notify::Result<Event>| {
            if let Some(certain) = judge(event, &names) {
                bell.ring(certain);
            }
        };
        let mut watcher = match notify::recommended_watcher(tell) {
            Ok(watcher) => watcher,
            Err(error) => return (None, Some(error)),
        };
        let mut trouble = None;
        for place in &sight.places {
            let mode =
                if place.deep { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            if let Err(error) = watcher.watch(&place.path, mode) {
                trouble = Some(error);
            }
        }
        (Some(Self { _watcher: watcher }), trouble)
    }
}

/// `None` for what is no change; else whether it is one of ours for certain. Without `names`
/// everything is. What happens beside our files is worth a look: it may be the link that they are
/// reached by.
fn judge(event: notify::Result<Event>, names: &BTreeSet<PathBuf>) -> Option<bool> {
    let Ok(event) = event else {
        return Some(true);
    };
    let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
    if matches!(event.kind, EventKind::Access(_)) && event.kind != written {
        // Reading counts as access, and we read ourselves.
        return None;
    }
    let ours = names.is_empty() || event.paths.iter().any(|path| names.contains(path));
    Some(ours || event.need_rescan())
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, Flag, ModifyKind};

    use super::*;

    fn judged(kind: EventKind, path: &str) -> Option<bool> {
        let event = Event::new(kind).add_path(PathBuf::from(path));
        judge(Ok(event), &BTreeSet::from([PathBuf::from("/a/token")]))
    }

    #[test]
    fn our_own_reading_is_no_change() {
        let kinds = [AccessKind::Open(AccessMode::Any), AccessKind::Close(AccessMode::Read)];
        for kind in kinds {
            assert_eq!(judged(EventKind::Access(kind), "/a/token"), None);
        }
    }

    #[test]
    fn writing_to_the_file_is_a_change_and_anything_beside_it_is_worth_a_look() {
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let kinds = [written, EventKind::Modify(ModifyKind::Any), EventKind::Any];
        for kind in kinds {
            assert_eq!(judged(kind, "/a/token"), Some(true));
            assert_eq!(judged(kind, "/a/..data"), Some(false));
        }
    }

    #[test]
    fn whatever_may_have_been_missed_counts_as_a_change() {
        let names = BTreeSet::from([PathBuf::from("/a/token")]);
        let missed = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(judge(Ok(missed), &names), Some(true));
        assert_eq!(judge(Err(notify::Error::generic("lost")), &names), Some(true));
    }

    #[test]
    fn in_a_tree_everything_counts() {
        let event = Event::new(EventKind::Create(CreateKind::File)).add_path("/a/b".into());
        assert_eq!(judge(Ok(event), &BTreeSet::new()), Some(true));
    }
}
