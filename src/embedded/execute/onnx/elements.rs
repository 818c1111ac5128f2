//! The element types of ONNX files, and the engine's types for them.

use std::fmt;

use rten::DataType;

use crate::tensor::Datatype;

/// An element type of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Element(pub i32);

/// The format's number, its name, the protocol's type and the engine's.
const ELEMENTS: [(i32, &str, Option<Datatype>, Option<DataType>); 24] = {
    use DataType::{Float, Int8 as I8, Int32 as I32, UInt8 as U8};
    use Datatype::{Bf16, Bool, Bytes, Fp16, Fp32, Fp64, Int8, Int16, Int32, Int64, Uint8, Uint16, Uint32, Uint64};
    [
        (1, "FLOAT", Some(Fp32), Some(Float)),
        (2, "UINT8", Some(Uint8), Some(U8)),
        (3, "INT8", Some(Int8), Some(I8)),
        (4, "UINT16", Some(Uint16), None),
        (5, "INT16", Some(Int16), None),
        (6, "INT32", Some(Int32), Some(I32)),
        (7, "INT64", Some(Int64), Some(I32)),
        (8, "STRING", Some(Bytes), None),
        (9, "BOOL", Some(Bool), Some(I32)),
        (10, "FLOAT16", Some(Fp16), Some(Float)),
        (11, "DOUBLE", Some(Fp64), Some(Float)),
        (12, "UINT32", Some(Uint32), None),
        (13, "UINT64", Some(Uint64), None),
        (14, "COMPLEX64", None, None),
        (15, "COMPLEX128", None, None),
        (16, "BFLOAT16", Some(Bf16), None),
        (17, "FLOAT8E4M3FN", None, None),
        (18, "FLOAT8E4M3FNUZ", None, None),
        (19, "FLOAT8E5M2", None, None),
        (20, "FLOAT8E5M2FNUZ", None, None),
        (21, "UINT4", None, None),
        (22, "INT4", None, None),
        (23, "FLOAT4E2M1", None, None),
        (24, "FLOAT8E8M0", None, None),
    ]
};

impl Element {
    pub const FLOAT: Element = Element(1);
    pub const UINT8: Element = Element(2);
    pub const INT8: Element = Element(3);
    pub const INT32: Element = Element(6);
    pub const INT64: Element = Element(7);
    pub const BOOL: Element = Element(9);
    pub const FLOAT16: Element = Element(10);
    pub const DOUBLE: Element = Element(11);

    /// Whether it is one of the floating-point types that the engine holds in single precision.
    pub fn is_float(self) -> bool {
        matches!(self, Element::FLOAT | Element::FLOAT16 | Element::DOUBLE)
    }

    /// The type that the engine treats it as: FLOAT for floating point, INT32 for integers of more than eight bits.
    pub fn engine(self) -> Self {
        match self.held() {
            Some(DataType::Float) => Element::FLOAT,
            Some(DataType::Int32) => Element::INT32,
            _ => self,
        }
    }

    /// Whether it is an eight-bit integer.
    pub fn is_byte(self) -> bool {
        matches!(self, Element::INT8 | Element::UINT8)
    }

    /// The element type with the format's number.
    pub fn of(number: i32) -> Self {
        Element(number)
    }

    fn row(self) -> Option<&'static (i32, &'static str, Option<Datatype>, Option<DataType>)> {
        ELEMENTS.iter().find(|(number, ..)| *number == self.0)
    }

    /// The protocol's type, if it has one.
    pub fn datatype(self) -> Option<Datatype> {
        self.row().and_then(|(_, _, datatype, _)| *datatype)
    }

    /// The engine's type, if it has one.
    pub fn held(self) -> Option<DataType> {
        self.row().and_then(|(_, _, _, held)| *held)
    }
}

impl fmt::Display for Element {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row() {
            Some((_, name, ..)) => formatter.write_str(name),
            None => write!(formatter, "number {}", self.0),
        }
    }
}
