//! The real environment against the real kernel: its clock, its randomness, its threads and its futexes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use duramen_journal::disk::Environment;
use duramen_journal::disk::real::RealEnvironment;

#[test]
fn clock_goes_forward_and_entropy_differs() {
    let environment = RealEnvironment;
    let mut before = environment.now();
    for _ in 0..1000 {
        let now = environment.now();
        assert!(now >= before);
        before = now;
    }
    // Longer than the 256 bytes that the kernel gives without interruption.
    let (mut first, mut second) = ([0; 1000], [0; 1000]);
    environment.entropy(&mut first).unwrap();
    environment.entropy(&mut second).unwrap();
    assert_ne!(first, second);
    assert_ne!(first[980..], [0; 20], "filled to the end");
    environment.entropy(&mut []).unwrap();
}

#[test]
fn waits_end_by_value_by_time_and_by_waking() {
    let environment = RealEnvironment;
    let word = AtomicU32::new(1);
    // The word differs already: this must return, or the test hangs.
    environment.wait(&word, 0, None);
    let timeout = Duration::from_millis(20);
    let start = environment.now();
    environment.wait(&word, 1, Some(timeout));
    assert!(environment.now() - start >= timeout, "nobody wakes it early");
    environment.wait(&word, 1, Some(Duration::ZERO));
    // A wait for ever and a day must be a wait that the kernel accepts, not an error that makes it spin.
    let word = Arc::new(AtomicU32::new(0));
    let waits = Arc::new(AtomicU32::new(0));
    let ended = Arc::new(AtomicU32::new(0));
    let workers: Vec<_> = [None, Some(Duration::MAX)]
        .into_iter()
        .map(|timeout| {
            let (word, waits, ended) = (Arc::clone(&word), Arc::clone(&waits), Arc::clone(&ended));
            let work = move || {
                while word.load(Ordering::Acquire) == 0 {
                    RealEnvironment.wait(&word, 0, timeout);
                    waits.fetch_add(1, Ordering::Relaxed);
                }
                ended.fetch_add(1, Ordering::Relaxed);
            };
            environment.spawn("waits", Box::new(work)).unwrap().expect("the real environment has threads")
        })
        .collect();
    // Long enough that a wait which spins would count high.
    environment.wait(&AtomicU32::new(0), 0, Some(timeout));
    word.store(1, Ordering::Release);
    environment.wake(&word, u32::MAX);
    for worker in workers {
        worker.join();
    }
    assert_eq!(ended.load(Ordering::Relaxed), 2, "none of them panicked");
    assert!(waits.load(Ordering::Relaxed) <= 20, "the waits slept");
}

#[test]
fn joining_never_panics() {
    let environment = RealEnvironment;
    let worker = environment.spawn("fails", Box::new(|| panic!("on purpose"))).unwrap();
    worker.expect("the real environment has threads").join();
    // A zero byte and a name longer than the kernel's 15 bytes.
    let worker = environment.spawn("odd\0name that is long", Box::new(|| {})).unwrap();
    worker.expect("the real environment has threads").join();
    // A thread that is given its own handle cannot wait for itself.
    let (sender, receiver) = std::sync::mpsc::channel::<Box<dyn duramen_journal::disk::Worker>>();
    let (done, finished) = std::sync::mpsc::channel();
    let work = move || {
        receiver.recv().unwrap().join();
        done.send(()).unwrap();
    };
    let worker = environment.spawn("itself", Box::new(work)).unwrap();
    sender.send(worker.expect("the real environment has threads")).unwrap();
    finished.recv().expect("join came back instead of panicking");
}
