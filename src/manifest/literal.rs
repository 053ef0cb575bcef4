//! Reads the texts of Triton's keys: they hold what was given to a launch, as Python writes it. Nothing is evaluated.

use serde_json::{Map, Number, Value};

/// How deep values may nest.
const DEPTH: usize = 32;

/// Bytes of a key that are looked at from its end.
const TAIL: usize = 64 * 1024;

/// The options at the end of a key, in their order: `...{'num_warps': 4, 'debug': False}`. Up to Triton 3.2 the
/// dictionary stands in a tuple.
///
/// None: there is no dictionary of plain values there.
pub fn options(key: &str) -> Option<Vec<(String, Value)>> {
    let body = key.strip_suffix(')').filter(|body| body.ends_with('}')).unwrap_or(key);
    let from = body.len().saturating_sub(TAIL);
    // The first brace from which all to the end is one dictionary: the outermost.
    let braces = body.match_indices('{').filter(|(at, _)| *at >= from);
    braces.take(256).find_map(|(at, _)| {
        let mut reader = Reader { text: body.get(at..)?, depth: 0 };
        let pairs = reader.dictionary()?;
        reader.text.is_empty().then_some(pairs)
    })
}

/// The texts of a key's parameters (Triton 3.3 on): `[('*fp32', 'D'), ('i32', 1)]{...}`.
pub fn elements(key: &str) -> Option<Vec<&str>> {
    let mut elements = Vec::new();
    let (mut depth, mut quote, mut escaped, mut start) = (0usize, None, false, 1);
    if !key.starts_with('[') {
        return None;
    }
    for (at, character) in key.char_indices() {
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if character == open => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    elements.push(key.get(start..at)?.trim());
                    return Some(elements);
                }
            }
            (None, ',') if depth == 1 => {
                elements.push(key.get(start..at)?.trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

struct Reader<'a> {
    text: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn eat(&mut self, token: &str) -> bool {
        match self.text.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.text = rest;
                true
            }
            None => false,
        }
    }

    fn dictionary(&mut self) -> Option<Vec<(String, Value)>> {
        let mut pairs = Vec::new();
        self.eat("{").then_some(())?;
        while !self.eat("}") {
            if !pairs.is_empty() {
                self.eat(",").then_some(())?;
            }
            let key = self.string()?;
            self.eat(":").then_some(())?;
            pairs.push((key, self.value()?));
        }
        Some(pairs)
    }

    fn value(&mut self) -> Option<Value> {
        self.depth += 1;
        let value = if self.depth > DEPTH { None } else { self.one() };
        self.depth -= 1;
        value
    }

    fn one(&mut self) -> Option<Value> {
        self.text = self.text.trim_start();
        let next = self.text.chars().next()?;
        match next {
            '\'' | '"' => self.string().map(Value::from),
            '(' => self.sequence("(", ")").map(|items| tag("tuple", Value::Array(items))),
            '[' => self.sequence("[", "]").map(Value::Array),
            _ if self.eat("None") => Some(Value::Null),
            _ if self.eat("True") => Some(true.into()),
            _ if self.eat("False") => Some(false.into()),
            _ => self.number(),
        }
    }

    fn sequence(&mut self, open: &str, close: &str) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        self.eat(open).then_some(())?;
        while !self.eat(close) {
            if !items.is_empty() {
                self.eat(",").then_some(())?;
                // A tuple of one: `(1,)`.
                if self.eat(close) {
                    break;
                }
            }
            items.push(self.value()?);
        }
        Some(items)
    }

    fn number(&mut self) -> Option<Value> {
        let end =
            self.text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(self.text.len());
        let (text, rest) = self.text.split_at(end);
        let digits = text.strip_prefix('-').unwrap_or(text);
        let value = if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            integer(text)
        } else if digits.starts_with(|c: char| c.is_ascii_digit()) {
            Value::Number(Number::from_f64(text.parse().ok()?)?)
        } else {
            return None;
        };
        self.text = rest;
        Some(value)
    }

    /// As `repr` writes it.
    fn string(&mut self) -> Option<String> {
        self.text = self.text.trim_start();
        let quote = self.text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
        let mut characters = self.text.char_indices().skip(1);
        let mut string = String::new();
        while let Some((at, character)) = characters.next() {
            match character {
                _ if character == quote => {
                    self.text = self.text.get(at + 1..)?;
                    return Some(string);
                }
                '\\' => string.push(escape(&mut characters)?),
                _ => string.push(character),
            }
        }
        None
    }
}

fn escape(characters: &mut impl Iterator<Item = (usize, char)>) -> Option<char> {
    let digits = match characters.next()?.1 {
        'n' => return Some('\n'),
        'r' => return Some('\r'),
        't' => return Some('\t'),
        'x' => 2,
        'u' => 4,
        'U' => 8,
        plain => return Some(plain),
    };
    let code: String = characters.take(digits).map(|(_, digit)| digit).collect();
    char::from_u32(u32::from_str_radix(&code, 16).ok()?)
}

/// A whole number: JSON's own where every reader keeps it, else its digits under a tag.
pub fn integer(digits: &str) -> Value {
    const EXACT: i64 = 1 << 53;
    match digits.parse::<i64>() {
        Ok(number) if (-EXACT..=EXACT).contains(&number) => number.into(),
        _ => tag("int", digits.into()),
    }
}

/// A value under one tag.
pub fn tag(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_are_read_in_their_order_from_every_versions_key() {
        // 3.0, 3.6.
        let old = "*fp32Di32D((64, {'odd': '}'}), {'num_warps': 8, 'debug': None})";
        let new = r#"[('*fp32', 'D'), ('constexpr', "{'a': 1}")]{'num_warps': 8, 'debug': False, 'arch': "it's", 'x': (1, 2.5)}"#;
        assert_eq!(options(old).unwrap(), [("num_warps".to_owned(), json!(8)), ("debug".to_owned(), Value::Null)]);
        let read = options(new).unwrap();
        let names: Vec<_> = read.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["num_warps", "debug", "arch", "x"]);
        assert_eq!(read[2].1, json!("it's"));
        assert_eq!(read[3].1, json!({"tuple": [1, 2.5]}));
    }

    #[test]
    fn what_is_no_literal_is_no_option() {
        for key in
            ["", "{", "[]{'a': <object at 0x1>}", "[]{'a': f()}", "[]{a: 1}", "[]{'a': inf}", "[]{'a': 1", "{'a': 1}}"]
        {
            assert_eq!(options(key), None, "{key}");
        }
        assert_eq!(options("[]{}"), Some(Vec::new()));
        let deep = format!("{{'a': {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(options(&deep), None);
    }

    #[test]
    fn elements_are_told_apart_whatever_they_hold() {
        let key =
            r#"[('*fp32', 'D'), ('constexpr', "a, b)"), (('i32', 1), ('i32', None)), ('constexpr', 'it\'s')]{'a': 1}"#;
        let read = elements(key).unwrap();
        assert_eq!(read.len(), 4);
        assert_eq!(read[2], "(('i32', 1), ('i32', None))");
        assert_eq!(elements("*fp32D"), None);
        assert_eq!(elements("[('a"), None);
        assert_eq!(elements("]"), None);
    }

    #[test]
    fn whole_numbers_keep_every_digit() {
        assert_eq!(integer("9007199254740992"), json!(9_007_199_254_740_992_i64));
        assert_eq!(integer("9007199254740993"), json!({"int": "9007199254740993"}));
        assert_eq!(
            integer("-170141183460469231731687303715884105728")["int"],
            "-170141183460469231731687303715884105728"
        );
    }
}
