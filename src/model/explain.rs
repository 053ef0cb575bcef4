//! Why it compiled: which argument differs from the nearest specialization that was known, in a kernel author's words.
//! Pure: does no I/O, reads no clock, knows neither the OpenTelemetry SDK nor Python.

use std::fmt::{self, Arguments, Display, Formatter};

use crate::model::event::Cause;

/// What a kernel was compiled for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Specialization {
    /// In the order of the parameters.
    pub arguments: Vec<Argument>,
    /// Compile options by name (`num_warps`, ...).
    pub options: Vec<(String, String)>,
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Name of the parameter.
    pub name: String,
    /// What the compiler was told about its value.
    pub form: Form,
    /// What else it was told (`tt.pointer_range`), by name.
    pub hints: Vec<(String, String)>,
}

/// What the compiler knows of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// A compile-time constant, by its text.
    Constexpr(String),
    /// `None` was passed, and was compiled in.
    Absent,
    /// A pointer to elements of this type.
    Pointer {
        /// Type of an element.
        dtype: String,
        /// Whether its address is a multiple of 16 bytes.
        aligned: bool,
    },
    /// A whole number that is 1, and was compiled in.
    One,
    /// Any other value of this type.
    Scalar {
        /// Its type.
        dtype: String,
        /// Whether it is a multiple of 16.
        divisible: bool,
    },
}

/// What the compiler takes it for.
impl Display for Form {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Form::Constexpr(value) => write!(to, "{value} (constexpr)"),
            Form::Absent => to.write_str("None"),
            Form::Pointer { dtype, .. } => write!(to, "*{dtype}"),
            Form::One => to.write_str("1"),
            Form::Scalar { dtype, .. } => to.write_str(dtype),
        }
    }
}

/// Why a kernel was compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The kind of reason.
    pub cause: Cause,
    /// What differs from the nearest specialization known, one phrase each.
    pub changes: Vec<String>,
}

/// Phrases kept. A kernel author wants the nearest one, not a list of everything.
const PHRASES: usize = 16;

/// Explains `new` by the nearest of `known`, of which the first wins a tie: hand the most recent in first.
///
/// ```
/// use jitspan::model::explain::{Argument, Form, Specialization, explain};
///
/// let of = |divisible| Specialization {
///     arguments: vec![Argument {
///         name: "n".to_owned(),
///         form: Form::Scalar { dtype: "i32".to_owned(), divisible },
///         hints: Vec::new(),
///     }],
///     options: Vec::new(),
/// };
/// assert_eq!(explain(&of(false), [&of(true)]).changes, ["n: divisible by 16 -> not"]);
/// ```
pub fn explain<'a>(new: &Specialization, known: impl IntoIterator<Item = &'a Specialization>) -> Explanation {
    // Phrases are made for the nearest alone: of 10,000 they took 2.0 ms, and to count them takes 0.5.
    let mut nearest: Option<(usize, &Specialization)> = None;
    for known in known {
        let distance = distance(known, new);
        if nearest.as_ref().is_none_or(|(least, _)| distance < *least) {
            nearest = Some((distance, known));
        }
        if distance == 0 {
            break;
        }
    }
    let Some((_, nearest)) = nearest else {
        return Explanation { cause: Cause::FirstUse, changes: Vec::new() };
    };
    let mut changes = differences(nearest, new);
    if changes.len() > PHRASES {
        let omitted = changes.len() - PHRASES;
        changes.truncate(PHRASES);
        changes.push(format!("and {omitted} more"));
    }
    // Nothing that we know of differs, yet it was compiled: something we do not see does.
    Explanation { cause: Cause::NewSpecialization, changes }
}

/// Differences, and once more those arguments that the compiler sees as something else altogether: `n: 1 -> any` says
/// less than `dtype of n: i32 -> i64` does.
fn distance(from: &Specialization, to: &Specialization) -> usize {
    let mut count = 0;
    each_difference(from, to, &mut |_| count += 1);
    let pairs = to.arguments.iter().enumerate();
    let pairs = pairs.filter_map(|(at, argument)| Some((&counterpart(from, at, argument)?.form, &argument.form)));
    count + pairs.filter(|(from, to)| std::mem::discriminant(*from) != std::mem::discriminant(*to)).count()
}

/// What changed from one specialization to another, one phrase each.
pub fn differences(from: &Specialization, to: &Specialization) -> Vec<String> {
    let mut phrases = Vec::new();
    each_difference(from, to, &mut |phrase| phrases.push(phrase.to_string()));
    phrases
}

