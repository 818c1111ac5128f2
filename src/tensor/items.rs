//! The items of a tensor, one after the other: those of a file again from the first, random ones without end.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::entries::List;
use super::item::Item;
use super::{Datatype, Source, element_count, file, put_random};

/// The items of a tensor, taken in turn.
pub struct Items {
    datatype: Datatype,
    shape: Vec<usize>,
    elements: usize,
    kind: Kind,
}

enum Kind {
    Zeros,
    Random(Box<ChaCha8Rng>),
    Held { items: Vec<Item>, next: usize, path: PathBuf },
}

impl Kind {
    fn of(items: Vec<Item>, path: &Path) -> Self {
        Kind::Held { items, next: 0, path: path.to_owned() }
    }
}

impl Items {
    /// The items of the tensor `name`, of `shape` each.
    ///
    /// # Errors
    /// The file cannot be read, or its type, shape or size is not the tensor's. The message names the file and the remedy.
    pub fn open(name: &str, datatype: Datatype, shape: &[usize], source: &Source) -> Result<Self> {
        Self::new(datatype, shape, || match source {
            Source::Zeros => Ok(Kind::Zeros),
            Source::Random { seed } => Ok(Kind::Random(Box::new(ChaCha8Rng::seed_from_u64(*seed)))),
            Source::File(path) => {
                let items = file::read(name, datatype, shape, path, List::Data);
                Ok(Kind::of(items.with_context(|| format!("input data {}", path.display()))?, path))
            }
        })
    }

    /// The items of a file with the expected content of the output `name`, of `shape` each.
    ///
    /// # Errors
    /// See [`Items::open`].
    pub fn open_expected(name: &str, datatype: Datatype, shape: &[usize], path: &Path) -> Result<Self> {
        Self::new(datatype, shape, || {
            let items = file::read(name, datatype, shape, path, List::ValidationData);
            Ok(Kind::of(items.with_context(|| format!("expected content {}", path.display()))?, path))
        })
    }

    fn new(datatype: Datatype, shape: &[usize], kind: impl FnOnce() -> Result<Kind>) -> Result<Self> {
        let elements = element_count(shape).context("the shape has more elements than can be addressed")?;
        Ok(Items { datatype, shape: shape.to_vec(), elements, kind: kind()? })
    }

    /// The bytes of `count` items of a file, from item `first` on; `None` if there is no file.
    pub fn held(&self, first: usize, count: usize) -> Option<Bytes> {
        let Kind::Held { items, .. } = &self.kind else { return None };
        let of = |place: usize| &items[place % items.len()].bytes;
        if count == 1 {
            return Some(of(first).clone());
        }
        let mut bytes = BytesMut::new();
        (first..first + count).for_each(|place| bytes.put_slice(of(place)));
        Some(bytes.freeze())
    }

    /// How many different ones there are; `None` without end.
    pub fn count(&self) -> Option<usize> {
        match &self.kind {
            Kind::Zeros => Some(1),
            Kind::Random(_) => None,
            Kind::Held { items, .. } => Some(items.len()),
        }
    }

    /// The next `count` items in one piece, with the shape of each.
    ///
    /// Random floats lie in [0, 1), random integers in [0, 128), so that they suit every integer type; random BYTES are
    /// eight lower-case letters.
    ///
    /// # Errors
    /// More bytes than can be addressed, or items of several shapes, which no batch can hold.
    pub fn take(&mut self, count: usize) -> Result<(Bytes, Vec<usize>)> {
        let elements = self
            .elements
            .checked_mul(count)
            .context("batch size x shape has more elements than can be addressed")?;
        match &mut self.kind {
            Kind::Zeros => {
                let size = elements
                    .checked_mul(self.datatype.size().unwrap_or(4))
                    .context("the tensor is too large")?;
                Ok((Bytes::from(vec![0_u8; size]), self.shape.clone()))
            }
            Kind::Random(generator) => {
                let mut bytes = BytesMut::with_capacity(elements * self.datatype.generated_size());
                for _ in 0..elements {
                    put_random(&mut bytes, self.datatype, generator);
                }
                Ok((bytes.freeze(), self.shape.clone()))
            }
            Kind::Held { items, next, path } => {
                let begin = *next;
                *next += count;
                let first = items[begin % items.len()].shape.clone();
                for place in begin..begin + count {
                    let item = &items[place % items.len()];
                    ensure!(
                        item.shape == first,
                        "input data {}: a batch of {count} has items of shapes {:?} and {:?}, and can have one: order the \
                         entries by shape, or send batches of 1",
                        path.display(),
                        first.as_ref().unwrap_or(&self.shape),
                        item.shape.as_ref().unwrap_or(&self.shape),
                    );
                }
                let bytes = self.held(begin, count).unwrap_or_default();
                Ok((bytes, first.unwrap_or_else(|| self.shape.clone())))
            }
        }
    }
}

/// How many different batches of `batch` items there are if each is taken in turn; `None` without end.
pub fn distinct_batches<'a>(tensors: impl IntoIterator<Item = &'a Items>, batch: usize) -> Option<u64> {
    tensors.into_iter().map(Items::count).try_fold(1_u64, |all, count| {
        let count = count? as u64;
        let batches = count / greatest_common_divisor(count, batch as u64);
        Some((all / greatest_common_divisor(all, batches)).saturating_mul(batches))
    })
}

fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one.max(1) } else { greatest_common_divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(content: &[u8], shape: &[usize]) -> Items {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.bin");
        std::fs::write(&path, content).unwrap();
        Items::open("x", Datatype::Uint8, shape, &Source::File(path)).unwrap()
    }

    #[test]
    fn items_are_taken_in_turn_and_again_from_the_first() {
        let mut items = of_file(&[1, 2, 3], &[1]);
        let taken: Vec<Bytes> = (0..4).map(|_| items.take(2).unwrap().0).collect();
        assert_eq!(taken, [&[1, 2][..], &[3, 1], &[2, 3], &[1, 2]]);
    }

    #[test]
    fn random_items_do_not_depend_on_the_batch_that_takes_them() {
        let taken = |batches: &[usize]| {
            let mut items = Items::open("x", Datatype::Fp32, &[5], &Source::Random { seed: 3 }).unwrap();
            let parts: Vec<Bytes> = batches.iter().map(|batch| items.take(*batch).unwrap().0).collect();
            parts.concat()
        };
        assert_eq!(taken(&[1, 1, 1, 1]), taken(&[4]));
        assert_eq!(taken(&[1, 3]), taken(&[2, 2]));
    }

    #[test]
    fn as_many_batches_are_distinct_as_it_takes_to_begin_with_the_first_items_again() {
        let zeros = || Items::open("x", Datatype::Fp32, &[5], &Source::Zeros).unwrap();
        let random = || Items::open("x", Datatype::Fp32, &[5], &Source::Random { seed: 3 }).unwrap();
        let file = |count: u8| of_file(&(0..count).collect::<Vec<u8>>(), &[1]);
        for (tensors, batch, expected) in [
            (vec![zeros()], 4, Some(1)),
            (vec![file(10)], 1, Some(10)),
            (vec![file(10)], 4, Some(5)),
            (vec![file(10)], 3, Some(10)),
            (vec![file(10)], 10, Some(1)),
            (vec![file(10), file(12), zeros()], 1, Some(60)),
            (vec![file(10), random()], 1, None),
        ] {
            assert_eq!(distinct_batches(&tensors, batch), expected, "{batch} of {}", tensors.len());
        }
    }
}
