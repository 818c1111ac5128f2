//! Columns of the files of a run, each declared once with its name, type and meaning: reading, writing and
//! documentation follow from that. Must not know which columns exist.

use std::borrow::Cow;
use std::collections::HashMap;
use std::marker::PhantomData;

use csv::StringRecord;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Value, json};

use crate::matrix::{self, AxisId, Limit, Point};
use crate::spelling::Spelled;

/// A column of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, in the file's first line.
    pub name: &'static str,
    /// The type of its cells, in words.
    pub kind: &'static str,
    /// What it means.
    pub meaning: String,
}

/// A row of a file.
pub trait Row: Sized {
    /// The columns, in the order of the file.
    fn columns() -> Vec<Column>;

    /// The cells, in the order of the columns.
    fn cells(&self) -> Vec<String>;

    /// Reads a row from its cells.
    ///
    /// # Errors
    /// A cell is not of its column's type, or a column is missing that every version has written.
    fn read(cells: &Cells<'_>) -> Result<Self, String>;
}

impl Column {
    /// A cell as JSON: empty cells are `null`, where the column may have any.
    fn json(&self, cell: &str) -> Value {
        match self.kind {
            _ if cell.is_empty() && self.kind != String::KIND => Value::Null,
            <u64 as Cell>::KIND => cell.parse::<u64>().map_or(Value::Null, Value::from),
            <f64 as Cell>::KIND => cell.parse::<f64>().map_or(Value::Null, Value::from),
            <bool as Cell>::KIND => Value::Bool(cell == "true"),
            _ => Value::from(cell),
        }
    }

    /// The type of [`Column::json`].
    fn json_type(&self) -> Value {
        match self.kind {
            <u64 as Cell>::KIND => json!(["integer", "null"]),
            <f64 as Cell>::KIND => json!(["number", "null"]),
            <bool as Cell>::KIND => json!(["boolean", "null"]),
            String::KIND => json!("string"),
            _ => json!(["string", "null"]),
        }
    }
}

/// Rows as JSON objects with a field a column.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Objects<T>(Vec<Value>, #[serde(skip)] PhantomData<T>);

impl<T: Row> Objects<T> {
    /// The objects of some rows.
    pub fn of(rows: &[T]) -> Self {
        let columns = T::columns();
        let object = |row: &T| -> Value {
            let cells = row.cells();
            columns
                .iter()
                .zip(&cells)
                .map(|(column, cell)| (column.name.to_owned(), column.json(cell)))
                .collect()
        };
        Objects(rows.iter().map(object).collect(), PhantomData)
    }
}

impl<T: Row> JsonSchema for Objects<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rows".into()
    }

    fn schema_id() -> Cow<'static, str> {
        std::any::type_name::<Self>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let columns = T::columns();
        let field = |column: &Column| (column.name, json!({"type": column.json_type(), "description": column.meaning}));
        let fields: serde_json::Map<String, Value> =
            columns.iter().map(field).map(|(name, field)| (name.to_owned(), field)).collect();
        let required: Vec<&str> = columns.iter().map(|column| column.name).collect();
        json_schema!({"type": "array", "items": {"type": "object", "properties": fields, "required": required}})
    }
}

/// The cells of one row, by column.
pub struct Cells<'a> {
    places: &'a HashMap<String, usize>,
    cells: &'a StringRecord,
}

impl<'a> Cells<'a> {
    /// `places` maps each column to its cell.
    pub fn new(places: &'a HashMap<String, usize>, cells: &'a StringRecord) -> Self {
        Cells { places, cells }
    }

    /// A column's cell; `None` if the file lacks the column.
    fn get(&self, column: &str) -> Option<&'a str> {
        self.cells.get(*self.places.get(column)?)
    }
}

/// What a field of a row becomes in the file: one column, or several.
pub trait Field: Sized {
    /// Its columns.
    fn columns(name: &'static str, meaning: &str) -> Vec<Column>;

    /// Adds its cells.
    fn write(&self, cells: &mut Vec<String>);

    /// Its value; `None` if the file lacks the column.
    ///
    /// # Errors
    /// A cell is not of the column's type.
    fn read(name: &'static str, cells: &Cells<'_>) -> Result<Option<Self>, String>;
}

/// A type whose values fit one cell.
pub trait Cell: Sized {
    /// Its type, in words.
    const KIND: &'static str;

    /// The cell.
    fn text(&self) -> String;

    /// The value of a cell.
    fn parse(text: &str) -> Option<Self>;

