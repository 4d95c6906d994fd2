//! rsyslog as it is installed here, in the way that suits it best among those that sync: a queue in memory, and a file that is
//! synced after each batch of a thousand. Lines go to it over TCP on loopback; they count when they are in the file.
//!
//! What waits in its queue is lost with the power, and its sender is told nothing: this bounds what it can do, it is no promise of
//! the kind that the others give.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::systems::{BATCH, batches, figure, rate};
use crate::{Figures, Outcome};

/// Its name in the table.
pub const NAME: &str = "rsyslog, file synced";

const PROGRAM: &str = "/usr/sbin/rsyslogd";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Whether it is installed.
pub fn is_here() -> bool {
    Path::new(PROGRAM).exists()
}

/// Stops the process whatever happens.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Feeds it a file's lines.
pub fn run(corpus: &Path, folder: &Path, mut figures: Figures) -> Outcome<Figures> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let out = folder.join("lines.log");
    let configuration = folder.join("rsyslog.conf");
    let text = format!(
        "global(workDirectory=\"{folder}\" maxMessageSize=\"64k\")\n\
         module(load=\"imtcp\")\n\
         template(name=\"raw\" type=\"string\" string=\"%rawmsg%\\n\")\n\
         ruleset(name=\"all\" queue.type=\"LinkedList\" queue.size=\"100000\" queue.dequeueBatchSize=\"{BATCH}\" \
         queue.timeoutEnqueue=\"600000\") {{\n  \
         action(type=\"omfile\" file=\"{out}\" template=\"raw\" sync=\"on\")\n}}\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"all\" \
         supportOctetCountedFraming=\"off\")\n",
        folder = folder.display(),
        out = out.display(),
    );
    std::fs::write(&configuration, text)?;
    let child = Command::new(PROGRAM)
        .args(["-n", "-C", "-i"])
        .arg(folder.join("pid"))
        .arg("-f")
        .arg(&configuration)
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let running = Running(child);
    let begin = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) if begin.elapsed() > Duration::from_secs(10) => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let begin = Instant::now();
    let (mut buffer, mut bytes) = (Vec::new(), 0);
    let lines = batches(corpus, &mut |lines| {
        buffer.clear();
        lines.iter().for_each(|line| buffer.extend(line.iter().copied().chain([b'\n'])));
        bytes += buffer.len() as u64;
        Ok(stream.write_all(&buffer)?)
    })?;
    while std::fs::metadata(&out).map_or(0, |file| file.len()) < bytes {
        if begin.elapsed() > PATIENCE {
            return Err("rsyslog did not write all lines".into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    rate(&mut figures, lines, begin.elapsed());
    let of = |file: &str| format!("/proc/{}/{file}", running.0.id());
    let written = figure(&of("io"), "write_bytes:")?;
    figures.put("to the device, bytes a byte of text", written as f64 / bytes as f64);
    figures.put("at rest, MB", std::fs::metadata(&out)?.len() as f64 / 1e6);
    figures.put("peak memory, MiB", figure(&of("status"), "VmHWM:")? as f64 / 1024.0);
    Ok(figures)
}
