//! Which file of `src/` uses which, read from the source with `syn`.
//!
//! A use is a `use`, or a path in code, in an attribute or in a macro's arguments, that leads into another file.
//! A re-export (`pub use`) is none: who reaches a name through it uses the file that has the name. So a `mod.rs` that
//! only declares and re-exports uses nothing and is used by nobody, and one that has code of its own is a file like any other.
//! What is compiled for tests alone does not count. A method that is called on a value names no file, and is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// One file uses another, at this line, by this path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    pub by: String,
    /// Whether that is the file that declares the other one.
    pub of_parent: bool,
    pub of: String,
    pub line: usize,
    pub path: String,
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{} uses {} ({})", self.by, self.line, self.of, self.path)
    }
}

#[derive(Default)]
struct Module {
    /// Under `src/`, with slashes.
    file: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
    /// What is defined here.
    items: BTreeSet<String>,
    /// What a `use` gives a name here.
    names: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    /// Paths that the code here has, to be resolved when all files are read.
    paths: Vec<(Vec<String>, usize)>,
}

/// Every file of a crate, from its `lib.rs` on.
#[derive(Default)]
pub struct Modules {
    modules: Vec<Module>,
}

impl Modules {
    pub fn read(source: &Path) -> Self {
        let mut read = Self::default();
        read.file(source, "lib.rs".to_owned(), PathBuf::new(), None);
        read
    }

    pub fn files(&self) -> BTreeSet<&str> {
        self.modules.iter().map(|module| module.file.as_str()).collect()
    }

    /// Each use of a file by another one.
    pub fn uses(&self) -> BTreeSet<Use> {
        let mut uses = BTreeSet::new();
        for (index, module) in self.modules.iter().enumerate() {
            for (path, line) in &module.paths {
                let Some(of) = self.resolve(index, path, 0).map(|found| &self.modules[found].file) else { continue };
                if *of != module.file {
                    let of_parent = *of == self.parent_file(index);
                    let (by, of) = (module.file.clone(), of.clone());
                    uses.insert(Use { by, of_parent, of, line: *line, path: path.join("::") });
                }
            }
        }
        uses
    }

    fn parent_file(&self, index: usize) -> &str {
        let file = &self.modules[index].file;
        let parents = std::iter::successors(self.modules[index].parent, |parent| self.modules[*parent].parent);
        parents.map(|parent| self.modules[parent].file.as_str()).find(|parent| parent != file).unwrap_or_default()
    }

    fn file(&mut self, source: &Path, file: String, folder: PathBuf, parent: Option<usize>) -> usize {
        let text = fs::read_to_string(source.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let index = self.modules.len();
        self.modules.push(Module { file, parent, ..Module::default() });
        self.items(source, index, &parsed.items, &folder);
        index
    }

    fn items(&mut self, source: &Path, index: usize, items: &[syn::Item], folder: &Path) {
        for item in items.iter().filter(|item| !for_tests(attributes(item))) {
            if let syn::Item::Mod(module) = item {
                let name = module.ident.to_string();
                let inner = folder.join(&name);
                let child = if let Some((_, items)) = &module.content {
                    let child = self.modules.len();
                    let file = self.modules[index].file.clone();
                    self.modules.push(Module { file, parent: Some(index), ..Module::default() });
                    self.items(source, child, items, &inner);
                    child
                } else {
                    let [single, of_a_folder] = [inner.with_extension("rs"), inner.join("mod.rs")];
                    let file = if source.join(&single).is_file() { single } else { of_a_folder };
                    self.file(source, file.to_str().unwrap().to_owned(), inner, Some(index))
                };
                self.modules[index].children.insert(name, child);
            } else {
                Reader(&mut self.modules[index]).visit_item(item);
                self.modules[index].items.extend(defined(item));
            }
        }
    }

    /// The module that has what this path names, seen from this one; None where it is another crate's.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        // Two globs that name each other have no end.
        if depth > 16 {
            return None;
        }
        let module = &self.modules[from];
        let (first, rest) = path.split_first()?;
        let root = match first.as_str() {
            "crate" => 0,
            "self" => from,
            "super" => module.parent?,
            _ => return self.within(from, path, depth),
        };
        self.within(root, rest, depth).or(Some(root))
    }