    /// The value for a file without the column, if it follows from the type.
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: Cell> Field for T {
    fn columns(name: &'static str, meaning: &str) -> Vec<Column> {
        vec![Column { name, kind: T::KIND, meaning: meaning.trim().to_owned() }]
    }

    fn write(&self, cells: &mut Vec<String>) {
        cells.push(self.text());
    }

    fn read(name: &'static str, cells: &Cells<'_>) -> Result<Option<Self>, String> {
        match cells.get(name) {
            None => Ok(T::absent()),
            Some(text) => T::parse(text).map(Some).ok_or_else(|| format!("{name}: {text:?} is not {}", T::KIND)),
        }
    }
}

impl Cell for String {
    const KIND: &'static str = "text";

    fn text(&self) -> String {
        self.clone()
    }

    fn parse(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

/// Implements [`Cell`] for types whose `Debug` form parses again.
macro_rules! plain {
    ($($type:ty: $kind:literal),+) => {
        $(
            impl Cell for $type {
                const KIND: &'static str = $kind;

                fn text(&self) -> String {
                    format!("{self:?}")
                }

                fn parse(text: &str) -> Option<Self> {
                    text.parse().ok()
                }
            }
        )+
    };
}

plain!(u32: "integer", u64: "integer", usize: "integer", f64: "number", bool: "true or false");

impl<T: Spelled> Cell for T {
    const KIND: &'static str = "word";

    fn text(&self) -> String {
        self.name().to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        T::spelled(text)
    }
}

impl<T: Cell> Cell for Option<T> {
    const KIND: &'static str = T::KIND;

    fn text(&self) -> String {
        self.as_ref().map_or(String::new(), T::text)
    }

    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() { Some(None) } else { T::parse(text).map(Some) }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// The case's tag, and one column an axis.
impl Field for Point {
    fn columns(name: &'static str, _: &str) -> Vec<Column> {
        let meaning = "The case's tag, by which rows, blocks, histograms and metrics are joined.".to_owned();
        let tag = Column { name, kind: String::KIND, meaning };
        let axis = |id: &AxisId| {
            let axis = id.axis();
            let kind = match axis.limit {
                Limit::Words(_) => "word",
                Limit::Names | Limit::Shapes => String::KIND,
                Limit::Whole(..) => u32::KIND,
                Limit::Number(..) => f64::KIND,
            };
            Column { name: axis.column, kind, meaning: axis.meaning.to_owned() }
        };
        [tag].into_iter().chain(AxisId::ALL.iter().map(axis)).collect()
    }

    fn write(&self, cells: &mut Vec<String>) {
        cells.push(self.tag());
        let text = |id: &AxisId| match self.get(*id) {
            // written like other columns of numbers
            Some(matrix::Value::Number(number)) => number.text(),
            value => value.map_or(String::new(), |value| value.to_string()),
        };
        cells.extend(AxisId::ALL.iter().map(text));
    }

    fn read(_: &'static str, cells: &Cells<'_>) -> Result<Option<Self>, String> {
        let mut point = Point::default();
        let mut has_connections = false;
        for id in AxisId::ALL {
            let axis = id.axis();
            let Some(text) = cells.get(axis.column).filter(|text| !text.is_empty()) else {
                match axis.is_always_written {
                    true => return Err(format!("there is no {}", axis.column)),
                    false => continue,
                }
            };
            let value = axis.limit.read(text, "");
            let value = value.map_err(|(expected, _)| format!("{}: {text:?} is not {expected}", axis.column))?;
            point.set(*id, &value);
            has_connections |= *id == AxisId::Connections;
        }
        if !has_connections {
            point.connections = point.concurrency;
        }
        Ok(Some(point))
    }
}

/// Declares a row of a file: its fields with their types and meanings. A field with a value takes it for files of
/// earlier versions, which lack its column.
macro_rules! columns {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])* pub $field:ident: $type:ty $(= $earlier:expr)?,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        #[allow(missing_docs)]
        pub struct $name { $($(#[doc = $doc])* pub $field: $type,)+ }

        impl $crate::record::column::Row for $name {
            fn columns() -> Vec<$crate::record::column::Column> {
                let mut columns = Vec::new();
                $(columns.extend(
                    <$type as $crate::record::column::Field>::columns(stringify!($field), concat!("", $($doc),*)));)+
                columns
            }

            fn cells(&self) -> Vec<String> {
                let mut cells = Vec::new();
                $($crate::record::column::Field::write(&self.$field, &mut cells);)+
                cells
            }

            fn read(cells: &$crate::record::column::Cells<'_>) -> Result<Self, String> {
                Ok($name {
                    $($field: {
                        let found = <$type as $crate::record::column::Field>::read(stringify!($field), cells)?;
                        $(let found = found.or_else(|| Some($earlier));)?
                        found.ok_or_else(|| format!("there is no column {}", stringify!($field)))?
                    },)+
                })
            }
        }
    };
}

pub(crate) use columns;
