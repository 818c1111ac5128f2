//! A value on an axis, of one type for all axes, and the limits of an axis's values.

use std::fmt;
use std::sync::Arc;

use super::shapes::Shapes;
use crate::spelling::{Spelled, Words};

/// A value on an axis. Displayed as in files.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A count.
    Whole(u32),
    /// A number with a fraction.
    Number(f64),
    /// One of a short list.
    Word(&'static str),
    /// A name given by the scenario.
    Name(Name),
    /// Shapes of inputs.
    Shapes(Shapes),
}

/// The name of a table in the scenario.
pub type Name = Arc<str>;

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Whole(count) => write!(formatter, "{count}"),
            Value::Number(number) => write!(formatter, "{number}"),
            Value::Word(word) => formatter.write_str(word),
            Value::Name(name) => formatter.write_str(name),
            Value::Shapes(shapes) => write!(formatter, "{shapes}"),
        }
    }
}

/// Longest name, in bytes.
const NAME_MAX: usize = 64;

/// The values that an axis may have.
#[derive(Clone, Copy)]
pub enum Limit {
    /// One of these.
    Words(&'static Words),
    /// Minimum and maximum.
    Whole(u32, u32),
    /// Minimum and maximum.
    Number(f64, f64),
    /// Shapes of inputs.
    Shapes,
    /// Names: they become part of the tags of cases, and so of file names.
    Names,
}

/// The reason why a value does not fit an axis: what was expected, and the remedy.
pub type Refusal = (String, String);

impl Limit {
    /// Parses the value of an option or a column.
    ///
    /// # Errors
    /// It is not one of these values.
    pub fn read(self, text: &str, remedy: &str) -> Result<Value, Refusal> {
        match self {
            Limit::Names => self.name(text),
            Limit::Shapes => {
                let refusal = || (self.expected(), remedy.to_owned());
                Shapes::parse(text).map(Value::Shapes).ok_or_else(refusal)
            }
            Limit::Words(words) => words.read(text).map(Value::Word),
            Limit::Whole(..) => match text.parse::<i64>() {
                Ok(number) => self.whole(number, remedy),
                Err(_) => Err((self.expected(), remedy.to_owned())),
            },
            Limit::Number(..) => match text.parse::<f64>() {
                Ok(number) => self.number(number, remedy),
                Err(_) => Err((self.expected(), remedy.to_owned())),
            },
        }
    }

    fn name(self, text: &str) -> Result<Value, Refusal> {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-');
        if (1..=NAME_MAX).contains(&text.len()) && text.chars().all(is_plain) {
            return Ok(Value::Name(text.into()));
        }
        let help = "use ASCII letters, digits, _, . and - alone, as it stands in the tags of cases; a table of that name may say \
                    what the server calls it";
        Err((self.expected(), help.to_owned()))
    }

    /// Checks an integer.
    ///
    /// # Errors
    /// It is not one of these values.
    pub fn whole(self, number: i64, remedy: &str) -> Result<Value, Refusal> {
        match self {
            Limit::Whole(least, most) if (i64::from(least)..=i64::from(most)).contains(&number) => {
                // fits 32 bits, as the limits do
                Ok(Value::Whole(number as u32))
            }
            Limit::Number(..) => self.number(number as f64, remedy),
            _ => Err((self.expected(), remedy.to_owned())),
        }
    }

    /// Checks a number.
    ///
    /// # Errors
    /// It is not one of these values.
    pub fn number(self, number: f64, remedy: &str) -> Result<Value, Refusal> {
        match self {
            Limit::Number(least, most) if (least..=most).contains(&number) => Ok(Value::Number(number)),
            _ => Err((self.expected(), remedy.to_owned())),
        }
    }

    fn expected(self) -> String {
        match self {
            Limit::Shapes => "sizes from 1, such as 3x640x640".to_owned(),
            Limit::Names => format!("a name of at most {NAME_MAX} plain characters"),
            Limit::Words(words) => words.expected.to_owned(),
            Limit::Whole(least, most) => format!("an integer from {least} to {most}"),
            Limit::Number(least, most) => format!("a number from {least} to {most}"),
        }
    }
}

/// A type that holds an axis's value.
pub trait AxisValue {
    /// The value; `None` if it has none.
    fn value(&self) -> Option<Value>;
    /// Sets the value, if it is of this type.
    fn assign(&mut self, value: &Value);
}

impl AxisValue for u32 {
    fn value(&self) -> Option<Value> {
        Some(Value::Whole(*self))
    }

    fn assign(&mut self, value: &Value) {
        if let Value::Whole(count) = value {
            *self = *count;
        }
    }
}

/// Values that a point may lack.
macro_rules! optional {
    ($($type:ty => $kind:ident,)+) => {
        $(impl AxisValue for Option<$type> {
            fn value(&self) -> Option<Value> {
                self.clone().map(Value::$kind)
            }

            fn assign(&mut self, value: &Value) {
                if let Value::$kind(value) = value {
                    *self = Some(value.clone());
                }
            }
        })+
    };
}

optional! {
    u32 => Whole,
    f64 => Number,
    Name => Name,
    Shapes => Shapes,
}

impl<T: Spelled> AxisValue for T {
    fn value(&self) -> Option<Value> {
        Some(Value::Word(self.name()))
    }

    fn assign(&mut self, value: &Value) {
        if let Value::Word(word) = value {
            *self = T::spelled(word).unwrap_or(*self);
        }
    }
}

impl<T: Spelled> AxisValue for Option<T> {
    fn value(&self) -> Option<Value> {
        self.map(|value| Value::Word(value.name()))
    }

    fn assign(&mut self, value: &Value) {
        if let Value::Word(word) = value {
            *self = T::spelled(word).or(*self);
        }
    }
}
