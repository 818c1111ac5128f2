//! Protobuf's text format, such as `config.pbtxt`, read into a message by its descriptor. Every error names line,
//! column and field, what was found there and what was expected. Knows nothing of what the fields mean.

use std::fmt;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value};

use super::scan::{Found, Scanner};

/// An error in a text: where it is, what is wrong and how to fix it.
#[derive(Debug)]
pub struct TextError {
    /// One-based.
    pub line: usize,
    /// One-based, in characters.
    pub column: usize,
    /// Path of the field, such as `input[0].dims`; empty above all fields.
    pub field: String,
    /// What was found and what was expected.
    pub problem: String,
    /// How to fix it; may be empty.
    pub remedy: String,
    /// The text around the error.
    pub excerpt: String,
}

impl fmt::Display for TextError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TextError { line, column, field, problem, remedy, excerpt } = self;
        write!(out, "line {line}, column {column}: ")?;
        if !field.is_empty() {
            write!(out, "{field}: ")?;
        }
        write!(out, "{problem}")?;
        if !remedy.is_empty() {
            write!(out, ": {remedy}")?;
        }
        if !excerpt.is_empty() {
            write!(out, " (in `{excerpt}`)")?;
        }
        Ok(())
    }
}

impl std::error::Error for TextError {}

type Read<T> = Result<T, TextError>;

/// Reads a whole text into a message. Fields nest only as deep as the message's own, which bounds the recursion.
///
/// # Errors
/// The first violation of the format or the descriptor.
pub fn read(text: &[u8], descriptor: MessageDescriptor) -> Read<DynamicMessage> {
    let mut reader = Reader { scanner: Scanner::new(text), path: Vec::new() };
    let mut message = DynamicMessage::new(descriptor);
    reader.fields(&mut message, None)?;
    Ok(message)
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    /// The fields that are being read, outermost first.
    path: Vec<String>,
}

/// A message's closing bracket, and the position of its opening one.
type Close = Option<(char, usize)>;

