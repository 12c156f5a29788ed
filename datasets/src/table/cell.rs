//! Cells of a Parquet column as JSON, and those that hold pictures as bytes and texts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use polars::prelude::*;
use serde_json::{Number, Value};

use super::RawPicture;

/// A cell as JSON, and whether it held a number that is none, for which JSON has no word: that is null. Bytes by themselves
/// have no JSON either and are null; inside a list or a struct (a conversation with its pictures) they are a data URL.
pub(super) fn cell(column: &Series, row: usize) -> PolarsResult<(Value, bool)> {
    let mut not_finite = false;
    let value = match column.get(row)? {
        AnyValue::Binary(_) | AnyValue::BinaryOwned(_) => Value::Null,
        _ => inner(column, row, &mut not_finite)?,
    };
    Ok((value, not_finite))
}

fn inner(column: &Series, row: usize, not_finite: &mut bool) -> PolarsResult<Value> {
    let value = column.get(row)?;
    Ok(match value {
        AnyValue::Null => Value::Null,
        AnyValue::Binary(bytes) => data_url(bytes),
        AnyValue::BinaryOwned(bytes) => data_url(&bytes),
        AnyValue::Boolean(value) => value.into(),
        AnyValue::String(text) => text.into(),
        AnyValue::UInt64(value) => value.into(),
        AnyValue::List(list) => {
            (0..list.len()).map(|index| inner(&list, index, not_finite)).collect::<PolarsResult<_>>()?
        }
        _ if column.dtype().is_struct() => {
            let fields = column.struct_()?.fields_as_series();
            let read = |field: &Series| Ok((field.name().to_string(), inner(field, row, not_finite)?));
            Value::Object(fields.iter().map(read).collect::<PolarsResult<_>>()?)
        }
        value if value.is_integer() => value.extract::<i64>().map_or(Value::Null, Value::from),
        value if value.is_float() => {
            let number = value.extract::<f64>().and_then(Number::from_f64);
            *not_finite |= number.is_none();
            number.map_or(Value::Null, Value::Number)
        }
        other => other.to_string().into(),
    })
}

fn data_url(bytes: &[u8]) -> Value {
    format!("data:;base64,{}", BASE64.encode(bytes)).into()
}

/// The pictures of a cell: bytes, a text, a struct of `bytes` and `path`, or a list of these. An error is what the
/// cell holds instead.
pub(super) fn raw_pictures(column: &Series, row: usize) -> std::result::Result<Vec<RawPicture>, String> {
    match column.get(row).map_err(|error| error.to_string())? {
        AnyValue::Null => Ok(Vec::new()),
        AnyValue::List(list) => {
            let each = (0..list.len()).map(|index| raw_pictures(&list, index));
            Ok(each.collect::<std::result::Result<Vec<_>, _>>()?.concat())
        }
        AnyValue::Binary(bytes) => Ok(vec![RawPicture::Bytes(bytes.to_vec())]),
        AnyValue::BinaryOwned(bytes) => Ok(vec![RawPicture::Bytes(bytes)]),
        AnyValue::String(text) => Ok(vec![RawPicture::Text(text.to_owned())]),
        _ if column.dtype().is_struct() => {
            // The bytes win; the path serves when they are null.
            let fields = column.struct_().map_err(|error| error.to_string())?;
            for name in ["bytes", "path"] {
                if let Ok(field) = fields.field_by_name(name) {
                    let found = raw_pictures(&field, row)?;
                    if !found.is_empty() {
                        return Ok(found);
                    }
                }
            }
            Err("a picture with neither `bytes` nor `path`".to_owned())
        }
        other => Err(format!("a value of type {}; bytes, a path or {{bytes, path}} is wanted", other.dtype())),
    }
}
