//! Real files and pipes: what is on the disk is what counts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::record::tests::record;
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn with_id<'a>(id: &'a str) -> Record<'a> {
    Record { request_id: id, ..record() }
}

#[test]
fn a_single_line_reaches_the_file_without_being_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let sink = Sink::open(Destination::File(path.clone())).unwrap();
    let handle = sink.handle();
    let start = Instant::now();
    handle.write(&record()).unwrap();
    eventually("the line is in the file", || lines(&path).len() == 1);
    assert!(start.elapsed() < Duration::from_secs(1), "took {:?}", start.elapsed());
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "{mode:o}");
}

#[test]
fn every_line_of_every_worker_is_in_the_file_after_closing() {
    const WORKERS: usize = 4;
    const LINES: usize = 3000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    let sink = Sink::open(Destination::File(path.clone())).unwrap();
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let handle = sink.handle();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                for line in 0..LINES {
                    let id = format!("w{worker}-{line}");
                    runtime.block_on(handle.write_when_ready(&with_id(&id))).unwrap();
                }
            });
        }
    });
    sink.close(PATIENCE).unwrap();

    let written = lines(&path);
    assert_eq!(written.len(), WORKERS * LINES);
    for worker in 0..WORKERS {
        let mine = format!(r#""request_id":"w{worker}-"#);
        let mine: Vec<_> = written.iter().filter(|line| line.contains(&mine)).collect();
        for (place, line) in mine.iter().enumerate() {
            let id = format!(r#""request_id":"w{worker}-{place}""#);
            assert!(line.contains(&id), "worker {worker} keeps its order");
        }
    }
    assert_eq!(sink.counters().lines(), (WORKERS * LINES) as u64);
    assert_eq!(sink.counters().errors(), 0);
}

#[test]
fn a_closed_log_takes_no_line_and_closing_again_is_harmless() {
    let (sender, received) = mpsc::channel();
    let sink = Sink::open(Destination::Channel(sender)).unwrap();
    let handle = sink.handle();
    handle.write(&record()).unwrap();
    sink.close(PATIENCE).unwrap();
    assert!(matches!(handle.write(&record()), Err(WriteError::Closed)));
    assert!(matches!(sink.handle().write(&record()), Err(WriteError::Closed)));
    sink.close(PATIENCE).unwrap();
    assert_eq!(received.iter().count(), 1);
}

#[test]
fn lines_of_a_worker_and_a_sink_that_are_gone_are_still_written() {
    let (sender, received) = mpsc::channel();
    let sink = Sink::open(Destination::Channel(sender)).unwrap();
    let handle = sink.handle();
    handle.write(&with_id("last-words")).unwrap();
    drop((handle, sink));
    assert!(received.recv_timeout(PATIENCE).unwrap().contains("last-words"));
}

#[test]
fn a_renamed_file_is_left_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (folder.path().join("audit.log"), folder.path().join("audit.log.1"));
    let sink = Sink::open(Destination::File(path.clone())).unwrap();
    let handle = sink.handle();
    handle.write(&with_id("before-rotation")).unwrap();
    eventually("the first line is written", || lines(&path).len() == 1);

    fs::rename(&path, &old).unwrap();
    handle.write(&with_id("after-rotation")).unwrap();
    eventually("the new file has the second line", || lines(&path).len() == 1);
    assert!(lines(&path)[0].contains("after-rotation"));
    assert!(lines(&old)[0].contains("before-rotation"));
    assert_eq!(lines(&old).len(), 1);

    fs::rename(&path, folder.path().join("audit.log.2")).unwrap();
    sink.reopen();
    eventually("a new file is made on request, before there is a line", || path.exists());
}

#[test]
fn a_destination_that_does_not_keep_up_refuses_lines_and_loses_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    // Both ends, so that opening does not wait for a reader; and nobody reads yet.
    let mut reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let sink = Sink::with_limit(Destination::File(path), 256 * 1024).unwrap();
    let handle = sink.handle();

    let mut taken = 0;
    loop {
        match handle.write(&with_id(&format!("line-{taken}"))) {
            Ok(()) => taken += 1,
            Err(error) => {
                assert!(matches!(error, WriteError::Full));
                break;
            }
        }
        assert!(taken < 100_000, "the bound holds");
    }
    let late = sink.close(Duration::from_millis(50)).unwrap_err();
    assert!(late.lines > 0);

    let mut text = String::new();
    while text.lines().filter(|line| line.ends_with('}')).count() < taken {
        let mut chunk = vec![0; 64 * 1024];
        let read = io::Read::read(&mut reader, &mut chunk).unwrap();
        text.push_str(str::from_utf8(&chunk[..read]).unwrap());
    }
    for (place, line) in text.lines().enumerate() {
        assert!(line.contains(&format!(r#""request_id":"line-{place}""#)), "{line}");
    }
}

#[test]
fn a_refused_line_is_taken_once_there_is_space_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let sink = Sink::with_limit(Destination::File(path), 256 * 1024).unwrap();
    let handle = sink.handle();
    while handle.write(&record()).is_ok() {}

    let drained = thread::spawn(move || {
        let mut text = Vec::new();
        while !text.windows(8).any(|window| window == b"the-late") {
            let mut chunk = vec![0; 64 * 1024];
            let read = io::Read::read(&mut reader, &mut chunk).unwrap();
            text.extend_from_slice(&chunk[..read]);
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let late = with_id("the-late");
        let taken = tokio::time::timeout(PATIENCE, handle.write_when_ready(&late));
        taken.await.unwrap().unwrap();
    });
    drained.join().unwrap();
}

#[test]
fn a_full_disk_is_counted_and_its_lines_wait_for_space() {
    // `/dev/full` refuses every write as a full disk does; the path is then pointed elsewhere.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let sink = Sink::open(Destination::File(path.clone())).unwrap();
    let handle = sink.handle();
    handle.write(&with_id("patient-line")).unwrap();
    let counters = sink.counters();
    eventually("the failure is counted", || counters.errors() > 0);
    assert_eq!(counters.lines(), 0);

    fs::remove_file(&path).unwrap();
    eventually("the line is in the new file", || lines(&path).len() == 1);
    assert!(lines(&path)[0].contains("patient-line"));
    eventually("the line is counted", || counters.lines() == 1);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let error = Sink::open(Destination::File("/nowhere/audit.log".into())).unwrap_err();
    assert_eq!(error.to_string(), "cannot open the audit log `/nowhere/audit.log`");
}

#[test]
fn a_line_cut_by_rotation_begins_anew() {
    let bytes = b"one\ntwo\nthree\n";
    for (at, start) in [(0, 0), (3, 0), (4, 4), (6, 4), (8, 8), (14, 14)] {
        assert_eq!(line_start(bytes, at), start, "{at}");
    }
}
