//! What it takes to compile a kernel again: which kernel, what its arguments were like, which options. Plain data, the
//! same in a line of a manifest and on a span event. Nothing in it is code: it names, and whoever reads it looks up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the schema. A reader skips lines of another one.
pub const SCHEMA: u32 = 1;

/// What was done, and so what doing it again means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// A kernel was compiled for these arguments.
    Specialization,
    /// Configurations were benchmarked, and one won.
    Tuning,
}

/// A kernel, so that another process finds its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KernelName {
    /// Module that defines it.
    pub module: String,
    /// Qualified name of its Python function.
    pub name: String,
    /// Its `__name__`, where that is another one than the qualified name's last part: generated kernels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// First 16 digits of the SHA-256 of its source: tells kernels under one name apart, and whether one was changed.
    #[serde(default)]
    pub source: String,
    /// The same of the runtime's own hash, which knows what the kernel calls and the globals it uses.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

impl KernelName {
    /// For people.
    pub fn shown(&self) -> &str {
        self.function.as_deref().unwrap_or_else(|| self.name.rsplit("<locals>.").next().unwrap_or(&self.name))
    }
}

/// What the compiler knew of one argument: its class, never a scalar's value.
///
/// In JSON each is one object, told by its first key: `{"pointer":"fp16","aligned":true}`, `{"one":"i32"}`,
/// `{"scalar":"i32","divisible":true}`, `{"constexpr":16}`, `{"none":true}`, `{"tuple":[...]}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Argument {
    /// A parameter that is declared as a constant.
    Constexpr {
        /// The constant: plain JSON, or one tag.
        constexpr: Value,
    },
    /// A constant that was passed for a plain parameter.
    Constant {
        /// The constant: plain JSON, or one tag.
        constant: Value,
    },
    /// `None` was passed.
    Absent {
        /// Always true.
        none: bool,
    },
    /// The number 1, which was compiled in.
    One {
        /// Its type.
        one: String,
    },
    /// A pointer.
    Pointer {
        /// Type of an element.
        pointer: String,
        /// Whether it was told to be read only.
        #[serde(default, rename = "const", skip_serializing_if = "is_false")]
        read_only: bool,
        /// Whether its address is a multiple of 16 bytes.
        #[serde(default, skip_serializing_if = "is_false")]
        aligned: bool,
        /// Whether the buffer is small enough for offsets of 32 bits (AMD).
        #[serde(default, skip_serializing_if = "is_false")]
        small: bool,
    },
    /// A number.
    Scalar {
        /// Its type.
        scalar: String,
        /// Whether it is a multiple of 16.
        #[serde(default, skip_serializing_if = "is_false")]
        divisible: bool,
        /// A parameter whose type is annotated was given something else than a whole number.
        #[serde(default, skip_serializing_if = "is_false")]
        unspecialized: bool,
    },
    /// A tensor descriptor.
    Descriptor {
        /// Type of an element, and block: `fp16[64, 64]`.
        descriptor: String,
    },
    /// A tuple.
    Tuple {
        /// Its members.
        tuple: Vec<Argument>,
        /// Module and qualified name, for a named tuple.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        class: Option<(String, String)>,
    },
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Argument {
    /// Its class in a kernel author's words: what a warm-up has, or has not.
    pub fn words(&self) -> String {
        match self {
            Argument::Constexpr { constexpr: value } | Argument::Constant { constant: value } => shown(value),
            Argument::Absent { .. } => "None".to_owned(),
            Argument::One { .. } => "1".to_owned(),
            Argument::Pointer { pointer, aligned: true, .. } => format!("*{pointer}"),
            Argument::Pointer { pointer, .. } => format!("*{pointer} unaligned"),
            Argument::Scalar { scalar, unspecialized: true, .. } => format!("{scalar} from another type"),
            Argument::Scalar { scalar, divisible, .. } if is_specialized(scalar) => {
                format!("{scalar} {}", if *divisible { "multiple of 16" } else { "other" })
            }
            Argument::Scalar { scalar, .. } => scalar.clone(),
            Argument::Descriptor { descriptor } => format!("descriptor {descriptor}"),
            Argument::Tuple { tuple, .. } => {
                format!("({})", tuple.iter().map(Argument::words).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// Only whole numbers are looked at for being multiples of 16.
fn is_specialized(scalar: &str) -> bool {
    scalar.starts_with(['i', 'u']) && !matches!(scalar, "i1" | "u1")
}

/// A constant for people: tags are taken off.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(flag) => if *flag { "True" } else { "False" }.to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Object(tag) => {
            let inside = ["constexpr", "int", "float", "dtype", "torch.dtype", "member"];
            match inside.iter().find_map(|name| tag.get(*name)) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => shown(other),
                None => match (tag.get("tuple"), tag.get("kernel").or_else(|| tag.get("dataclass"))) {
                    (Some(Value::Array(items)), _) => {
                        format!("({})", items.iter().map(shown).collect::<Vec<_>>().join(", "))
                    }
                    (_, Some(Value::Array(path))) => {
                        path.get(1).map(|name| shown(name).replace('"', "")).unwrap_or_default()
                    }
                    _ => Value::Object(tag.clone()).to_string(),
                },
            }
        }
    }
}

/// A tuning's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// The tuner's own key: values of the arguments that it names, then the types of all tensors.
    pub key: Vec<Value>,
    /// The configuration that won.
    pub best: Configuration,
    /// How many were benchmarked.
    #[serde(default)]
    pub benchmarked: u64,
}

