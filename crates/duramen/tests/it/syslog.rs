//! Syslog as senders send it: the system's `logger`, a real rsyslog, and broken ones; over UDP, TCP and unix sockets.

use std::fs;
use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Command, Stdio};

use crate::collector::{Collector, installed, rows, texts, wait_for};
use crate::harness::{Folder, assert_code, command, run_command, wait};

const SYSLOG: &str = r#"{input="syslog"}"#;

#[test]
fn the_systems_logger_reaches_every_socket() {
    let Some(logger) = installed("logger") else { return };
    let folder = Folder::fast();
    let (datagram, stream) = (folder.join("log"), folder.join("stream"));
    let of_stream = format!("stream:{}", stream.display());
    let unix = datagram.display().to_string();
    let words = [
        "--syslog-udp",
        "127.0.0.1:0",
        "--syslog-tcp",
        "127.0.0.1:0",
        "--syslog-unix",
        &unix,
        "--syslog-unix",
        &of_stream,
    ];
    let collector = Collector::start(&folder.join("data"), &words);
    let (udp, tcp) = (collector.port("udp"), collector.port("tcp"));
    let socket = stream.display().to_string();
    let ways: [&[&str]; 8] = [
        &["-n", "127.0.0.1", "-d", "-P", &udp, "--rfc3164"],
        &[
            "-n",
            "127.0.0.1",
            "-d",
            "-P",
            &udp,
            "--rfc5424",
            "--msgid",
            "ID7",
            "--sd-id",
            "a@1",
            "--sd-param",
            "k=\"v\"",
        ],
        &["-n", "127.0.0.1", "-T", "-P", &tcp, "--rfc3164"],
        &["-n", "127.0.0.1", "-T", "-P", &tcp, "--rfc5424"],
        &["-n", "127.0.0.1", "-T", "-P", &tcp, "--octet-count"],
        &["-d", "-u", &unix],
        &["-u", &socket],
        &["-u", &socket, "--octet-count"],
    ];
    for (number, way) in ways.iter().enumerate() {
        let mut command = Command::new(&logger);
        command.args(*way).args(["-t", "tester", "-i", "-p", "local3.err", &format!("way {number}: ü \\ \"x\"")]);
        let output = command.output().expect("logger runs");
        assert!(output.status.success(), "{way:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let found = collector.wait_rows(SYSLOG, ways.len());
    assert_eq!(found.len(), ways.len());
    for number in 0..ways.len() {
        let text = format!("way {number}: ü \\ \"x\"");
        let row = found.iter().find(|row| row["line"] == text.as_str()).unwrap_or_else(|| panic!("{text}: {found:?}"));
        assert_eq!((&row["level"], &row["labels"]["app"]), (&"err".into(), &"tester".into()), "{row}");
        assert_eq!(row["fields"]["facility"], "local3", "{row}");
        assert!(row["fields"]["pid"].as_str().is_some_and(|pid| pid.parse::<u32>().is_ok()), "{row}");
        if number < 5 {
            assert!(row["labels"]["host"].is_string(), "{row}");
        }
        if number == 1 {
            assert_eq!((&row["fields"]["msgid"], &row["fields"]["a@1.k"]), (&"ID7".into(), &"v".into()), "{row}");
        }
    }
    for input in ["syslog udp", "syslog tcp", "syslog unix"] {
        assert_eq!((collector.figure(input, "odd"), collector.figure(input, "lost")), (0, 0), "{input}");
    }
    collector.stop();
    assert!(!datagram.exists() && !stream.exists(), "a clean end takes the sockets' names away");
    assert_eq!(texts(&folder.join("data"), SYSLOG).len(), ways.len());
}

#[test]
fn broken_messages_are_kept_as_text_and_counted() {
    let folder = Folder::fast();
    let collector = Collector::start(&folder.join("data"), &["--syslog-udp", "127.0.0.1:0"]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let to = format!("127.0.0.1:{}", collector.port("udp"));
    let sent: [&[u8]; 5] =
        [b"no priority", b"<14>1 never h a p m - x", b"<999>y", b"\xff\xfe\0z", b"<14>1 - - - - - [broken"];
    for bytes in sent {
        socket.send_to(bytes, &to).expect("a datagram fits");
    }
    socket.send_to(&[b"<14>big: ".to_vec(), vec![b'x'; 60_000]].concat(), &to).expect("a datagram fits");
    let found = collector.wait_rows(SYSLOG, 6);
    let lines: Vec<&str> = found.iter().map(|row| row["line"].as_str().expect("a line")).collect();
    assert_eq!(lines[..3], ["no priority", "<14>1 never h a p m - x", "<999>y"]);
    assert_eq!((found[3]["hex"].as_str(), lines[4]), (Some("fffe007a"), "[broken"));
    assert_eq!((lines[5].len(), &found[5]["labels"]["host"]), (60_000, &"127.0.0.1".into()));
    assert_eq!(collector.figure("syslog udp", "odd"), 5);
    collector.stop();
}

#[test]
fn a_connection_mixes_frames_and_its_last_one_is_kept() {
    let folder = Folder::fast();
    let collector = Collector::start(&folder.join("data"), &["--syslog-tcp", "127.0.0.1:0"]);
    let to = format!("127.0.0.1:{}", collector.port("tcp"));
    let mut stream = TcpStream::connect(&to).expect("it listens");
    for piece in [&b"<14>a: one\n9"[..], b" <14>b: tw<14>c: three\n1", b"2 <14>d: f\nour<14>e: cut"] {
        stream.write_all(piece).expect("it reads");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    drop(stream);
    collector.wait_rows(SYSLOG, 5);
    let mut told = texts(&collector.data, SYSLOG);
    told.sort();
    assert_eq!(told, ["cut", "f\nour", "one", "three", "tw"]);
    assert_eq!(collector.figure("syslog tcp", "odd"), 1);
    // A frame over the bound comes in parts, and nothing is missing of it.
    let mut stream = TcpStream::connect(&to).expect("it listens");
    let long = "y".repeat(200_000);
    write!(stream, "{} <14>f: {long}", long.len() + 7).expect("it reads");
    collector.wait_rows(r#"{app="f"}"#, 4);
    assert_eq!(texts(&collector.data, r#"{app="f"}"#).concat(), long);
    collector.stop();
}

#[test]
fn bursts_are_stored_whole_and_a_stop_reads_what_is_there() {
    let folder = Folder::fast();
    let path = folder.join("log");
    let unix = path.display().to_string();
    let collector = Collector::start(&folder.join("data"), &["--syslog-tcp", "127.0.0.1:0", "--syslog-unix", &unix]);
    let to = format!("127.0.0.1:{}", collector.port("tcp"));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let to = to.clone();
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(to).expect("it listens");
                for number in 0..2_000 {
                    writeln!(stream, "<14>s{sender}: {number}").expect("it reads");
                }
            })
        })
        .collect();
    let socket = UnixDatagram::unbound().expect("a socket");
    for number in 0..2_000 {
        socket.send_to(format!("<14>s4: {number}").as_bytes(), &path).expect("it reads");
    }
    senders.into_iter().for_each(|sender| sender.join().expect("it sends"));
    // No waiting: what is in the sockets' buffers belongs to the stop.
    collector.stop();
    for sender in 0..5 {
        let told = texts(&folder.join("data"), &format!(r#"{{app="s{sender}"}}"#));
        let expected: Vec<String> = (0..2_000).map(|number| number.to_string()).collect();
        assert!(told == expected, "sender {sender}: {} lines of 2000", told.len());
    }
}

#[test]
fn a_dead_daemons_socket_is_taken_over_and_a_living_ones_is_not() {
    let folder = Folder::fast();
    for (begin, name) in [("", "log"), ("stream:", "stream")] {
        let path = folder.join(name);
        let unix = format!("{begin}{}", path.display());
        let data = folder.join(&format!("data-{name}"));
        Collector::start(&data, &["--syslog-unix", &unix]).kill();
        assert!(path.exists(), "a killed daemon leaves its socket");
        let collector = Collector::start(&data, &["--syslog-unix", &unix]);
        let other = folder.join("other");
        let words = ["run", "--listen", "127.0.0.1:0", "--syslog-unix", &unix, "--data", &other.display().to_string()];
        let output = run_command(&mut command(&words), b"");
        assert_code(&output, 1);
        assert!(String::from_utf8_lossy(&output.stderr).contains("another program listens there"));
        match begin {
            "" => UnixDatagram::unbound().and_then(|socket| socket.send_to(b"<14>a: x", &path)).map(drop),
            _ => UnixStream::connect(&path).and_then(|mut stream| stream.write_all(b"<14>a: x\n")),
        }
        .expect("it still listens");
        collector.wait_rows(SYSLOG, 1);
        collector.stop();
    }
    let file = folder.join("file");
    fs::write(&file, b"precious").expect("a file");
    let words = ["run", "--listen", "127.0.0.1:0", "--syslog-unix", &file.display().to_string(), "--data", "unused"];
    assert_code(&run_command(command(&words).current_dir(folder.path()), b""), 1);
    assert_eq!(fs::read(&file).expect("it is still there"), b"precious");
}

#[test]
fn what_the_kernel_drops_is_counted() {
    let folder = Folder::fast();
    let collector = Collector::start(&folder.join("data"), &["--syslog-udp", "127.0.0.1:0"]);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let to = format!("127.0.0.1:{}", collector.port("udp"));
    // While it is stopped, it reads nothing; 32 MiB fit into no buffer that a test's machine allows.
    crate::harness::send(&collector.child, rustix::process::Signal::STOP);
    let count = 32 * 1024;
    for number in 0..count {
        socket.send_to(format!("<14>a: {number:01000}").as_bytes(), &to).expect("loopback takes it");
    }
    crate::harness::send(&collector.child, rustix::process::Signal::CONT);
    let lost = wait_for("the count of dropped messages", || {
        let (rows, lost) = (collector.figure("syslog udp", "rows"), collector.figure("syslog udp", "lost"));
        (rows + lost == count && lost > 0).then_some(lost)
    });
    println!("{lost} of {count} were dropped, and counted");
    let data = collector.data.clone();
    collector.stop();
    // The first loss is told at once, the rest at the end: together they tell of all.
    let told = crate::collector::rows(&data, r#"{duramen="events"} event=gap"#);
    let told: u64 = told.iter().filter_map(|row| row["fields"]["rows"].as_str()?.parse::<u64>().ok()).sum();
    assert_eq!(told, lost);
}

/// rsyslog reads a file and forwards it over TCP with octet counting, keeps what we cannot take while we are dead, and goes on.
#[test]
fn a_real_rsyslog_forwards_through_a_restart() {
    let Some(rsyslogd) = installed("rsyslogd") else { return };
    let folder = Folder::new();
    let data = folder.join("data");
    let collector = Collector::start(&data, &["--syslog-tcp", "127.0.0.1:0"]);
    let port = collector.port("tcp");
    let (source, work) = (folder.join("source.log"), folder.join("work"));
    fs::create_dir(&work).expect("a folder");
    fs::write(&source, "").expect("a file");
    let config = folder.join("rsyslog.conf");
    let text = format!(
        "global(workDirectory=\"{work}\")\n\
         module(load=\"imfile\" mode=\"inotify\")\n\
         input(type=\"imfile\" File=\"{source}\" Tag=\"forwarded\" Severity=\"warning\" Facility=\"local2\")\n\
         action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" protocol=\"tcp\" TCP_Framing=\"octet-counted\"\n\
         template=\"RSYSLOG_SyslogProtocol23Format\" action.resumeRetryCount=\"-1\" action.resumeInterval=\"1\")\n",
        work = work.display(),
        source = source.display(),
    );
    fs::write(&config, text).expect("a file");
    let mut rsyslog = Command::new(rsyslogd)
        .args(["-n", "-f"])
        .arg(&config)
        .arg("-i")
        .arg(folder.join("pid"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("rsyslog starts");
    let append = |range: std::ops::Range<u32>| {
        let mut file = fs::OpenOptions::new().append(true).open(&source).expect("it is ours");
        range.for_each(|number| writeln!(file, "line {number}").expect("it is ours"));
    };
    append(0..500);
    let found = collector.wait_rows(SYSLOG, 500);
    let row = &found[0];
    assert_eq!((&row["level"], &row["labels"]["app"]), (&"warning".into(), &"forwarded".into()), "{row}");
    assert_eq!(row["fields"]["facility"], "local2", "{row}");
    assert_eq!(collector.figure("syslog tcp", "odd"), 0);
    collector.stop();
    let collector = Collector::start(&data, &["--syslog-tcp", &format!("127.0.0.1:{port}")]);
    // The first thing that a TCP sender writes after its peer went away is lost without a word; that is syslog's, not ours.
    append(500..501);
    std::thread::sleep(std::time::Duration::from_secs(1));
    append(501..1_000);
    let last = wait_for("the last line", || {
        let found = rows(&data, SYSLOG);
        found.iter().any(|row| row["line"] == "line 999").then_some(found)
    });
    rsyslog.kill().expect("it runs");
    wait(&mut rsyslog);
    collector.stop();
    let mut numbers: Vec<u32> =
        last.iter().filter_map(|row| row["line"].as_str()?.strip_prefix("line ")?.parse().ok()).collect();
    numbers.sort_unstable();
    let expected: Vec<u32> = (0..1_000).collect();
    let without: Vec<u32> = expected.iter().copied().filter(|&number| number != 500).collect();
    assert!(numbers == expected || numbers == without, "{} lines", numbers.len());
}

#[test]
fn a_connection_too_many_waits_for_a_place() {
    let folder = Folder::fast();
    let collector = Collector::start(&folder.join("data"), &["--syslog-tcp", "127.0.0.1:0"]);
    let to = format!("127.0.0.1:{}", collector.port("tcp"));
    let mut guests: Vec<TcpStream> = (0..256).map(|_| TcpStream::connect(&to).expect("it listens")).collect();
    for (number, guest) in guests.iter_mut().enumerate() {
        writeln!(guest, "<14>guest: {number}").expect("it reads");
    }
    collector.wait_rows(SYSLOG, 256);
    let mut late = TcpStream::connect(&to).expect("the kernel keeps it");
    writeln!(late, "<14>guest: late").expect("the kernel keeps it");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(collector.rows(SYSLOG).len(), 256);
    guests.pop();
    collector.wait_rows(SYSLOG, 257);
    collector.stop();
}
