//! etcd's JSON gateway over one connection: many writes, and writes at a rate, without a program
//! started for each.

use std::io::{Read, Write};
use std::net::TcpStream;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cleat_tests::{Etcd, Namespace};
use serde_json::{Value, json};

/// Operations in a transaction, of etcd's 128.
const MOST: usize = 100;

/// A connection from a namespace on the switch.
#[derive(Debug)]
pub(crate) struct Store {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Store {
    pub(crate) fn connect(from: &Namespace, etcd: &Etcd) -> Self {
        let endpoint = etcd.endpoints()[0].trim_start_matches("http://").to_owned();
        let stream = from.run(|| TcpStream::connect(&endpoint)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Puts one key, with the prefix that netd has by default.
    pub(crate) fn put(&mut self, key: &str, value: &Value) {
        self.post("/v3/kv/put", &operation(key, value));
    }

    /// Puts many.
    pub(crate) fn put_all(&mut self, entries: &[(String, Value)]) {
        for some in entries.chunks(MOST) {
            let puts: Vec<Value> =
                some.iter().map(|(k, v)| json!({"requestPut": operation(k, v)})).collect();
            self.post("/v3/kv/txn", &json!({"success": puts}));
        }
    }

    /// The first value below a prefix.
    pub(crate) fn first(&mut self, prefix: &str) -> Value {
        let (start, end) = (format!("/cleat/{prefix}"), format!("/cleat/{prefix}~"));
        let range = json!({"key": encoded(&start), "range_end": encoded(&end), "limit": 1});
        let answer = self.post("/v3/kv/range", &range);
        let value = answer["kvs"][0]["value"].as_str().unwrap();
        serde_json::from_slice(&STANDARD.decode(value).unwrap()).unwrap()
    }

    fn post(&mut self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let head = format!("POST {path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {}", body.len());
        self.stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        let head = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break String::from_utf8(self.read.drain(..at + 4).collect()).unwrap();
            }
            self.more();
        };
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        let body = match length(&head) {
            Some(length) => self.take(length),
            // Longer answers come in pieces, each with its length before it.
            None => self.pieces(),
        };
        serde_json::from_slice(&body).unwrap()
    }

    fn pieces(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let end = loop {
                match self.read.windows(2).position(|two| two == b"\r\n") {
                    Some(end) => break end,
                    None => self.more(),
                }
            };
            let line = String::from_utf8(self.take(end + 2)).unwrap();
            let length = usize::from_str_radix(line.trim(), 16).unwrap();
            all.extend(self.take(length));
            self.take(2);
            if length == 0 {
                return all;
            }
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            self.more();
        }
        self.read.drain(..length).collect()
    }

    fn more(&mut self) {
        let mut buffer = [0; 16384];
        let count = self.stream.read(&mut buffer).unwrap();
        assert!(count > 0, "etcd hung up");
        self.read.extend_from_slice(&buffer[..count]);
    }
}

fn operation(key: &str, value: &Value) -> Value {
    json!({"key": encoded(&format!("/cleat/{key}")), "value": encoded(&value.to_string())})
}

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

fn length(head: &str) -> Option<usize> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap())
    })
}