impl Reader<'_> {
    fn fields(&mut self, message: &mut DynamicMessage, close: Close) -> Read<()> {
        let mut seen: Vec<FieldDescriptor> = Vec::new();
        loop {
            match (self.scanner.peek(), close) {
                (Found::Name(_), _) => self.field(message, &mut seen)?,
                (Found::Sign(found), Some((bracket, _))) if found == bracket => {
                    self.scanner.bump();
                    return Ok(());
                }
                (Found::End, None) => return Ok(()),
                (Found::End, Some((bracket, opened))) => {
                    let problem = format!("found the end of the file, expected {bracket}");
                    let remedy = format!("close the bracket of line {}", self.scanner.place(opened).0);
                    return Err(self.error(problem, remedy));
                }
                (_, None) => return Err(self.unexpected("a field's name")),
                (_, Some((bracket, _))) => return Err(self.unexpected(&format!("a field's name or {bracket}"))),
            }
        }
    }

    fn field(&mut self, message: &mut DynamicMessage, seen: &mut Vec<FieldDescriptor>) -> Read<()> {
        let descriptor = message.descriptor();
        let Found::Name(name) = self.scanner.peek() else {
            return Err(self.unexpected("a field's name"));
        };
        let Some(field) = descriptor.get_field_by_name(name) else {
            return Err(self.unknown(name, &descriptor));
        };
        let many = field.is_list() || field.is_map();
        let index = if many { count(message, &field) } else { 0 };
        self.path.push(if many { format!("{name}[{index}]") } else { name.to_owned() });
        if !many {
            self.once(&field, seen)?;
        }
        self.scanner.bump();
        let nested = matches!(field.kind(), Kind::Message(_));
        match self.scanner.peek() {
            Found::Sign(':') => self.scanner.bump(),
            Found::Sign('{' | '<') if nested => {}
            Found::Sign('[') if many => {}
            _ if nested => return Err(self.unexpected("{ or :")),
            _ => return Err(self.unexpected(":")),
        }
        if many && self.scanner.peek() == Found::Sign('[') {
            self.list(message, &field, index)?;
        } else {
            let value = self.value(&field.kind())?;
            put(message, &field, value);
        }
        self.path.pop();
        if let Found::Sign(',' | ';') = self.scanner.peek() {
            self.scanner.bump();
        }
        Ok(())
    }

    /// Refuses a field that was given already, or a second one of a oneof.
    fn once(&mut self, field: &FieldDescriptor, seen: &mut Vec<FieldDescriptor>) -> Read<()> {
        if seen.contains(field) {
            return Err(self.error("the field is given twice".to_owned(), "remove one".to_owned()));
        }
        let oneof = field.containing_oneof();
        if let Some(other) = seen.iter().find(|other| oneof.is_some() && other.containing_oneof() == oneof) {
            let problem = format!("the field excludes {}, which is given too", other.name());
            return Err(self.error(problem, "remove one".to_owned()));
        }
        seen.push(field.clone());
        Ok(())
    }

    /// Reads `[a, b]`; its values follow those that the field already has.
    fn list(&mut self, message: &mut DynamicMessage, field: &FieldDescriptor, mut index: usize) -> Read<()> {
        self.scanner.bump();
        if self.scanner.peek() == Found::Sign(']') {
            self.scanner.bump();
            return Ok(());
        }
        loop {
            if let Some(last) = self.path.last_mut() {
                *last = format!("{}[{index}]", field.name());
            }
            let value = self.value(&field.kind())?;
            put(message, field, value);
            index += 1;
            match self.scanner.peek() {
                Found::Sign(']') => {
                    self.scanner.bump();
                    return Ok(());
                }
                Found::Sign(',') => self.scanner.bump(),
                _ => return Err(self.unexpected(", or ]")),
            }
        }
    }

    fn value(&mut self, kind: &Kind) -> Read<Value> {
        Ok(match kind {
            Kind::Message(descriptor) => return self.message(descriptor),
            Kind::Enum(descriptor) => return self.word(descriptor),
            Kind::String => {
                let (start, bytes) = self.quoted()?;
                Value::String(String::from_utf8(bytes).map_err(|_| {
                    self.scanner.back_to(start);
                    self.error(
                        "found bytes that are not UTF-8, expected text".to_owned(),
                        "save the file as UTF-8".to_owned(),
                    )
                })?)
            }
            Kind::Bytes => Value::Bytes(self.quoted()?.1.into()),
            Kind::Bool => Value::Bool(self.flag()?),
            Kind::Float => Value::F32(self.float()? as f32),
            Kind::Double => Value::F64(self.float()?),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
                Value::I32(self.whole(i32::MIN.into(), i32::MAX.into())? as i32)
            }
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                Value::I64(self.whole(i64::MIN.into(), i64::MAX.into())? as i64)
            }
            Kind::Uint32 | Kind::Fixed32 => Value::U32(self.whole(0, u32::MAX.into())? as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.whole(0, u64::MAX.into())? as u64),
        })
    }

    fn message(&mut self, descriptor: &MessageDescriptor) -> Read<Value> {
        let (bracket, opened) = match self.scanner.peek() {
            Found::Sign('{') => ('}', self.scanner.start()),
            Found::Sign('<') => ('>', self.scanner.start()),
            _ => return Err(self.unexpected("{")),
        };
        self.scanner.bump();
        let mut message = DynamicMessage::new(descriptor.clone());
        self.fields(&mut message, Some((bracket, opened)))?;
        Ok(Value::Message(message))
    }

    fn word(&mut self, descriptor: &prost_reflect::EnumDescriptor) -> Read<Value> {
        let names: Vec<String> = descriptor.values().map(|value| value.name().to_owned()).collect();
        let known = match self.scanner.peek() {
            Found::Name(name) => descriptor.get_value_by_name(name),
            Found::Number(number) => number.parse().ok().and_then(|number| descriptor.get_value(number)),
            Found::Quote(_) => {
                return Err(
                    self.unexpected_but(&format!("a word such as {}", example(&names)), "write it without quotes")
                );
            }
            _ => return Err(self.unexpected(&format!("a word such as {}", example(&names)))),
        };
        if let Some(value) = known {
            self.scanner.bump();
            return Ok(Value::EnumNumber(value.number()));
        }
        let Found::Name(name) = self.scanner.peek() else {
            return Err(self.unexpected(&format!("one of {}", names.join(", "))));
        };
        let whole = names.iter().find(|known| known.ends_with(&format!("_{}", name.to_uppercase())));
        let remedy = whole.map(String::as_str).or_else(|| nearest(name, &names));
        let remedy = remedy.map_or(String::new(), |near| format!("did you mean {near}?"));
        Err(self.unexpected_but(&format!("one of {}", names.join(", ")), &remedy))
    }

    /// The bytes between quotes, and where they begin; adjacent strings are joined.
    fn quoted(&mut self) -> Read<(usize, Vec<u8>)> {
        let start = self.scanner.start_of_next();
        let mut bytes = Vec::new();
        let mut any = false;
        while let Found::Quote(_) = self.scanner.peek() {
            let read = self.scanner.quoted(&mut bytes);
            read.map_err(|(problem, remedy)| self.error(problem.to_owned(), remedy.to_owned()))?;
            any = true;
        }
        match self.scanner.peek() {
            _ if any => Ok((start, bytes)),
            Found::Name(name) => Err(self.unexpected_but("text in quotes", &format!("write \"{name}\""))),
            _ => Err(self.unexpected("text in quotes")),
        }
    }

    fn flag(&mut self) -> Read<bool> {
        let flag = match self.scanner.peek() {
            Found::Name("true" | "True" | "t") | Found::Number("1") => true,
            Found::Name("false" | "False" | "f") | Found::Number("0") => false,
            Found::Quote(_) => return Err(self.unexpected_but("true or false", "write it without quotes")),
            _ => return Err(self.unexpected("true or false")),
        };
        self.scanner.bump();
        Ok(flag)
    }

    fn whole(&mut self, least: i128, most: i128) -> Read<i128> {
        let expected = format!("a whole number from {least} to {most}");
        let start = self.scanner.start_of_next();
        let negative = self.minus();
        let Found::Number(digits) = self.scanner.peek() else {
            let remedy = if let Found::Quote(_) = self.scanner.peek() { "write it without quotes" } else { "" };
            return Err(self.unexpected_but(&expected, remedy));
        };
        let number = match digits.as_bytes() {
            [b'0', b'x' | b'X', ..] => i128::from_str_radix(&digits[2..], 16),
            [b'0', _, ..] => i128::from_str_radix(&digits[1..], 8),
            _ => digits.parse(),
        };
        let number = number.ok().map(|number| if negative { -number } else { number });
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => {
                self.scanner.bump();
                Ok(number)
            }
            None => {
                let found = self.scanner.between(start);
                self.scanner.back_to(start);
                Err(self.error(format!("found {found}, expected {expected}"), String::new()))
            }
        }
    }

    fn float(&mut self) -> Read<f64> {
        let negative = self.minus();
        let number = match self.scanner.peek() {
            Found::Number(digits) => digits.trim_end_matches(['f', 'F']).parse().ok(),
            Found::Name(name) if ["inf", "infinity"].contains(&name.to_lowercase().as_str()) => Some(f64::INFINITY),
            Found::Name(name) if name.eq_ignore_ascii_case("nan") => Some(f64::NAN),
            _ => None,
        };
        let Some(number) = number else { return Err(self.unexpected("a number")) };
        self.scanner.bump();
        Ok(if negative { -number } else { number })
    }

    fn minus(&mut self) -> bool {
        let minus = self.scanner.peek() == Found::Sign('-');
        if minus {
            self.scanner.bump();
        }
        minus
    }

    fn unknown(&mut self, name: &str, descriptor: &MessageDescriptor) -> TextError {
        let names: Vec<String> = descriptor.fields().map(|field| field.name().to_owned()).collect();
        let remedy = match nearest(name, &names) {
            Some(near) => format!("did you mean {near}?"),
            None => "remove it".to_owned(),
        };
        self.error(format!("unknown field {name}, expected one of {}", names.join(", ")), remedy)
    }

    fn unexpected(&mut self, expected: &str) -> TextError {
        self.unexpected_but(expected, "")
    }

    fn unexpected_but(&mut self, expected: &str, remedy: &str) -> TextError {
        let (found, own) = self.scanner.describe();
        let remedy = own.unwrap_or_else(|| remedy.to_owned());
        self.error(format!("found {found}, expected {expected}"), remedy)
    }

    /// An error at the next token.
    fn error(&mut self, problem: String, remedy: String) -> TextError {
        let start = self.scanner.start_of_next();
        let (line, column) = self.scanner.place(start);
        TextError {
            line,
            column,
            field: self.path.join("."),
            problem,
            remedy,
            excerpt: self.scanner.excerpt(start),
        }
    }
}

