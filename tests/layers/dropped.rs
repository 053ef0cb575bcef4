//! Foreign Python whose error is thrown away.
//!
//! A signal handler's KeyboardInterrupt or SystemExit comes up in whatever Python runs. Where one of our files asks the
//! host's Python for something and then drops the error, the host never hears of it: `.or_none()` is what keeps it.
//!
//! Types are not known here, so the last method that was called decides.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::modules::for_tests;

/// Methods of Python objects that may run the host's code. (Casts look at the type, and run none.)
const FOREIGN: &[&str] = &[
    "as_bool",
    "call",
    "call0",
    "call1",
    "call_method",
    "call_method0",
    "call_method1",
    "contains",
    "del_item",
    "delattr",
    "eq",
    "extract",
    "fully_qualified_name",
    "getattr",
    "getattr_opt",
    "get_item",
    "hasattr",
    "hash",
    "import",
    "is_instance",
    "is_subclass",
    "is_truthy",
    "len",
    "module",
    "name",
    "ne",
    "qualname",
    "repr",
    "set_item",
    "setattr",
    "str",
    "try_iter",
];

/// Methods that no `Option` has.
const OF_RESULTS: &[&str] = &["ok", "is_ok", "is_err", "is_ok_and", "is_err_and"];
/// Methods by which an error is dropped, if it is a `Result` that has them.
const OF_BOTH: &[&str] =
    &["map_or", "map_or_else", "or", "or_else", "unwrap_or", "unwrap_or_default", "unwrap_or_else"];
/// Methods that leave the error as it is.
const THROUGH: &[&str] = &["and_then", "as_ref", "map", "map_err", "transpose"];

/// What is extracted without asking the object: a `str` is one, and a pair is a tuple.
const NATIVE: &[&str] = &["String", "Bound", "Py", "PyRef"];

/// Line and text of each foreign call whose error is dropped.
pub fn dropped(source: &str) -> Vec<(usize, String)> {
    let mut reader = Reader { found: Vec::new() };
    reader.visit_file(&syn::parse_file(source).unwrap());
    let text = |at: usize| source.lines().nth(at - 1).unwrap_or_default().trim().to_owned();
    reader.found.sort_unstable();
    reader.found.dedup();
    reader.found.into_iter().map(|at| (at, text(at))).collect()
}

struct Reader {
    found: Vec<usize>,
}

impl Reader {
    fn drops(&mut self, from: &syn::Expr, at: Span) {
        if is_foreign(from) {
            self.found.push(at.start().line);
        }
    }
}

/// Whether the value of this expression is what the host's code gave, with its error.
fn is_foreign(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::MethodCall(call) => {
            let name = call.method.to_string();
            match name.as_str() {
                "extract" => call.turbofish.as_ref().is_none_or(|types| !types.args.iter().all(is_native)),
                // The receiver's error goes through, and so does that of what is called with its value.
                "and_then" => is_foreign(&call.receiver) || call.args.iter().any(gives_foreign),
                name if THROUGH.contains(&name) => is_foreign(&call.receiver),
                name => FOREIGN.contains(&name),
            }
        }
        syn::Expr::Reference(inner) => is_foreign(&inner.expr),
        syn::Expr::Paren(inner) => is_foreign(&inner.expr),
        syn::Expr::Tuple(tuple) => tuple.elems.iter().any(is_foreign),
        syn::Expr::Block(block) => match block.block.stmts.last() {
            Some(syn::Stmt::Expr(last, None)) => is_foreign(last),
            _ => false,
        },
        _ => false,
    }
}

fn gives_foreign(argument: &syn::Expr) -> bool {
    matches!(argument, syn::Expr::Closure(closure) if is_foreign(&closure.body))
}

fn is_native(argument: &syn::GenericArgument) -> bool {
    let syn::GenericArgument::Type(of) = argument else { return false };
    let named = |of: &syn::Type| match of {
        syn::Type::Path(path) => {
            path.path.segments.last().is_some_and(|last| NATIVE.iter().any(|name| last.ident == name))
        }
        _ => false,
    };
    match of {
        syn::Type::Tuple(tuple) => tuple.elems.iter().all(named),
        of => named(of),
    }
}

