//! What the content of answers is compared with. Must not know how requests are sent or timed.

use std::cell::{Cell, RefCell};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use super::message::Job;
use crate::protocol::verify::Expected;
use crate::protocol::{Answer, Fault, FaultKind, OutputTensor};
use crate::tensor::{Datatype, Difference, Expect, HELD_BYTES_MAX, Items, OtherSize, Reference};

/// What the content of answers is compared with.
pub(super) struct References {
    outputs: Vec<(String, Expect, Known)>,
    items: usize,
    requests: usize,
    /// Bytes of first answers that are kept.
    kept: Cell<u64>,
}

enum Known {
    /// The items of a file.
    File(Items),
    /// The first answer to each request.
    First(RefCell<Vec<Option<Bytes>>>),
}

impl References {
    /// Those of a job whose `requests` distinct requests get answers like this one; `None` if no content is to be checked. The
    /// inputs' items begin again after `repeats`.
    ///
    /// # Errors
    /// A file cannot be read, or does not fit the answer.
    pub fn of(job: &Job, requests: usize, repeats: Option<u64>, answer: &Answer) -> Result<Option<Self>, Fault> {
        let mut outputs = Vec::new();
        for Expected { name, expect, .. } in &job.outputs {
            let Some(expect) = expect else { continue };
            let known = match expect.reference {
                Reference::SameAsFirst => Known::First(RefCell::new(vec![None; requests])),
                Reference::File(_) => {
                    let output = output(answer, name)?;
                    let opened = golden(job, requests, repeats, expect, output);
                    Known::File(opened.map_err(|error| Fault::new(FaultKind::Value, format!("{error:#}")))?)
                }
            };
            outputs.push((name.clone(), expect.clone(), known));
        }
        let references = References { outputs, items: job.items(), requests, kept: Cell::new(0) };
        Ok((!references.outputs.is_empty()).then_some(references))
    }

    /// Compares the content of an answer to a request; returns whether there was something to compare it with.
    ///
    /// # Errors
    /// It is not close enough to what is expected: kind `Value`.
    pub fn check(&self, number: usize, answer: &Answer) -> Result<bool, Fault> {
        let mut compared = false;
        for (name, expect, known) in &self.outputs {
            let output = output(answer, name)?;
            let (datatype, found) = output.content()?;
            let expected = match known {
                Known::File(items) => items.held(number * self.items, self.items).unwrap_or_default(),
                Known::First(first) => match &first.borrow()[number] {
                    Some(first) => first.clone(),
                    None => continue,
                },
            };
            self.compare(expect, (datatype, &found, &expected), output, number)?;
            compared = true;
        }
        // only of answers that are good as a whole
        for (name, _, known) in &self.outputs {
            if let Known::First(first) = known
                && first.borrow()[number].is_none()
            {
                let (_, found) = output(answer, name)?.content()?;
                let kept = self.kept.get() + found.len() as u64;
                // memory has a bound: what does not fit is not compared
                if kept <= HELD_BYTES_MAX {
                    self.kept.set(kept);
                    // a slice would keep the whole answer
                    first.borrow_mut()[number] = Some(Bytes::copy_from_slice(&found));
                }
            }
        }
        Ok(compared)
    }

    /// Whether the first answer to a request is still to come, with which later ones are compared.
    pub fn lack(&self, number: usize) -> bool {
        let lacks = |known: &Known| matches!(known, Known::First(first) if first.borrow()[number].is_none());
        self.kept.get() < HELD_BYTES_MAX && self.outputs.iter().any(|(.., known)| lacks(known))
    }

    fn compare(
        &self,
        expect: &Expect,
        (datatype, found, expected): (Datatype, &[u8], &[u8]),
        output: &OutputTensor,
        number: usize,
    ) -> Result<(), Fault> {
        let name = &output.name;
        let of = match self.requests {
            1 => String::new(),
            requests => format!(", in the answer to request {} of {requests}", number + 1),
        };
        let words = match expect.compare(datatype, found, expected) {
            Ok(None) => return Ok(()),
            Ok(Some(difference)) => {
                let Difference { elements, found, expected, .. } = &difference;
                let place = difference.place(&output.shape);
                let count = match elements {
                    1 => "one element".to_owned(),
                    elements => format!("{elements} elements, worst"),
                };
                format!("the output \"{name}\" differs in {count} at {place:?}: it is {found}, expected {expected}{of}")
            }
            Err(OtherSize { found, expected }) => {
                format!("the output \"{name}\" holds {found} bytes, expected content has {expected}{of}")
            }
        };
        Err(Fault::new(FaultKind::Value, words))
    }
}

fn output<'a>(answer: &'a Answer, name: &str) -> Result<&'a OutputTensor, Fault> {
    let found = answer.outputs.iter().find(|output| output.name == name);
    found.ok_or_else(|| Fault::new(FaultKind::Answer, format!("the output \"{name}\" is missing")))
}

/// The expected items of an output that is like this one.
fn golden(job: &Job, requests: usize, repeats: Option<u64>, expect: &Expect, output: &OutputTensor) -> Result<Items> {
    let datatype: Datatype = output
        .datatype
        .parse()
        .ok()
        .with_context(|| format!("{} cannot be compared", output.datatype))?;
    let item = if job.model.batching { output.shape.get(1..).unwrap_or(&[]) } else { &output.shape };
    let shape: Vec<usize> = item.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect();
    let path = expect.file().context("there is no file")?;
    let golden = Items::open_expected(&output.name, datatype, &shape, path)?;
    // each item that is sent has to have its own
    let (held, sent) = (golden.count().unwrap_or(0) as u64, (requests * job.items()) as u64);
    ensure!(
        held >= sent || repeats.is_some_and(|repeats| held.is_multiple_of(repeats)),
        "expected content {}: it has {held} items for the {} of the inputs: give one for each",
        path.display(),
        repeats.filter(|repeats| *repeats < sent).unwrap_or(sent)
    );
    Ok(golden)
}
