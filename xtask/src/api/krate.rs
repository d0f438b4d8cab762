//! The modules of one crate as they stand in its sources, and what a name in one of them means.
//!
//! A small part of what a compiler does: paths are followed through modules and `use`. Macros are not
//! expanded, types are not inferred, and every `cfg` counts as set, but for those of tests.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use syn::ext::IdentExt;
use syn::{Attribute, Item, Meta, UseTree, Visibility};

use super::show::shown;

/// One crate, read.
pub(super) struct Crate {
    /// As it is written in code: with underscores.
    pub(super) name: String,
    /// The root is the first.
    pub(super) modules: Vec<Module>,
    /// The crates that it may name, as they are written in code.
    dependencies: Vec<String>,
}

#[derive(Default)]
pub(super) struct Module {
    parent: Option<usize>,
    /// What has to be set for it to be there, from the root on.
    pub(super) cfgs: Vec<String>,
    pub(super) items: Vec<Item>,
    /// By name, with whether it is public.
    pub(super) children: BTreeMap<String, (usize, bool)>,
    pub(super) uses: Vec<Use>,
}

/// One name that a `use` brings.
#[derive(Debug, Clone)]
pub(super) struct Use {
    /// The name, or `*` for all that there are.
    pub(super) name: String,
    pub(super) path: Vec<String>,
    pub(super) is_public: bool,
    pub(super) cfgs: Vec<String>,
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A module of this crate.
    Module(usize),
    /// Something in a module of this crate.
    Item(usize, String),
    /// Something of another crate, which comes first in the path.
    Foreign(Vec<String>),
}

impl Crate {
    /// Reads the crate whose root is this file.
    pub(super) fn read(
        name: &str,
        root: &Path,
        dependencies: Vec<String>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut krate = Self { name: name.to_owned(), modules: Vec::new(), dependencies };
        let items = parse(root)?;
        let folder = root.parent().ok_or("the root is in a folder")?;
        krate.add(None, Vec::new(), items, folder)?;
        Ok(krate)
    }

    /// Adds a module with these items, and those in it. `folder` has the files of the latter.
    fn add(
        &mut self,
        parent: Option<usize>,
        cfgs: Vec<String>,
        items: Vec<Item>,
        folder: &Path,
    ) -> Result<usize, Box<dyn Error>> {
        let index = self.modules.len();
        self.modules.push(Module { parent, cfgs: cfgs.clone(), ..Module::default() });
        for item in items {
            match item {
                Item::Mod(module) => {
                    let Some(own) = cfgs_of(&module.attrs) else { continue };
                    let name = module.ident.unraw().to_string();
                    let inner = folder.join(&name);
                    let is_public = is_public(&module.vis);
                    let items = match module.content {
                        Some((_, items)) => items,
                        None => parse(&file_of(folder, &name, &module.attrs)?)?,
                    };
                    let all = cfgs.iter().cloned().chain(own).collect();
                    let child = self.add(Some(index), all, items, &inner)?;
                    self.modules[index].children.insert(name, (child, is_public));
                }
                Item::Use(item) => {
                    let Some(cfgs) = cfgs_of(&item.attrs) else { continue };
                    let public = is_public(&item.vis);
                    flatten(&item.tree, &mut Vec::new(), &mut |name, path| {
                        let (path, cfgs) = (path.to_vec(), cfgs.clone());
                        let found = Use { name, path, is_public: public, cfgs };
                        self.modules[index].uses.push(found);
                    });
                }
                item => self.modules[index].items.push(item),
            }
        }
        Ok(index)
    }

    /// What `path` means in this module; `None` for what is not found: generic parameters, and
    /// what the prelude has.
    pub(super) fn resolve(&self, module: usize, path: &[String]) -> Option<Target> {
        self.resolve_within(module, path, 8)
    }

    /// `steps` bounds how many imports are followed, which may lead round in a circle.
    fn resolve_within(&self, module: usize, path: &[String], steps: u8) -> Option<Target> {
        let (first, rest) = path.split_first()?;
        let start = match first.as_str() {
            "crate" => Target::Module(0),
            "self" => Target::Module(module),
            "super" => Target::Module(self.modules[module].parent?),
            name => match self.find(module, name, steps) {
                Some(target) => target,
                None if self.dependencies.iter().any(|each| each == name) => {
                    Target::Foreign(vec![name.to_owned()])
                }
                None => return None,
            },
        };
        match start {
            Target::Module(inner) if !rest.is_empty() => self.resolve_in(inner, rest, steps),
            Target::Foreign(mut all) => {
                all.extend_from_slice(rest);
                Some(Target::Foreign(all))
            }
            // What comes after an item is a variant of it, or something associated.
            target => Some(target),
        }
    }