/// A configuration of a tuner.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Constants of the kernel.
    pub kwargs: BTreeMap<String, Value>,
    /// Compile options.
    pub options: BTreeMap<String, Value>,
    /// Whether something runs before the kernel: code, which only a declared configuration has.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pre_hook: bool,
}

/// What it takes to do it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The schema's version.
    pub v: u32,
    /// What was done.
    pub kind: What,
    /// Who did it.
    pub runtime: String,
    /// Its version.
    #[serde(default)]
    pub runtime_version: String,
    /// For which device: `cuda:90:32`.
    #[serde(default)]
    pub target: String,
    /// The kernel.
    pub kernel: KernelName,
    /// Arguments in the order of the parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<(String, Argument)>,
    /// Options in the order they were given, which is part of the runtime's key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<(String, Value)>,
    /// First 16 digits of the SHA-256 of the runtime's key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// A tuning's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Tuning>,
    /// Compiled to be benchmarked. Only the configuration that won is worth compiling again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub tuned: bool,
    /// Why it cannot be done again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<String>,
    /// Rank of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<i64>,
    /// What the warm-up had: for each parameter its classes. Told with the first line of a kernel.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub had: BTreeMap<String, Vec<String>>,
}

impl Recipe {
    /// Of which nothing but the kernel is known.
    pub fn new(kind: What, runtime: impl Into<String>, kernel: KernelName) -> Self {
        Recipe {
            v: SCHEMA,
            kind,
            runtime: runtime.into(),
            runtime_version: String::new(),
            target: String::new(),
            kernel,
            arguments: Vec::new(),
            options: Vec::new(),
            key: String::new(),
            tuning: None,
            tuned: false,
            unsupported: None,
            rank: None,
            had: BTreeMap::new(),
        }
    }

    /// What two lines share that tell of the same thing. A tuning is another one on another device or version.
    pub fn identity(&self) -> String {
        let mut identity = serde_json::json!([
            self.kind,
            self.runtime,
            self.kernel.module,
            self.kernel.name,
            self.kernel.source,
            self.arguments,
            self.options,
            self.tuned,
            self.tuning.as_ref().map(|tuning| &tuning.key),
            self.unsupported.is_some().then_some(&self.key),
        ]);
        if let (What::Tuning, Some(parts)) = (self.kind, identity.as_array_mut()) {
            parts.push(Value::from(&*self.target));
            parts.push(Value::from(&*self.runtime_version));
        }
        identity.to_string()
    }

    /// Whether it was compiled for this configuration.
    pub fn is_of(&self, configuration: &Configuration) -> bool {
        let constant = |name: &str| {
            self.arguments.iter().find(|(known, _)| known == name).and_then(|(_, argument)| match argument {
                Argument::Constexpr { constexpr } => Some(constexpr),
                _ => None,
            })
        };
        let option = |name: &str| self.options.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let mut wanted = configuration.kwargs.iter().chain(&configuration.options);
        wanted.all(|(name, value)| match constant(name).or_else(|| option(name)) {
            Some(given) => given == value,
            None => value.is_null(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_told_by_its_first_key_and_comes_back_as_it_was() {
        for text in [
            r#"{"constexpr":null}"#,
            r#"{"constexpr":{"float":"inf"}}"#,
            r#"{"constant":{"kernel":["m","f","0"]}}"#,
            r#"{"none":true}"#,
            r#"{"one":"i32"}"#,
            r#"{"pointer":"fp16","aligned":true}"#,
            r#"{"pointer":"fp16","const":true}"#,
            r#"{"scalar":"i32","divisible":true}"#,
            r#"{"scalar":"fp32"}"#,
            r#"{"descriptor":"fp16[64, 64]"}"#,
            r#"{"tuple":[{"one":"i32"},{"tuple":[]}],"class":["m","C"]}"#,
        ] {
            let argument: Argument = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&argument).unwrap(), text);
        }
        assert!(serde_json::from_str::<Argument>(r#"{"import":"os"}"#).is_err());
    }

    #[test]
    fn a_fraction_comes_back_to_the_last_bit() {
        for number in [0.1, 1.0 / 3.0, 1e-45, 5e-324, 1.7976931348623157e308, 2.2250738585072014e-308] {
            let text = serde_json::to_string(&Argument::Constexpr { constexpr: Value::from(number) }).unwrap();
            let Argument::Constexpr { constexpr } = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
            assert_eq!(constexpr.as_f64().map(f64::to_bits), Some(f64::to_bits(number)));
        }
    }

    #[test]
    fn the_configuration_that_won_is_told_by_constants_and_options() {
        let mut recipe = Recipe::new(What::Specialization, "triton", KernelName::default());
        recipe.arguments = vec![("BLOCK".to_owned(), Argument::Constexpr { constexpr: 128.into() })];
        recipe.options = vec![("num_warps".to_owned(), 4.into())];
        let configuration = |block: i32, warps: i32| Configuration {
            kwargs: [("BLOCK".to_owned(), block.into())].into(),
            options: [("num_warps".to_owned(), warps.into()), ("maxnreg".to_owned(), Value::Null)].into(),
            pre_hook: false,
        };
        assert!(recipe.is_of(&configuration(128, 4)));
        assert!(!recipe.is_of(&configuration(256, 4)));
        assert!(!recipe.is_of(&configuration(128, 8)));
    }
}
