//! Requests per second over loopback connections, and the CPU time of the server for each request.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use axum::Router;
use http::{HeaderName, HeaderValue};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

const CONNECTIONS: usize = 16;
const ROUND: Duration = Duration::from_millis(250);
const ROUNDS: usize = 12;

pub struct Served {
    pub name: &'static str,
    pub requests_per_second: f64,
    pub server_nanos: f64,
}

struct Server {
    name: &'static str,
    address: SocketAddr,
    request: Vec<u8>,
    cpu_nanos: UnboundedSender<mpsc::Sender<u64>>,
    rates: Vec<(f64, f64)>,
}

impl Server {
    /// Serves the app on a thread of its own.
    fn start(name: &'static str, app: Router, header: HeaderName, value: &HeaderValue) -> Self {
        let (sender, receiver) = mpsc::channel();
        let (cpu_nanos, mut questions) = unbounded_channel::<mpsc::Sender<u64>>();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                tokio::spawn(async move {
                    while let Some(answer) = questions.recv().await {
                        answer.send(thread_cpu_nanos()).unwrap();
                    }
                });
                axum::serve(listener, app).await.unwrap();
            });
        });
        let mut request =
            format!("GET / HTTP/1.1\r\nhost: app.example.com\r\n{header}: ").into_bytes();
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n\r\n");
        Self { name, address: receiver.recv().unwrap(), request, cpu_nanos, rates: Vec::new() }
    }

    /// Processor time that the server's thread has used.
    fn cpu_nanos(&self) -> u64 {
        let (answer, answered) = mpsc::channel();
        self.cpu_nanos.send(answer).unwrap();
        answered.recv().unwrap()
    }

    /// Keeps one request in flight on each connection.
    fn round(&mut self) {
        let connect = || {
            let stream = TcpStream::connect(self.address).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
        };
        let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| connect()).collect();
        connections.iter_mut().for_each(|stream| stream.write_all(&self.request).unwrap());
        let (started, cpu_before) = (Instant::now(), self.cpu_nanos());
        let mut requests = 0;
        while started.elapsed() < ROUND {
            for stream in &mut connections {
                read_response(stream);
                stream.write_all(&self.request).unwrap();
                requests += 1;
            }
        }
        let time = started.elapsed().as_secs_f64();
        connections.iter_mut().for_each(read_response);
        let cpu = self.cpu_nanos() - cpu_before;
        let requests = f64::from(requests);
        self.rates.push((requests / time, cpu as f64 / requests));
    }

    fn result(&mut self) -> Served {
        let median = |value: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<_> = self.rates.iter().map(value).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (requests_per_second, server_nanos) = (median(|rate| rate.0), median(|rate| rate.1));
        Served { name: self.name, requests_per_second, server_nanos }
    }
}

fn read_response(stream: &mut TcpStream) {
    let mut response = [0; 1024];
    let mut length = 0;
    while !response[..length].ends_with(b"\r\n\r\nhello") {
        let read = stream.read(&mut response[length..]).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&response[..length]));
        length += read;
    }
}

/// Processor time of this thread.
pub fn thread_cpu_nanos() -> u64 {
    let times = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    times.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

/// Measures the apps in interleaved rounds, each with the header that its requests carry.
pub fn measure(apps: Vec<(&'static str, Router, HeaderName, HeaderValue)>) -> Vec<Served> {
    let start = |(name, app, header, value)| Server::start(name, app, header, &value);
    let mut servers: Vec<_> = apps.into_iter().map(start).collect();
    for _ in 0..ROUNDS {
        servers.iter_mut().for_each(Server::round);
    }
    servers.iter_mut().map(Server::result).collect()
}
