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

    /// To look at. None: it is a list.
    pub fn seen(&self) -> Option<Seen<'_>> {
        match self {
            Value::Bool(value) => Some(Seen::Bool(*value)),
            Value::Int(value) => Some(Seen::Int(*value)),
            Value::Double(value) => Some(Seen::Double(*value)),
            Value::Text(text) => Some(Seen::Text(text)),
            Value::List(_) => None,
        }
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

/// A value that is looked at where it stands: its text is somebody else's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Seen<'a> {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Double(f64),
    /// Text.
    Text(&'a str),
    /// Text that is part of the program.
    Word(&'static str),
}

impl Seen<'_> {
    /// At most so many characters of a text.
    pub fn cut(self, length: Option<usize>) -> Self {
        match (self, length) {
            (Seen::Text(text) | Seen::Word(text), Some(length)) => Seen::Text(cut(text, length)),
            _ => self,
        }
    }
}

impl From<Seen<'_>> for Value {
    fn from(value: Seen<'_>) -> Self {
        match value {
            Seen::Bool(value) => Value::Bool(value),
            Seen::Int(value) => Value::Int(value),
            Seen::Double(value) => Value::Double(value),
            Seen::Text(text) => Value::from(text),
            Seen::Word(text) => Value::word(text),
        }
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
    pub(crate) fn add(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let key = key.into();
        debug_assert!(self.get(&key).is_none(), "{key} is there already");
        self.pairs.push((key, value.into()));
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
        self.dropped = self.dropped.saturating_add(other.dropped);
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

    /// Counts attributes that were not even read.
    pub(crate) fn drop(&mut self, count: usize) {
        self.dropped = self.dropped.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// How many the limits took away.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Cuts the list to `count` attributes and each text to `length` characters (OpenTelemetry's attribute limits).
    pub fn limit(&mut self, count: usize, length: Option<usize>) {
        if self.pairs.len() > count {
            self.drop(self.pairs.len() - count);
            self.pairs.truncate(count);
        }
        if let Some(length) = length {
            for (_, value) in &mut self.pairs {
                shorten(value, length);
            }
        }
    }
}

impl Serialize for Attributes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

fn shorten(value: &mut Value, length: usize) {
    match value {
        Value::Text(text) => {
            let short = cut(text, length);
            if short.len() < text.len() {
                *text = Cow::Owned(short.to_owned());
            }
        }
        Value::List(values) => values.iter_mut().for_each(|value| shorten(value, length)),
        _ => {}
    }
}

fn cut(text: &str, length: usize) -> &str {
    // A text has no more characters than bytes.
    if text.len() <= length {
        return text;
    }
    text.char_indices().nth(length).map_or(text, |(at, _)| &text[..at])
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
