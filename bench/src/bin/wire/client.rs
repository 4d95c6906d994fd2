//! A client: one connection, one body after the other, each answer awaited. Owns just enough of HTTP/1.1.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::corpus::Form;

/// Sends all bodies; returns how many seconds each took to be answered.
pub fn send_all(address: SocketAddr, path: &str, form: Form, bodies: &[Vec<u8>]) -> Result<Vec<f64>, String> {
    if bodies.is_empty() {
        return Ok(Vec::new());
    }
    let mut stream = connect(address)?;
    let mut reader = BufReader::new(stream.try_clone().map_err(|error| error.to_string())?);
    let more = match form {
        Form::Lines => "Content-Type: text/plain\r\n",
        Form::Remote => {
            "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n"
        }
    };
    let mut times = Vec::with_capacity(bodies.len());
    let mut request = Vec::new();
    for body in bodies {
        let begin = Instant::now();
        request.clear();
        request.extend(
            format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{more}Content-Length: {}\r\n\r\n", body.len()).bytes(),
        );
        request.extend_from_slice(body);
        stream.write_all(&request).map_err(|error| error.to_string())?;
        let (status, words) = answer(&mut reader)?;
        if !(200..300).contains(&status) {
            return Err(format!("{status}: {}", words.chars().take(200).collect::<String>()));
        }
        times.push(begin.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// Asks for a place; returns the status and the body.
pub fn ask(address: SocketAddr, method: &str, path: &str) -> Result<(u16, String), String> {
    let mut stream = connect(address)?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .map_err(|error| error.to_string())?;
    answer(&mut BufReader::new(stream))
}

fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
    let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(Duration::from_secs(60))));
    set.map_err(|error| error.to_string())?;
    Ok(stream)
}

fn answer(reader: &mut BufReader<TcpStream>) -> Result<(u16, String), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut line = String::new();
    reader.read_line(&mut line).map_err(failed)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no answer")?;
    let (mut length, mut chunked) = (None, false);
    loop {
        line.clear();
        reader.read_line(&mut line).map_err(failed)?;
        let head = line.trim().to_ascii_lowercase();
        if head.is_empty() {
            break;
        }
        if let Some(text) = head.strip_prefix("content-length:") {
            length = text.trim().parse::<usize>().ok();
        }
        chunked |= head == "transfer-encoding: chunked";
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            line.clear();
            reader.read_line(&mut line).map_err(failed)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|error| error.to_string())?;
            let start = body.len();
            body.resize(start + size + 2, 0);
            reader.read_exact(&mut body[start..]).map_err(failed)?;
            body.truncate(start + size);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = length {
        body.resize(length, 0);
        reader.read_exact(&mut body).map_err(failed)?;
    } else if status != 204 {
        reader.read_to_end(&mut body).map_err(failed)?;
    }
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
