//! What the daemon tells systemd, through a socket of the test's own: that it is ready, that it is alive, that it ends.

use std::os::unix::net::UnixDatagram;

use crate::collector::Collector;
use crate::harness::{Folder, PATIENCE};

/// How often it is to be alive, in microseconds; it says so three times as often.
const WATCHDOG: &str = "300000";

fn next(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 1_000];
    let count = socket.recv(&mut bytes).expect("the daemon says something in time");
    String::from_utf8_lossy(&bytes[..count]).trim().to_string()
}

#[test]
fn it_is_ready_alive_and_stopping() {
    let folder = Folder::fast();
    let path = folder.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time");
    let mut command = Collector::command(&folder.join("data"), &["nothing.log"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", WATCHDOG);
    let daemon = Collector::of(&folder.join("data"), &mut command);
    assert_eq!(next(&socket), "READY=1");
    let begin = std::time::Instant::now();
    for _ in 0..5 {
        assert_eq!(next(&socket), "WATCHDOG=1");
    }
    // Five thirds of the time that systemd would wait for one.
    assert!(begin.elapsed() < std::time::Duration::from_millis(5 * 300), "{:?}", begin.elapsed());
    daemon.stop();
    socket.set_nonblocking(true).expect("a socket");
    let mut last = String::new();
    let mut bytes = [0; 1_000];
    while let Ok(count) = socket.recv(&mut bytes) {
        last = String::from_utf8_lossy(&bytes[..count]).trim().to_string();
    }
    assert_eq!(last, "STOPPING=1");
}
