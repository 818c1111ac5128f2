//! Damaged answers: whatever comes, the client gives an answer or a fault. `MALFORMED_CASES` sets their number.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use runner::address::Address;
use runner::protocol::headers::Destination;
use runner::protocol::infer::grpc::Grpc;
use runner::protocol::infer::http::Http;
use runner::protocol::stream::NullObserver;
use runner::protocol::verify::{Expected, verify};
use runner::protocol::{Answer, FaultKind, InferClient, InputTensor, Reply, Request};
use runner::tensor::{Datatype, Tensors};
use tokio::runtime::LocalRuntime;
use tokio::time::timeout;

use super::mutate::{self, Drawn};
use super::server::{self, Act, Server, good};

fn request() -> Request {
    let input = InputTensor {
        name: "x".to_owned(),
        datatype: Datatype::Fp32,
        shape: vec![1, 3],
        bytes: Bytes::from_static(&[0; 12]),
    };
    let (outputs, tensors) = (vec!["y".to_owned()], Tensors::Binary);
    Request {
        model: "m".to_owned(),
        version: None,
        id: None,
        inputs: vec![input],
        outputs,
        tensors,
        parameters: Default::default(),
    }
}

/// Counts what damaged answers become: good ones, and faults.
fn outcomes<D: InferClient>(address: &str) -> (u64, u64) {
    let expected = [Expected {
        name: "y".to_owned(),
        datatype: Some("FP32".to_owned()),
        shape: Some(vec![1, 3]),
        expect: None,
    }];
    let whole = |answer: Result<Answer, _>| answer.and_then(|answer| verify(&answer, &expected));
    let (mut good, mut faults) = (0, 0);
    LocalRuntime::new().unwrap().block_on(async {
        let to = Destination::new(&Address::parse(address).unwrap()).unwrap();
        let encoded = D::encode(&to, &request()).unwrap();
        let mut driver = D::new(D::connection(&to, Rc::new(NullObserver)), encoded, Rc::new(NullObserver));
        // the first answer is not damaged
        let Ok(Reply::Unread(unread)) = driver.infer().await else {
            panic!("the first answer is bad")
        };
        driver.follow(D::pattern(&unread).map(Rc::new));
        whole(D::read(unread)).unwrap();
        for case in 0..mutate::cases() {
            let answered = timeout(Duration::from_secs(20), driver.infer()).await;
            let outcome = match answered.unwrap_or_else(|_| panic!("case {case}: neither an answer nor a fault")) {
                Ok(Reply::Same) => Ok(()),
                Ok(Reply::Unread(unread)) => whole(D::read(unread)),
                Err(fault) => Err(fault),
            };
            match outcome {
                Ok(()) => good += 1,
                Err(fault) => {
                    // a server that is there is not taken for one that is not
                    assert!(fault.kind != FaultKind::Connect, "case {case}: {fault}");
                    assert!(fault.message.len() < 2000, "case {case}: {}", fault.message.len());
                    faults += 1;
                }
            }
        }
    });
    (good, faults)
}

#[test]
fn damaged_http_answers_are_answers_or_faults() {
    let mut drawn = Drawn::seed_from_u64(1);
    let answers = [good(), server::Answer { typed: Some(vec![1.0, 2.5, 3.0]), ..good() }];
    let next = std::sync::Mutex::new(move |n: u64| {
        if n == 0 {
            return Act::Bytes(server::of_http(&good()));
        }
        let mut bytes = server::of_http(mutate::one(&mut drawn, &answers));
        mutate::bytes(&mut drawn, &mut bytes);
        Act::Bytes(bytes)
    });
    let server = Server::start(&[-1, 3], true, move |n| next.lock().unwrap()(n));
    let (good, faults) = outcomes::<Http>(&server.http);
    assert!(good > 0 && faults > 0, "{good} good, {faults} faults");
}

#[test]
fn damaged_grpc_answers_are_answers_or_faults() {
    let mut drawn = Drawn::seed_from_u64(2);
    let answers = [good(), server::Answer { typed: Some(vec![1.0, 2.5, 3.0]), ..good() }];
    let next = std::sync::Mutex::new(move |n: u64| {
        let mut bytes = server::of_grpc(mutate::one(&mut drawn, &answers[..if n == 0 { 1 } else { 2 }])).to_vec();
        if n > 0 {
            mutate::bytes(&mut drawn, &mut bytes);
        }
        Act::Bytes(bytes)
    });
    let server = Server::start(&[-1, 3], true, move |n| next.lock().unwrap()(n));
    let (good, faults) = outcomes::<Grpc>(&server.grpc);
    assert!(good > 0 && faults > 0, "{good} good, {faults} faults");
}
