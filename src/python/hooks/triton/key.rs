//! What only the key of a kernel tells, from 3.3 on: that a parameter with a type of its own (`n: tl.int32`) was 1.
//!
//! Triton compiles a kernel of its own for it, as for a parameter without. But its signature says `i32` and no hint goes
//! with it, as with any number; up to 3.2 it is a constant.
//!
//! A key is what Python writes of a list of pairs, one for each parameter, with the options behind it:
//! `[('*fp32', 'D'), ('i32', 1), ('constexpr', 128)]{'debug': False}`. A constant among them may be anything's `repr`.

/// The index of each parameter that is 1 though it has a type of its own. None: what stands there
/// is not this list, or cannot be told apart.
pub fn ones(key: &str, parameters: usize) -> Option<Vec<usize>> {
    let items = items(key)?;
    let is_one = |(_, item): &(usize, &str)| {
        let pair = item.strip_prefix("('").and_then(|pair| pair.strip_suffix("', 1)"));
        pair.is_some_and(|kind| kind != "constexpr" && kind.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    };
    (items.len() == parameters).then(|| items.into_iter().enumerate().filter(is_one).map(|(index, _)| index).collect())
}

/// The items of the list that a text begins with.
fn items(text: &str) -> Option<Vec<&str>> {
    let text = text.strip_prefix('[')?;
    let (mut items, mut began, mut depth, mut quote, mut escaped) = (Vec::new(), 0, 0_usize, None, false);
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(end), _) => quote = (byte != end).then_some(end),
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'(' | b'[' | b'{') => depth += 1,
            (None, b']') if depth == 0 => {
                let last = text.get(began..at)?.trim();
                items.extend((!last.is_empty()).then_some(last));
                return Some(items);
            }
            (None, b')' | b']' | b'}') => depth = depth.checked_sub(1)?,
            (None, b',') if depth == 0 => {
                items.push(text.get(began..at)?.trim());
                began = at + 1;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_parameter_with_a_type_of_its_own_that_is_1_is_found() {
        let key =
            "[('*fp32', 'D'), ('i32', 1), ('i64', 'D'), ('u8', 1), ('constexpr', 1), ('i32', '')]{'debug': False}";
        assert_eq!(ones(key, 6), Some(vec![1, 3]));
        assert_eq!(ones("[('i32', 1)]", 1), Some(vec![0]));
        assert_eq!(ones("[]{'debug': 1}", 0), Some(vec![]));
    }

    #[test]
    fn constants_may_be_anything() {
        let key =
            r#"[('constexpr', "it's ), ['"), ('constexpr', 'a\', 1), ('), ((('i32', 'D'), 1), (1, '')), ('i32', 1)]"#;
        assert_eq!(ones(key, 4), Some(vec![3]));
        let layout = "[('constexpr', Layout(order=[0, 1], of={'a': (1,)})), ('i32', 1)]{}";
        assert_eq!(ones(layout, 2), Some(vec![1]));
    }

    #[test]
    fn what_cannot_be_told_apart_says_nothing() {
        for key in ["", "[", "('i32', 1)", "[('constexpr', it's), ('i32', 1)]", "*fp32i32D", "[)]", "[('i32', 1)"] {
            assert_eq!(ones(key, 2), None, "{key}");
        }
        assert_eq!(ones("[('i32', 1), ('constexpr', a, b)), ('i32', 1)]", 3), None);
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(key in ".{0,200}", parameters in 0..4_usize) {
            let found = ones(&key, parameters).unwrap_or_default();
            prop_assert!(found.into_iter().all(|index| index < parameters));
        }
    }
}
