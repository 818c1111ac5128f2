//! What stands between a host and the leader that it connects to, and hears what is said.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

/// What passed.
pub enum Passed {
    /// Something that the host said.
    OfHost(Vec<u8>),
    /// A connection ended: all that both said, the leader first.
    All(Vec<u8>),
}

/// Passes connections on to a leader. Returns the address for hosts.
pub fn passed_on(leader: &str) -> (String, Receiver<Passed>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (say, passed) = mpsc::channel();
    let leader = leader.to_owned();
    thread::spawn(move || {
        for host in listener.incoming().map_while(Result::ok) {
            let Ok(to) = TcpStream::connect(&leader) else { return };
            let (from_host, to_leader, tell) = (host.try_clone().unwrap(), to.try_clone().unwrap(), say.clone());
            let said = thread::spawn(move || copied(from_host, to_leader, Some(&tell)));
            let mut all = copied(to, host, None);
            all.extend(said.join().unwrap());
            if say.send(Passed::All(all)).is_err() {
                return;
            }
        }
    });
    (address, passed)
}

fn copied(mut from: TcpStream, mut to: TcpStream, tell: Option<&Sender<Passed>>) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = from.read(&mut piece) {
        all.extend_from_slice(&piece[..length]);
        if let Some(tell) = tell {
            // nobody may be listening any more
            let _ = tell.send(Passed::OfHost(piece[..length].to_vec()));
        }
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    // both ends of both
    let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
    all
}

/// Waits for what is looked for.
pub fn next_of<T>(passed: &Receiver<Passed>, mut look: impl FnMut(Passed) -> Option<T>) -> T {
    loop {
        let passed = passed.recv_timeout(Duration::from_secs(60)).expect("nothing within a minute");
        if let Some(found) = look(passed) {
            return found;
        }
    }
}
