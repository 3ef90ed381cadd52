//! The rules by which the event schemas may change: every schema that was ever used stays readable (backward transitive
//! compatibility), because consumers are upgraded first and event topics are read again from their start.

use std::{collections::BTreeMap, fs};

use apache_avro::{Schema, schema_compatibility::SchemaCompatibility};
use schemas::codec::own_schemas;
use serde_json::{Value, json};

use super::history::folder;

/// The named types of a schema, by name, and the schema itself.
struct Types<'s> {
    root: &'s Value,
    named: BTreeMap<&'s str, &'s Value>,
}

impl<'s> Types<'s> {
    fn of(root: &'s Value) -> Self {
        let mut named = BTreeMap::new();
        collect(root, &mut named);
        Self { root, named }
    }

    /// Returns the definition of a type that is given by its name.
    fn resolve(&self, schema: &'s Value) -> &'s Value {
        schema.as_str().and_then(|name| self.named.get(name.rsplit('.').next()?)).unwrap_or(&schema)
    }
}

fn collect<'s>(schema: &'s Value, named: &mut BTreeMap<&'s str, &'s Value>) {
    match schema {
        Value::Object(members) => {
            if let (Some(name), Some("record" | "enum" | "fixed")) = (members.get("name"), kind(schema)) {
                named.insert(name.as_str().unwrap(), schema);
            }
            members.values().for_each(|member| collect(member, named));
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, named)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The kind of a schema: `record`, `union`, `int`, and so on.
fn kind(schema: &Value) -> Option<&str> {
    match schema {
        Value::String(name) => Some(name),
        Value::Array(_) => Some("union"),
        Value::Object(members) => members.get("type").and_then(|kind| match kind {
            Value::String(kind) => Some(kind.as_str()),
            nested => self::kind(nested),
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn fields(record: &Value) -> impl Iterator<Item = (&str, &Value)> {
    record["fields"].as_array().into_iter().flatten().map(|field| (field["name"].as_str().unwrap(), field))
}

/// Returns why data of one schema cannot be read as another, each with the path of the type. Unlike Avro, a symbol must not be removed
/// from an enum that has a default, because a consumer would read something else than was written.
fn faults((writer, writers): (&Value, &Types<'_>), (reader, readers): (&Value, &Types<'_>), path: &str) -> Vec<String> {
    let (from, to) = (writers.resolve(writer), readers.resolve(reader));
    let inner = |from: &Value, to: &Value, path: &str| faults((from, writers), (to, readers), path);
    if let Value::Array(branches) = from {
        return branches.iter().flat_map(|branch| inner(branch, to, path)).collect();
    }
    if let Value::Array(branches) = to {
        let readable = branches.iter().any(|branch| inner(from, branch, path).is_empty());
        let same = branches
            .iter()
            .map(|branch| readers.resolve(branch))
            .find(|branch| kind(branch) == kind(from) && branch.get("name") == from.get("name"));
        return match same {
            _ if readable => Vec::new(),
            Some(branch) => inner(from, branch, path),
            None => vec![format!("{path}: no branch reads {}", kind(from).unwrap_or_default())],
        };
    }
    let (Some(is), Some(becomes)) = (kind(from), kind(to)) else { return vec![format!("{path}: no type")] };
    let widened = [
        ("int", "long"),
        ("int", "float"),
        ("int", "double"),
        ("long", "float"),
        ("long", "double"),
        ("float", "double"),
        ("string", "bytes"),
        ("bytes", "string"),
    ];
    if is != becomes && !widened.contains(&(is, becomes)) {
        return vec![format!("{path}: {is} became {becomes}")];
    }
    if from.get("logicalType") != to.get("logicalType") {
        return vec![format!("{path}: another logical type")];
    }
    let of = |schema: &Value, member: &str| schema.get(member).cloned().unwrap_or_default();
    match is {
        "record" | "enum" | "fixed" if from["name"] != to["name"] || from.get("size") != to.get("size") => {
            vec![format!("{path}: {} became {}", from["name"], to["name"])]
        }
        "record" => fields(to)
            .flat_map(|(name, field)| {
                let path = format!("{path}.{name}");
                match fields(from).find(|(written, _)| *written == name) {
                    Some((_, written)) => inner(&written["type"], &field["type"], &path),
                    None if field.get("default").is_some() => Vec::new(),
                    None => vec![format!("{path}: was added without a default")],
                }
            })
            .collect(),
        "enum" => {
            let kept = to["symbols"].as_array().unwrap();
            let removed = from["symbols"].as_array().unwrap().iter().filter(|symbol| !kept.contains(symbol));
            removed.map(|symbol| format!("{path}: the symbol {symbol} was removed")).collect()
        }
        "array" => inner(&of(from, "items"), &of(to, "items"), &format!("{path}[]")),
        "map" => inner(&of(from, "values"), &of(to, "values"), &format!("{path}{{}}")),
        _ => Vec::new(),
    }
}

/// Whether a default is a value of its type. That of a union is one of its first branch.
fn is_default(default: &Value, schema: &Value, types: &Types<'_>) -> bool {
    let schema = types.resolve(schema);
    if let Value::Array(branches) = schema {
        return is_default(default, &branches[0], types);
    }
    match kind(schema).unwrap() {
        "null" => default.is_null(),
        "boolean" => default.is_boolean(),
        "int" => default.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        "long" => default.is_i64(),
        "float" | "double" => default.is_number(),
        "string" | "bytes" | "fixed" => default.is_string(),
        "enum" => schema["symbols"].as_array().unwrap().contains(default),
        "array" => default.as_array().is_some_and(|all| all.iter().all(|one| is_default(one, &schema["items"], types))),
        "map" => {
            default.as_object().is_some_and(|all| all.values().all(|one| is_default(one, &schema["values"], types)))
        }
        "record" => fields(schema).all(|(name, field)| {
            default
                .get(name)
                .or_else(|| field.get("default"))
                .is_some_and(|value| is_default(value, &field["type"], types))
        }),
        other => panic!("{other} is no type"),
    }
}

/// Each schema of this release with those of its history.
fn histories() -> Vec<(Value, Vec<(String, Value)>)> {
    let mut histories = Vec::new();
    for own in own_schemas().unwrap() {
        let word = own.name.rsplit('.').next().unwrap().to_lowercase();
        let mut history = Vec::new();
        for entry in fs::read_dir(folder()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_schema =
                name.split_once('-').is_some_and(|(of, rest)| of == word && rest.split('.').nth(1) == Some("avsc"));
            if is_schema {
                let text = fs::read_to_string(folder().join(&name)).unwrap();
                history.push((name, serde_json::from_str(&text).unwrap()));
            }
        }
        assert!(!history.is_empty(), "{word} has no history");
        histories.push((serde_json::from_str(own.text).unwrap(), history));
    }
    histories
}

#[test]
fn every_earlier_schema_is_readable_by_the_rules() {
    for (current, history) in histories() {
        for (name, earlier) in history {
            let (writers, readers) = (Types::of(&earlier), Types::of(&current));
            assert_eq!(faults((writers.root, &writers), (readers.root, &readers), ""), [""; 0], "{name}");
            // The library that resolves the schemas of other releases agrees.
            let [written, read] = [&earlier, &current].map(|schema| Schema::parse(schema).unwrap());
            SchemaCompatibility::can_read(&written, &read).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn every_field_has_a_doc_and_a_valid_default() {
    for (current, _) in histories() {
        let types = Types::of(&current);
        for (name, definition) in &types.named {
            assert!(definition["doc"].as_str().is_some_and(|doc| !doc.is_empty()), "{name} has no doc");
            for (field, declared) in fields(definition) {
                assert!(declared["doc"].as_str().is_some_and(|doc| !doc.is_empty()), "{name}.{field} has no doc");
                let is_valid = declared.get("default").is_none_or(|value| is_default(value, &declared["type"], &types));
                assert!(is_valid, "the default of {name}.{field} is no value of its type");
            }
        }
    }
}

#[test]
fn each_forbidden_change_is_noticed() {
    let earlier = json!({ "type": "record", "name": "R", "fields": [
        { "name": "number", "type": "long" },
        { "name": "at", "type": { "type": "long", "logicalType": "timestamp-micros" } },
        { "name": "kind", "type": { "type": "enum", "name": "E", "symbols": ["a", "b"], "default": "a" } },
        { "name": "parts", "type": { "type": "array", "items": { "type": "record", "name": "P", "fields": [
            { "name": "text", "type": ["null", "string"] }
        ]}}},
    ]});
    let changed = |pointer: &str, to: Value| {
        let mut current = earlier.clone();
        *current.pointer_mut(pointer).unwrap() = to;
        let (writers, readers) = (Types::of(&earlier), Types::of(&current));
        faults((writers.root, &writers), (readers.root, &readers), "R")
    };
    let part = "/fields/3/type/items";
    for (pointer, to, fault) in [
        ("/name", json!("S"), "R: \"R\" became \"S\""),
        ("/fields/0/type", json!("int"), "R.number: long became int"),
        ("/fields/0/name", json!("count"), "R.count: was added without a default"),
        ("/fields/1/type/logicalType", json!("timestamp-millis"), "R.at: another logical type"),
        ("/fields/2/type/symbols", json!(["a", "c"]), "R.kind: the symbol \"b\" was removed"),
        (&format!("{part}/fields/0/type"), json!("string"), "R.parts[].text: null became string"),
        (&format!("{part}/fields/0/type"), json!(["string", "int"]), "R.parts[].text: no branch reads null"),
        (&format!("{part}/name"), json!("Q"), "R.parts[]: \"P\" became \"Q\""),
    ] {
        assert_eq!(changed(pointer, to), [fault]);
    }
    for (pointer, to) in [
        ("/fields/0/type", json!("double")),
        ("/fields/0/type", json!(["null", "long"])),
        ("/fields/0", json!({ "name": "count", "type": "long", "default": 0 })),
        ("/fields/2/type/symbols", json!(["a", "b", "c"])),
        (&format!("{part}/fields/0/type"), json!(["null", "int", "string"])),
    ] {
        assert_eq!(changed(pointer, to), [""; 0], "{pointer}");
    }
    let types = Types::of(&earlier);
    for (default, schema, is_valid) in [
        (json!(null), json!(["null", "int"]), true),
        (json!(1), json!(["null", "int"]), false),
        (json!(3_000_000_000_i64), json!("int"), false),
        (json!(["x"]), json!({ "type": "array", "items": "string" }), true),
        (json!([1]), json!({ "type": "array", "items": "string" }), false),
        (json!("b"), json!("E"), true),
        (json!("z"), json!("E"), false),
    ] {
        let schema: &Value = Box::leak(Box::new(schema));
        assert_eq!(is_default(&default, schema, &types), is_valid, "{default} {schema}");
    }
}
