//! Shapes of input tensors as a value on an axis, without the batch dimension.

use std::fmt;
use std::sync::Arc;

/// The shapes of some inputs; a single one without a name belongs to the only input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shapes(Arc<[(String, Vec<usize>)]>);

/// The spelling of a shape without dimensions.
const SCALAR: &str = "scalar";

impl Shapes {
    /// Shapes of inputs by name; an empty name means the only input.
    pub fn new(shapes: Vec<(String, Vec<usize>)>) -> Self {
        Shapes(shapes.into())
    }

    /// The shape of an input, if given.
    pub fn of(&self, input: &str) -> Option<&[usize]> {
        let is_it = |name: &str| name.is_empty() || name == input;
        self.0.iter().find(|(name, _)| is_it(name)).map(|(_, shape)| &shape[..])
    }

    /// The names of the inputs; an empty one means the only input.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Parses a text such as `3x640x640` or `image=3x640x640;mask=640x640`.
    pub fn parse(text: &str) -> Option<Self> {
        let shape = |text: &str| -> Option<Vec<usize>> {
            if text == SCALAR {
                return Some(Vec::new());
            }
            text.split('x').map(|size| size.parse().ok().filter(|size| *size > 0)).collect()
        };
        let of_input = |part: &str| match part.rsplit_once('=') {
            Some((name, sizes)) => Some((name.to_owned(), shape(sizes)?)),
            None => Some((String::new(), shape(part)?)),
        };
        let shapes: Vec<_> = text.split(';').map(of_input).collect::<Option<_>>()?;
        let is_clear = shapes.len() == 1 || shapes.iter().all(|(name, _)| !name.is_empty());
        is_clear.then(|| Shapes::new(shapes))
    }

    /// As part of a case's tag, with only plain letters in names.
    pub fn tag(&self) -> String {
        let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '_' };
        self.to_string().chars().map(plain).collect()
    }
}

impl fmt::Display for Shapes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, shape)) in self.0.iter().enumerate() {
            let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
            let sizes = if sizes.is_empty() { SCALAR.to_owned() } else { sizes.join("x") };
            let (between, equals) = (if index > 0 { ";" } else { "" }, if name.is_empty() { "" } else { "=" });
            write!(formatter, "{between}{name}{equals}{sizes}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_spelled_as_they_are_read() {
        for text in ["3x640x640", "scalar", "image=3x640x640;mask=640x640", "a=b=1;c=scalar"] {
            assert_eq!(Shapes::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "3x", "0", "3x-1", "a=1;2", "3,4", "x"] {
            assert_eq!(Shapes::parse(text), None, "{text}");
        }
        let shapes = Shapes::parse("image=3x640x640;mask=640x640").unwrap();
        assert_eq!((shapes.of("mask"), shapes.of("x")), (Some(&[640, 640][..]), None));
        assert_eq!(
            (shapes.tag().as_str(), Shapes::parse("7").unwrap().of("any")),
            ("image_3x640x640_mask_640x640", Some(&[7][..]))
        );
    }
}