    /// As `resolve_within`, for a path that goes on in `module`: other crates are not in it.
    fn resolve_in(&self, module: usize, path: &[String], steps: u8) -> Option<Target> {
        match path[0].as_str() {
            "super" | "self" => self.resolve_within(module, path, steps),
            name => match (self.find(module, name, steps)?, &path[1..]) {
                (Target::Module(inner), rest) if !rest.is_empty() => {
                    self.resolve_in(inner, rest, steps)
                }
                (Target::Foreign(mut all), rest) => {
                    all.extend_from_slice(rest);
                    Some(Target::Foreign(all))
                }
                (target, _) => Some(target),
            },
        }
    }

    /// What is called `name` in this module.
    fn find(&self, module: usize, name: &str, steps: u8) -> Option<Target> {
        let within = &self.modules[module];
        if let Some((child, _)) = within.children.get(name) {
            return Some(Target::Module(*child));
        }
        if within.items.iter().any(|item| name_of(item).is_some_and(|it| it == name)) {
            return Some(Target::Item(module, name.to_owned()));
        }
        let steps = steps.checked_sub(1)?;
        let is_itself = |it: &Use| it.path == [name];
        if let Some(found) = within.uses.iter().find(|it| it.name == name && !is_itself(it)) {
            return self.resolve_within(module, &found.path, steps);
        }
        let globs = within.uses.iter().filter(|it| it.name == "*");
        globs
            .filter_map(|it| match self.resolve_within(module, &it.path, steps)? {
                Target::Module(inner) if inner != module => self.find(inner, name, steps),
                _ => None,
            })
            .next()
    }
}

/// What has to be set for what has these attributes to be there; `None` for tests only.
pub(super) fn cfgs_of(attributes: &[Attribute]) -> Option<Vec<String>> {
    let mut cfgs = Vec::new();
    for attribute in attributes.iter().filter(|it| it.path().is_ident("cfg")) {
        let Meta::List(list) = &attribute.meta else { continue };
        let cfg = shown(list.tokens.clone());
        if matches!(cfg.as_str(), "test" | "doctest" | "doc") || cfg.starts_with("all(test") {
            return None;
        }
        cfgs.push(cfg);
    }
    Some(cfgs)
}

pub(super) fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// The name of what can be named.
pub(super) fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(it) => &it.ident,
        Item::Enum(it) => &it.ident,
        Item::Fn(it) => &it.sig.ident,
        Item::Static(it) => &it.ident,
        Item::Struct(it) => &it.ident,
        Item::Trait(it) => &it.ident,
        Item::Type(it) => &it.ident,
        Item::Union(it) => &it.ident,
        _ => return None,
    };
    Some(ident.unraw().to_string())
}

fn parse(path: &Path) -> Result<Vec<Item>, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let file = syn::parse_file(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(file.items)
}

/// The file of a module that is declared in a file whose modules are in `folder`.
fn file_of(folder: &Path, name: &str, attributes: &[Attribute]) -> Result<PathBuf, String> {
    if attributes.iter().any(|it| it.path().is_ident("path")) {
        return Err(format!("module {name}: only modules of tests may be elsewhere"));
    }
    let flat = folder.join(format!("{name}.rs"));
    Ok(if flat.exists() { flat } else { folder.join(name).join("mod.rs") })
}

/// Calls `each` with every name that a `use` brings, and its path.
fn flatten(tree: &UseTree, path: &mut Vec<String>, each: &mut impl FnMut(String, &[String])) {
    match tree {
        UseTree::Path(step) => {
            path.push(step.ident.unraw().to_string());
            flatten(&step.tree, path, each);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            each(path.last().cloned().unwrap_or_default(), path);
        }
        UseTree::Name(name) => {
            let name = name.ident.unraw().to_string();
            path.push(name.clone());
            each(name, path);
            path.pop();
        }
        UseTree::Rename(rename) => {
            let of_self = rename.ident == "self";
            if !of_self {
                path.push(rename.ident.unraw().to_string());
            }
            each(rename.rename.unraw().to_string(), path);
            if !of_self {
                path.pop();
            }
        }
        UseTree::Glob(_) => each("*".into(), path),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, path, each)),
    }
}