/// `Ok(...)`, alone or in a tuple.
fn is_ok(pattern: &syn::Pat) -> bool {
    match pattern {
        syn::Pat::TupleStruct(one) => one.path.is_ident("Ok"),
        syn::Pat::Tuple(tuple) => tuple.elems.iter().any(is_ok),
        _ => false,
    }
}

/// `Err(_)`, or anything at all.
fn is_err_of_anything(pattern: &syn::Pat) -> bool {
    match pattern {
        syn::Pat::TupleStruct(one) => one.path.is_ident("Err") && matches!(one.elems.first(), Some(syn::Pat::Wild(_))),
        syn::Pat::Or(either) => either.cases.iter().any(is_err_of_anything),
        pattern => matches!(pattern, syn::Pat::Wild(_)),
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let name = call.method.to_string();
        if OF_RESULTS.contains(&name.as_str()) || OF_BOTH.contains(&name.as_str()) {
            self.drops(&call.receiver, call.method.span());
        }
        // `map_err(said)` keeps it; a closure makes words of it, which nobody can raise.
        if name == "map_err" && matches!(call.args.first(), Some(syn::Expr::Closure(_))) {
            self.drops(&call.receiver, call.method.span());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_let(&mut self, tested: &'ast syn::ExprLet) {
        if is_ok(&tested.pat) {
            self.drops(&tested.expr, tested.span());
        }
        visit::visit_expr_let(self, tested);
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        if let Some(given) = &local.init
            && ((given.diverge.is_some() && is_ok(&local.pat)) || matches!(local.pat, syn::Pat::Wild(_)))
        {
            self.drops(&given.expr, local.span());
        }
        visit::visit_local(self, local);
    }

    fn visit_expr_match(&mut self, choice: &'ast syn::ExprMatch) {
        let of_results = choice.arms.iter().any(|arm| is_ok(&arm.pat));
        if of_results && choice.arms.iter().any(|arm| is_err_of_anything(&arm.pat)) {
            self.drops(&choice.expr, choice.span());
        }
        visit::visit_expr_match(self, choice);
    }
}

#[cfg(test)]
mod tests {
    fn lines(body: &str) -> Vec<usize> {
        super::dropped(&format!("fn f() {{\n{body}\n}}")).into_iter().map(|(line, _)| line - 1).collect()
    }

    #[test]
    fn each_way_to_drop_an_error_is_found() {
        for body in [
            "any.getattr(\"a\").ok();",
            "any.is_truthy().unwrap_or(false);",
            "any.str().map(|text| text.to_string()).unwrap_or_default();",
            "any.extract::<f64>().unwrap_or_else(|_| 0.0);",
            "get(any).and_then(|it| it.call0().ok());",
            "any.cast().and_then(|it| it.len()).is_ok();",
            "any.getattr(\"a\").map_err(|error| error.to_string())?;",
            "let _ = any.call0();",
            "let _ = py.import(\"a\").and_then(|it| it.getattr(\"b\"));",
            "if let Ok(it) = any.get_item(0) {}",
            "let Ok(it) = any.repr() else { return };",
            "let (Ok(a), Ok(b)) = (any.len(), other) else { return };",
            "match any.len() { Ok(length) => length, Err(_) => 0 };",
        ] {
            assert_eq!(lines(body), [1], "{body}");
        }
    }

    #[test]
    fn what_is_kept_or_runs_nothing_of_the_hosts_is_not() {
        for body in [
            "any.getattr(\"a\").or_none();",
            "any.is_truthy().or_none().unwrap_or(false);",
            "any.getattr(\"a\").map_err(said)?;",
            "any.getattr(\"a\")?;",
            "any.cast::<PyDict>().ok();",
            "any.extract::<String>().ok();",
            "pair.extract::<(Bound<'_, PyAny>, Py<PyAny>)>().ok();",
            "match any.len() { Ok(length) => length, Err(error) => said(error) };",
            "text.parse().ok();",
        ] {
            assert_eq!(lines(body), [0; 0], "{body}");
        }
    }
}
