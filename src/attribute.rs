//! Attributes: typed values under a name, bounded in number and length. Knows nothing of where they go.

use std::borrow::Cow;

use serde::Serialize;

/// A value on the wire. Numbers stay numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Double(f64),
    /// Text.
    Text(Cow<'static, str>),
    /// Several values of one kind.
    List(Vec<Value>),
}

impl Value {
    /// A text that is part of the program.
    pub const fn word(text: &'static str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}
impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}
impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Value::Double(value)
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(Cow::Owned(value))
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(Cow::Owned(value.to_owned()))
    }
}

/// An ordered list of attributes; a name set twice keeps its place and takes the later value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attributes {
    pairs: Vec<(Cow<'static, str>, Value)>,
    dropped: u32,
}

impl Attributes {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty list with room for `count`.
    pub fn with_capacity(count: usize) -> Self {
        Attributes { pairs: Vec::with_capacity(count), dropped: 0 }
    }

    /// Adds an attribute whose name is not in the list: it is not searched for.
    pub(crate) fn add(&mut self, key: &'static str, value: impl Into<Value>) {
        debug_assert!(self.get(key).is_none(), "{key} is there already");
        self.pairs.push((Cow::Borrowed(key), value.into()));
    }

    /// The same with a text that may be unknown.
    pub(crate) fn add_optional(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }

    /// Sets one attribute.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.pairs.iter_mut().find(|(known, _)| *known == key) {
            Some(pair) => pair.1 = value,
            None => self.pairs.push((key, value)),
        }
    }

    /// Sets a text.
    pub fn text(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        self.set(key, value.into());
    }

    /// Sets a truth value.
    pub fn bool(&mut self, key: impl Into<Cow<'static, str>>, value: bool) {
        self.set(key, value);
    }

    /// Sets a whole number.
    pub fn int(&mut self, key: impl Into<Cow<'static, str>>, value: i64) {
        self.set(key, value);
    }

    /// Sets a number with a fraction.
    pub fn double(&mut self, key: impl Into<Cow<'static, str>>, value: f64) {
        self.set(key, value);
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: &Attributes) {
        for (key, value) in &other.pairs {
            self.set(key.clone(), value.clone());
        }
        self.dropped += other.dropped;
    }

    /// The value under a name.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.pairs.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// In the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(key, value)| (&**key, value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// How many the limits took away.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Cuts the list to `count` attributes and each text to `length` characters (OpenTelemetry's attribute limits).
    pub fn limit(&mut self, count: usize, length: Option<usize>) {
        if self.pairs.len() > count {
            self.dropped += (self.pairs.len() - count) as u32;
            self.pairs.truncate(count);
        }
        if let Some(length) = length {
            for (_, value) in &mut self.pairs {
                shorten(value, length);
            }
        }
    }

    /// Bytes of its names and values.
    pub fn size(&self) -> usize {
        self.pairs.iter().map(|(key, value)| key.len() + size(value)).sum()
    }
}

impl Serialize for Attributes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::List(values) => values.iter().map(|value| size(value) + 8).sum(),
        _ => 8,
    }
}

fn shorten(value: &mut Value, length: usize) {
    match value {
        // A text has no more characters than bytes.
        Value::Text(text) if text.len() <= length => {}
        Value::Text(text) => {
            if let Some((at, _)) = text.char_indices().nth(length) {
                *text = Cow::Owned(text[..at].to_owned());
            }
        }
        Value::List(values) => values.iter_mut().for_each(|value| shorten(value, length)),
        _ => {}
    }
}

/// At most `length` characters of a text, with an ellipsis where it was cut.
pub fn bounded(text: &str, length: usize) -> Cow<'_, str> {
    if text.len() <= length {
        return Cow::Borrowed(text);
    }
    match text.char_indices().nth(length) {
        None => Cow::Borrowed(text),
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
    }
}