/// The argument of the same name: at the same place, unless the kernel was changed.
fn counterpart<'a>(of: &'a Specialization, at: usize, argument: &Argument) -> Option<&'a Argument> {
    let named = |known: &&Argument| known.name == argument.name;
    of.arguments.get(at).filter(named).or_else(|| of.arguments.iter().find(named))
}

type Say<'a> = &'a mut dyn FnMut(Arguments<'_>);

fn each_difference(from: &Specialization, to: &Specialization, say: Say<'_>) {
    for (at, argument) in to.arguments.iter().enumerate() {
        match counterpart(from, at, argument) {
            Some(known) => argument_changes(known, argument, say),
            None => say(format_args!("{}: new parameter", argument.name)),
        }
    }
    for (at, gone) in from.arguments.iter().enumerate() {
        if counterpart(to, at, gone).is_none() {
            say(format_args!("{}: parameter gone", gone.name));
        }
    }
    // An option that only one side knows was not asked about: the runtimes leave out what they do not use.
    for (name, value) in &to.options {
        if let Some((_, known)) = from.options.iter().find(|(known, _)| known == name)
            && known != value
        {
            say(format_args!("{name} {known} -> {value}"));
        }
    }
}

fn argument_changes(from: &Argument, to: &Argument, say: Say<'_>) {
    let name = &to.name;
    match (&from.form, &to.form) {
        (Form::Constexpr(from), Form::Constexpr(to)) => {
            if from != to {
                say(format_args!("{name}: {from} -> {to} (constexpr)"));
            }
        }
        (Form::Pointer { dtype: from, aligned: was }, Form::Pointer { dtype: to, aligned: is }) => {
            if from != to {
                say(format_args!("dtype of {name}: {from} -> {to}"));
            }
            match (was, is) {
                (true, false) => say(format_args!("{name}: aligned 16 -> unaligned")),
                (false, true) => say(format_args!("{name}: unaligned -> aligned 16")),
                _ => {}
            }
        }
        (Form::Scalar { dtype: from, divisible: was }, Form::Scalar { dtype: to, divisible: is }) => {
            if from != to {
                say(format_args!("dtype of {name}: {from} -> {to}"));
            }
            match (was, is) {
                (true, false) => say(format_args!("{name}: divisible by 16 -> not")),
                (false, true) => say(format_args!("{name}: not divisible by 16 -> divisible")),
                _ => {}
            }
        }
        (Form::One, Form::Scalar { divisible, .. }) => {
            say(format_args!("{name}: 1 -> {}", if *divisible { "divisible by 16" } else { "any" }));
        }
        (Form::Scalar { divisible, .. }, Form::One) => {
            say(format_args!("{name}: {} -> 1", if *divisible { "divisible by 16" } else { "any" }));
        }
        (from, to) if from == to => {}
        (from, to) => say(format_args!("{name}: {from} -> {to}")),
    }
    hint_changes(from, to, say);
}

fn hint_changes(from: &Argument, to: &Argument, say: Say<'_>) {
    // A constant carries no hints: that they are gone says nothing new.
    if std::mem::discriminant(&from.form) != std::mem::discriminant(&to.form) {
        return;
    }
    let of = |argument: &Argument, hint: &str| {
        argument.hints.iter().find(|(known, _)| known == hint).map_or("none".to_owned(), |(_, value)| value.clone())
    };
    let mut names: Vec<&String> = from.hints.iter().chain(&to.hints).map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    for hint in names {
        let (was, is) = (of(from, hint), of(to, hint));
        if was != is {
            say(format_args!("{} of {}: {was} -> {is}", hint.trim_start_matches("tt."), to.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn argument(name: &str, form: Form) -> Argument {
        Argument { name: name.to_owned(), form, hints: Vec::new() }
    }

    fn pointer(dtype: &str, aligned: bool) -> Form {
        Form::Pointer { dtype: dtype.to_owned(), aligned }
    }

    fn scalar(dtype: &str, divisible: bool) -> Form {
        Form::Scalar { dtype: dtype.to_owned(), divisible }
    }

    fn change(from: Form, to: Form) -> Vec<String> {
        let of = |form| Specialization { arguments: vec![argument("x", form)], options: Vec::new() };
        differences(&of(from), &of(to))
    }

    #[test]
    fn each_difference_is_said_in_a_kernel_authors_words() {
        let constant = |value: &str| Form::Constexpr(value.to_owned());
        let table = [
            (scalar("i32", true), scalar("i32", false), "x: divisible by 16 -> not"),
            (scalar("i32", false), scalar("i32", true), "x: not divisible by 16 -> divisible"),
            (scalar("i32", false), scalar("i64", false), "dtype of x: i32 -> i64"),
            (constant("256"), constant("512"), "x: 256 -> 512 (constexpr)"),
            (pointer("fp32", true), pointer("fp32", false), "x: aligned 16 -> unaligned"),
            (pointer("fp32", false), pointer("fp32", true), "x: unaligned -> aligned 16"),
            (pointer("fp16", true), pointer("bf16", true), "dtype of x: fp16 -> bf16"),
            (Form::One, scalar("i32", false), "x: 1 -> any"),
            (Form::One, scalar("i32", true), "x: 1 -> divisible by 16"),
            (scalar("i32", false), Form::One, "x: any -> 1"),
            (scalar("i32", true), Form::One, "x: divisible by 16 -> 1"),
            (Form::Absent, pointer("fp32", true), "x: None -> *fp32"),
            (pointer("fp32", true), Form::Absent, "x: *fp32 -> None"),
        ];
        for (from, to, phrase) in table {
            assert_eq!(change(from, to), [phrase]);
        }
    }

    #[test]
    fn options_and_hints_are_named() {
        let mut from = Specialization {
            arguments: vec![argument("x", pointer("fp32", true))],
            options: vec![("num_warps".to_owned(), "4".to_owned()), ("old".to_owned(), "1".to_owned())],
        };
        let mut to = from.clone();
        to.options = vec![("num_warps".to_owned(), "8".to_owned()), ("new".to_owned(), "1".to_owned())];
        from.arguments[0].hints = vec![("tt.pointer_range".to_owned(), "32".to_owned())];
        assert_eq!(differences(&from, &to), ["pointer_range of x: 32 -> none", "num_warps 4 -> 8"]);
    }

    #[test]
    fn the_nearest_specialization_explains() {
        let of = |n, block: &str| Specialization {
            arguments: vec![argument("n", n), argument("BLOCK", Form::Constexpr(block.to_owned()))],
            options: Vec::new(),
        };
        let known = [of(scalar("i64", true), "64"), of(scalar("i32", true), "128"), of(Form::One, "512")];
        let explanation = explain(&of(scalar("i32", false), "128"), &known);
        assert_eq!(explanation.changes, ["n: divisible by 16 -> not"]);
        assert_eq!(explanation.cause, Cause::NewSpecialization);
        assert_eq!(explain(&known[0], []).cause, Cause::FirstUse);
    }

    fn any_form() -> impl Strategy<Value = Form> {
        prop_oneof![
            "[0-9]{1,3}".prop_map(Form::Constexpr),
            Just(Form::Absent),
            Just(Form::One),
            ("fp16|fp32", any::<bool>()).prop_map(|(dtype, aligned)| Form::Pointer { dtype, aligned }),
            ("i32|i64", any::<bool>()).prop_map(|(dtype, divisible)| Form::Scalar { dtype, divisible }),
        ]
    }

    fn any_specialization() -> impl Strategy<Value = Specialization> {
        (prop::collection::vec(any_form(), 4), prop::collection::vec("[1248]", 2)).prop_map(|(forms, options)| {
            let arguments = ["a", "b", "c", "d"].iter().zip(forms).map(|(name, form)| argument(name, form));
            let options = ["num_warps", "num_stages"].iter().map(|name| (*name).to_owned()).zip(options);
            Specialization { arguments: arguments.collect(), options: options.collect() }
        })
    }

    proptest! {
        #[test]
        fn nothing_differs_from_itself(one in any_specialization()) {
            prop_assert_eq!(differences(&one, &one), Vec::<String>::new());
        }

        #[test]
        fn what_differs_is_said_both_ways(one in any_specialization(), other in any_specialization()) {
            prop_assert_eq!(differences(&one, &other).is_empty(), one == other);
            prop_assert_eq!(differences(&one, &other).len(), differences(&other, &one).len());
        }

        #[test]
        fn no_known_one_is_nearer(new in any_specialization(), known in prop::collection::vec(any_specialization(), 1..9)) {
            let explained = explain(&new, &known).changes;
            let nearest = known.iter().min_by_key(|known| distance(known, &new)).map(|known| differences(known, &new));
            prop_assert_eq!(Some(explained), nearest);
        }

        #[test]
        fn the_result_is_bounded(names in prop::collection::vec("[a-z]{1,4}", 0..64)) {
            let arguments = names.iter().map(|name| argument(name, Form::One)).collect();
            let new = Specialization { arguments, options: Vec::new() };
            prop_assert!(explain(&new, [&Specialization::default()]).changes.len() <= PHRASES + 1);
        }
    }
}
