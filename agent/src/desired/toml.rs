//! Keys in a TOML document that somebody else wrote: comments, order and the way of writing stay.

use toml_edit::{InlineTable, Item, Table, Value};

/// The way to a key.
pub(super) type Path<'a> = &'a [&'a str];

/// What stands at `keys`.
pub(super) fn get<'a>(document: &'a Item, keys: Path) -> Option<&'a Item> {
    keys.iter().try_fold(document, |here, key| here.get(key))
}

/// Puts `value` at `keys`, with the tables on the way; what says the same already is left as it is written.
///
/// # Errors
/// Something on the way is no table.
pub(super) fn put(document: &mut Item, keys: Path, mut value: Value) -> Result<(), String> {
    let place = reach(document, keys)?;
    if let Some(found) = place.as_value_mut() {
        if same(found, &value) {
            return Ok(());
        }
        *value.decor_mut() = found.decor().clone();
        *found = value;
        return Ok(());
    }
    *place = Item::Value(value);
    Ok(())
}

/// Lays `over` on what stands at `keys`: tables merge, everything else replaces.
///
/// # Errors
/// Something on the way is no table.
pub(super) fn merge(document: &mut Item, keys: Path, over: &Item) -> Result<(), String> {
    let Some(table) = over.as_table_like() else {
        let place = reach(document, keys)?;
        *place = over.clone();
        return Ok(());
    };
    for (key, item) in table.iter() {
        merge(document, &[keys, &[key]].concat(), item)?;
    }
    Ok(())
}

/// The place of a key, made where it is not there.
fn reach<'a>(document: &'a mut Item, keys: Path) -> Result<&'a mut Item, String> {
    let mut here = document;
    for (depth, key) in keys.iter().enumerate() {
        let inline = here.is_value();
        let last = depth + 1 == keys.len();
        let Some(table) = here.as_table_like_mut() else {
            return Err(format!("`{}` is no table", keys[..depth].join(".")));
        };
        here = table.entry(key).or_insert_with(|| match (last, inline) {
            (true, _) => Item::None,
            (false, true) => Item::Value(Value::InlineTable(InlineTable::new())),
            (false, false) => {
                let mut table = Table::new();
                table.set_implicit(true);
                Item::Table(table)
            }
        });
    }
    Ok(here)
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.value() == b.value(),
        (Value::Boolean(a), Value::Boolean(b)) => a.value() == b.value(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => false,
    }
}
