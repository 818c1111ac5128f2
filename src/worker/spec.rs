//! What all requests of a worker share: the distinct ones, their order, and the check of their answers. Must not know how
//! requests are sent or timed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::message::Draw;
use super::references::References;
use super::requests::Order;
use crate::protocol::headers::Destination;
use crate::protocol::verify::{Expected, has_fixed_sizes, verify};
use crate::protocol::{Answer, Fault, FaultKind, InferClient, Request};

/// What all requests of a worker share.
pub(super) struct RequestSpec<D: InferClient> {
    /// The outputs an answer must have.
    pub(super) expected: Vec<Expected>,
    /// The distinct requests, at least one.
    pub(super) requests: Vec<Prepared<D>>,
    /// The order in which they are sent.
    pub(super) order: RefCell<Order>,
    /// Where to, if requests are encoded each time.
    pub(super) encoded_for: Option<Destination>,
    /// What the content of answers is compared with.
    pub(super) references: Option<References>,
    /// Of so many answers the content of one is compared.
    pub(super) verify_every: u64,
    /// Requests before the next such one.
    pub(super) unverified: Cell<u64>,
}

/// One of a worker's distinct requests.
pub(super) struct Prepared<D: InferClient> {
    pub(super) encoded: D::Encoded,
    /// Its tensors, if it is encoded each time.
    pub(super) request: Option<Request>,
    pub(super) id: Option<String>,
    /// What every good answer to it shares; `None` if that is not known yet, or varies.
    pub(super) pattern: RefCell<Option<Rc<D::Pattern>>>,
}

/// Checks that an answer has the id of its request.
///
/// # Errors
/// It has another, or none.
pub(super) fn id_agrees(id: Option<&str>, answer: &Answer) -> Result<(), Fault> {
    match id.filter(|id| *id != answer.id) {
        Some(id) => {
            let words = format!("the answer has the id \"{}\", the request has \"{id}\"", answer.id);
            Err(Fault::new(FaultKind::Answer, words))
        }
        None => Ok(()),
    }
}

/// Which request is in flight.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    /// Its number among the distinct ones.
    pub(super) number: usize,
    /// Whether the content of its answer is compared.
    pub(super) is_verified: bool,
}

impl<D: InferClient> RequestSpec<D> {
    /// Whether requests differ, or their answers are treated differently.
    pub(super) fn varies(&self) -> bool {
        self.requests.len() > 1 || self.references.is_some()
    }

    /// Begins a block: its order of requests, and the content of its first answer compared.
    pub(super) fn begin(&self, draw: Draw) {
        self.order.replace(Order::new(self.requests.len(), draw));
        self.unverified.set(0);
    }

    /// Chooses the next request.
    pub(super) fn next(&self) -> Sent {
        if !self.varies() {
            return Sent { number: 0, is_verified: false };
        }
        let number = self.order.borrow_mut().next();
        let is_due = self.unverified.get() == 0;
        self.unverified
            .set(if is_due { self.verify_every - 1 } else { self.unverified.get() - 1 });
        // later answers are compared with the first
        let is_verified = self.references.as_ref().is_some_and(|references| is_due || references.lack(number));
        Sent { number, is_verified }
    }

    /// Checks an answer, whose content is compared if `is_verified`; remembers what good answers to the same request share.
    /// Returns whether its content was compared.
    ///
    /// # Errors
    /// The answer is not good.
    pub(super) fn check(&self, unread: D::Unread, number: usize, is_verified: bool) -> Result<bool, Fault> {
        let prepared = &self.requests[number];
        let learns = self.varies() && (!is_verified || prepared.pattern.borrow().is_none());
        let pattern = learns.then(|| D::pattern(&unread)).flatten();
        let answer = D::read(unread)?;
        verify(&answer, &self.expected)?;
        id_agrees(prepared.id.as_deref(), &answer)?;
        let compared = match &self.references {
            Some(references) if is_verified => references.check(number, &answer)?,
            _ => false,
        };
        if let Some(pattern) = pattern.filter(|_| has_fixed_sizes(&answer)) {
            prepared.pattern.replace(Some(Rc::new(pattern)));
        }
        Ok(compared)
    }
}