    fn within(&self, module: usize, path: &[String], depth: usize) -> Option<usize> {
        let here = &self.modules[module];
        let Some((first, rest)) = path.split_first() else { return Some(module) };
        if first == "super" {
            return self.within(here.parent?, rest, depth);
        }
        if let Some(child) = here.children.get(first) {
            // What a macro defines is not seen: it is where it was looked for.
            return self.within(*child, rest, depth).or(Some(*child));
        }
        if here.items.contains(first) || (first == "*" && rest.is_empty()) {
            return Some(module);
        }
        if let Some(named) = here.names.get(first) {
            // `use known;` in an edition that has it would name itself.
            if named.first() == Some(first) && named.len() == 1 {
                return None;
            }
            let whole: Vec<String> = named.iter().chain(rest).cloned().collect();
            return self.resolve(module, &whole, depth + 1);
        }
        here.globs.iter().find_map(|glob| {
            let target = self.resolve(module, glob, depth + 1)?;
            (target != module).then(|| self.within(target, path, depth + 1)).flatten()
        })
    }
}

/// Writes down what one item names.
struct Reader<'a>(&'a mut Module);

impl Reader<'_> {
    fn path(&mut self, path: Vec<String>, at: Span) {
        self.0.paths.push((path, at.start().line));
    }

    /// `a::b::c` among tokens that nobody has parsed.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut begin, mut colons) = (Span::call_site(), 0);
        for tree in tokens {
            match tree {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(name) if !path.is_empty() && colons == 2 => {
                    path.push(name.to_string());
                    colons = 0;
                }
                tree => {
                    if !path.is_empty() {
                        self.path(std::mem::take(&mut path), begin);
                    }
                    colons = 0;
                    match tree {
                        TokenTree::Ident(name) => (path, begin) = (vec![name.to_string()], name.span()),
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        _ => {}
                    }
                }
            }
        }
        if !path.is_empty() {
            self.path(path, begin);
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &[String], again: bool) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        let (path, name, at) = match tree {
            syn::UseTree::Path(path) => return self.tree(&path.tree, &with(&path.ident), again),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(tree, before, again));
                return;
            }
            syn::UseTree::Glob(glob) => {
                self.0.globs.push(before.to_vec());
                (before.to_vec(), None, glob.star_token.spans[0])
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                (before.to_vec(), before.last().cloned(), name.ident.span())
            }
            syn::UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string()), name.ident.span()),
            syn::UseTree::Rename(name) => (with(&name.ident), Some(name.rename.to_string()), name.ident.span()),
        };
        if !again {
            self.path(path.clone(), at);
        }
        if let Some(name) = name {
            self.0.names.insert(name, path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // `use some::Trait as _` names the file and gives no name that a path could begin with.
        let again = !matches!(item.vis, syn::Visibility::Inherited);
        self.tree(&item.tree, &[], again);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path(names, path.segments.first().map_or_else(Span::call_site, |segment| segment.ident.span()));
        visit::visit_path(self, path);
    }

    /// The `super` of `pub(super)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if let syn::Meta::List(list) = &attribute.meta {
            self.tokens(list.tokens.clone());
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }
}

/// `#[cfg(test)]`, `#[cfg(all(test, ...))]`, and loom's model.
pub fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        let words: Vec<String> =
            list.tokens.to_string().split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect();
        let has = |word: &str| words.iter().any(|found| found == word);
        attribute.path().is_ident("cfg") && !has("not") && !has("any") && (has("test") || has("jitspan_loom"))
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn defined(item: &syn::Item) -> Option<String> {
    let name = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