/// Number of values that the field already has.
fn count(message: &DynamicMessage, field: &FieldDescriptor) -> usize {
    match &*message.get_field(field) {
        Value::List(values) => values.len(),
        Value::Map(values) => values.len(),
        _ => 0,
    }
}

/// Sets a field, or adds to it.
fn put(message: &mut DynamicMessage, field: &FieldDescriptor, value: Value) {
    match (message.get_field_mut(field), value) {
        (Value::List(values), value) => values.push(value),
        (Value::Map(values), Value::Message(entry)) => {
            let key: Option<MapKey> = entry.get_field_by_name("key").and_then(|key| key.into_owned().into_map_key());
            if let (Some(key), Some(value)) = (key, entry.get_field_by_name("value")) {
                values.insert(key, value.into_owned());
            }
        }
        (place, value) => *place = value,
    }
}

/// The known name that was most likely meant.
fn nearest<'a>(found: &str, known: &'a [String]) -> Option<&'a str> {
    let similarity = |name: &str| strsim::jaro_winkler(&found.to_lowercase(), &name.to_lowercase());
    let best = known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(best) > 0.8).then_some(best)
}

/// The last of the names: the first of an enumeration often stands for none.
fn example(names: &[String]) -> &str {
    names.last().map_or("", String::as_str)
}
