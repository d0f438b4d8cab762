//! What users of a crate can name: its public items by their paths, one line each.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{
    Attribute, Fields, FnArg, Generics, ImplItem, Item, ItemImpl, Meta, Pat, Signature, TraitItem,
    Type,
};

use super::krate::{Crate, Target, cfgs_of, is_public, name_of};
use super::show::{shown, words};

/// The public part of a crate.
#[derive(Debug, Default)]
pub(super) struct Surface {
    /// What there is, sorted.
    pub(super) lines: BTreeSet<String>,
    /// The other crates of which something stands in it, each with one line that shows it.
    pub(super) foreign: BTreeMap<String, String>,
}

/// A path under which something can be named, and what has to be set for that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    path: Vec<String>,
    cfgs: BTreeSet<String>,
}

impl Surface {
    pub(super) fn of(krate: &Crate) -> Self {
        let mut writer = Writer { krate, surface: Self::default(), places: BTreeMap::new() };
        let root = Place { path: vec![krate.name.clone()], cfgs: BTreeSet::new() };
        writer.visit(0, &root, &mut Vec::new());
        writer.write();
        writer.surface
    }
}

struct Writer<'a> {
    krate: &'a Crate,
    surface: Surface,
    /// Where each item can be named.
    places: BTreeMap<Target, BTreeSet<Place>>,
}

/// A declaration that is about to become a line.
struct Line<'a> {
    /// The module in which it stands.
    module: usize,
    path: &'a str,
    cfgs: &'a BTreeSet<String>,
}

impl Writer<'_> {
    /// Finds what is public in `module`, which can be named at `place`. `within` has the modules on
    /// the way, which may lead round in a circle.
    fn visit(&mut self, module: usize, place: &Place, within: &mut Vec<usize>) {
        if within.contains(&module) {
            return;
        }
        within.push(module);
        let krate = self.krate;
        let current = &krate.modules[module];
        for item in &current.items {
            let (Some(name), Some((attributes, true))) = (name_of(item), head(item)) else {
                continue;
            };
            let Some(cfgs) = cfgs_of(attributes) else { continue };
            self.place(Target::Item(module, name.clone()), extended(place, Some(&name), &cfgs));
        }
        for (name, &(child, public)) in &current.children {
            if public {
                let place = extended(place, Some(name), &krate.modules[child].cfgs);
                self.add(&place, "pub mod", module, &TokenStream::new());
                self.visit(child, &place, within);
            }
        }
        for found in current.uses.iter().filter(|it| it.is_public) {
            let name = (found.name != "*").then_some(found.name.as_str());
            let place = extended(place, name, &found.cfgs);
            match krate.resolve(module, &found.path) {
                Some(Target::Module(inner)) => self.visit(inner, &place, within),
                Some(Target::Foreign(path)) => {
                    let all = if name.is_none() { "::*" } else { "" };
                    let text = format!("pub use {}{all}", path.join("::"));
                    self.note_foreign(&path[0], &format!("{}: {text}", place.path.join("::")));
                    self.line(&place.path.join("::"), &place.cfgs, &text);
                }
                Some(target) => self.place(target, place),
                None => {}
            }
        }
        within.pop();
    }

    fn place(&mut self, target: Target, place: Place) {
        self.places.entry(target).or_default().insert(place);
    }

    /// Where `target` is best named: by the shortest path.
    fn best(&self, target: &Target) -> Option<&Place> {
        self.places.get(target)?.iter().min_by_key(|it| (it.path.len(), *it))
    }

    fn write(&mut self) {
        let krate = self.krate;
        for (target, places) in self.places.clone() {
            let Target::Item(module, name) = &target else { continue };
            let Some(best) = self.best(&target).cloned() else { continue };
            for other in places.iter().filter(|it| **it != best) {
                let text = format!("pub use {}", best.path.join("::"));
                self.line(&other.path.join("::"), &other.cfgs, &text);
            }
            let items = krate.modules[*module].items.iter();
            for item in items.filter(|item| name_of(item).as_ref() == Some(name)) {
                self.item(*module, item, &best);
            }
        }
        for (module, within) in krate.modules.iter().enumerate() {
            for item in &within.items {
                if let Item::Impl(item) = item {
                    self.implementation(module, item);
                }
            }
        }
    }

    fn item(&mut self, module: usize, item: &Item, place: &Place) {
        let path = place.path.join("::");
        let at = Line { module, path: &path, cfgs: &place.cfgs };
        match item {
            Item::Struct(it) => {
                let marks = marks(&it.attrs);
                let hidden = it.fields.iter().any(|field| !is_public(&field.vis));
                let rest = if hidden { quote!({ .. }) } else { TokenStream::new() };
                let (name, generics, bounds) = (&it.ident, &it.generics, &it.generics.where_clause);
                self.declare(&at, &quote!(#marks pub struct #name #generics #bounds #rest));
                self.fields(&at, &it.fields, true);
                self.derives(&at, &it.attrs, &it.generics);
            }
            Item::Enum(it) => {
                let marks = marks(&it.attrs);
                let (name, generics, bounds) = (&it.ident, &it.generics, &it.generics.where_clause);
                self.declare(&at, &quote!(#marks pub enum #name #generics #bounds));
                for variant in &it.variants {
                    let Some(cfgs) = cfgs_of(&variant.attrs) else { continue };
                    let place = extended(place, Some(&variant.ident.to_string()), &cfgs);
                    let path = place.path.join("::");
                    let at = Line { module, path: &path, cfgs: &place.cfgs };
                    let (marks, name) = (self::marks(&variant.attrs), &variant.ident);
                    let value = variant.discriminant.as_ref().map(|(_, value)| quote!(= #value));
                    self.declare(&at, &quote!(#marks variant #name #value));
                    self.fields(&at, &variant.fields, false);
                }
                self.derives(&at, &it.attrs, &it.generics);
            }
            Item::Trait(it) => {
                let (name, generics, bounds) = (&it.ident, &it.generics, &it.generics.where_clause);
                let (supers, safety) = (&it.supertraits, &it.unsafety);
                let colon = (!supers.is_empty()).then(|| quote!(:));
                let head = quote!(pub #safety trait #name #generics #colon #supers #bounds);
                self.declare(&at, &head);
                for item in &it.items {
                    self.trait_item(module, item, place);
                }
            }
            Item::Fn(it) => {
                let (marks, signature) = (marks(&it.attrs), signature(&it.sig));
                self.declare(&at, &quote!(#marks pub #signature));
            }
            Item::Const(it) => {
                let (name, kind) = (&it.ident, &it.ty);
                self.declare(&at, &quote!(pub const #name: #kind));
            }
            Item::Static(it) => {
                let (name, kind) = (&it.ident, &it.ty);
                self.declare(&at, &quote!(pub static #name: #kind));
            }
            Item::Type(it) => {
                let (name, generics, kind) = (&it.ident, &it.generics, &it.ty);
                self.declare(&at, &quote!(pub type #name #generics = #kind));
            }
            other => self.declare(&at, &other.to_token_stream()),
        }
    }

    fn trait_item(&mut self, module: usize, item: &TraitItem, place: &Place) {
        let (name, attributes, text) = match item {
            TraitItem::Fn(it) => {
                let given = if it.default.is_some() { quote!(provided) } else { quote!(required) };
                let signature = signature(&it.sig);
                (&it.sig.ident, &it.attrs, quote!(#given #signature))
            }
            TraitItem::Type(it) => {
                let (name, generics, bounds) = (&it.ident, &it.generics, &it.bounds);
                let colon = (!bounds.is_empty()).then(|| quote!(:));
                let last = &it.generics.where_clause;
                (&it.ident, &it.attrs, quote!(type #name #generics #colon #bounds #last))
            }
            TraitItem::Const(it) => {
                let (name, kind) = (&it.ident, &it.ty);
                (&it.ident, &it.attrs, quote!(const #name: #kind))
            }
            _ => return,
        };
        let Some(cfgs) = cfgs_of(attributes) else { return };
        self.add(&extended(place, Some(&name.to_string()), &cfgs), "", module, &text);
    }

    /// A line for each field that users can name.
    fn fields(&mut self, at: &Line<'_>, fields: &Fields, only_public: bool) {
        for (index, field) in fields.iter().enumerate() {
            let Some(cfgs) = cfgs_of(&field.attrs) else { continue };
            if only_public && !is_public(&field.vis) {
                continue;
            }
            let name = field.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
            let place = Place { path: vec![at.path.to_owned()], cfgs: at.cfgs.clone() };
            let kind = &field.ty;
            self.add(&extended(&place, Some(&name), &cfgs), "field", at.module, &quote!(#kind));
            // thiserror makes a conversion of it.
            if field.attrs.iter().any(|it| it.path().is_ident("from")) {
                let to = at.path.rsplit("::").nth(1).unwrap_or_default();
                let text = format!("impl From<{}> for {to}", shown(quote!(#kind)));
                let path = at.path.rsplit_once("::").map_or(at.path, |(path, _)| path);
                self.line(path, at.cfgs, &text);
            }
        }
    }

    /// A line for each trait that is derived.
    fn derives(&mut self, at: &Line<'_>, attributes: &[Attribute], generics: &Generics) {
        let name = at.path.rsplit("::").next().unwrap_or_default();
        let (_, arguments, _) = generics.split_for_impl();
        let name = format!("{name}{}", shown(quote!(#arguments)));
        for attribute in attributes.iter().filter(|it| it.path().is_ident("derive")) {
            let Meta::List(list) = &attribute.meta else { continue };
            for derived in shown(list.tokens.clone()).split(", ") {
                let path: Vec<_> = derived.split("::").map(str::to_owned).collect();
                let text = format!("derive {derived} for {name}");
                match self.krate.resolve(at.module, &path) {
                    // Its trait is the standard library's.
                    Some(Target::Foreign(path)) if path[0] == "thiserror" => {}
                    Some(Target::Foreign(path)) => {
                        self.note_foreign(&path[0], &format!("{}: {text}", at.path));
                    }
                    _ => {}
                }
                self.line(at.path, at.cfgs, &text);
            }
        }
    }

    fn implementation(&mut self, module: usize, item: &ItemImpl) {
        let Some(mut cfgs) = cfgs_of(&item.attrs) else { return };
        cfgs.extend(self.krate.modules[module].cfgs.iter().cloned());
        let own = self.target(module, &item.self_ty.to_token_stream());
        let (generics, kind, bounds) = (&item.generics, &item.self_ty, &item.generics.where_clause);
        let Some((of, _)) = &item.trait_ else {
            let Some(place) = own.and_then(|own| self.best(&own)).cloned() else { return };
            let note = quote!(in impl #generics #kind #bounds);
            for item in &item.items {
                self.inherent_item(module, item, &extended(&place, None, &cfgs), &note);
            }
            return;
        };
        // What is not public cannot be used, and so does not count.
        let of_target = self.target(module, &of.to_token_stream());
        let known: Vec<_> = [&own, &of_target].into_iter().flatten().collect();
        let local = |target: &&&Target| matches!(target, Target::Item(..));
        if known.iter().filter(local).any(|target| self.best(target).is_none()) {
            return;
        }
        let mut involved = known.into_iter().cloned().collect::<Vec<_>>();
        involved.extend(self.targets(module, &of.to_token_stream()));
        let Some(place) = involved.iter().find_map(|target| self.best(target)).cloned() else {
            return;
        };
        let types = item.items.iter().filter_map(|item| match item {
            ImplItem::Type(it) => {
                let (name, generics, kind) = (&it.ident, &it.generics, &it.ty);
                Some(quote!(type #name #generics = #kind;))
            }
            _ => None,
        });
        let types: TokenStream = types.collect();
        let types = if types.is_empty() { types } else { quote!({ #types }) };
        let safety = &item.unsafety;
        let text = quote!(#safety impl #generics #of for #kind #bounds #types);
        self.add(&extended(&place, None, &cfgs), "", module, &text);
    }

    fn inherent_item(&mut self, module: usize, item: &ImplItem, place: &Place, note: &TokenStream) {
        let (name, attributes, text) = match item {
            ImplItem::Fn(it) if is_public(&it.vis) => {
                let (marks, signature) = (marks(&it.attrs), signature(&it.sig));
                (&it.sig.ident, &it.attrs, quote!(#marks pub #signature))
            }
            ImplItem::Const(it) if is_public(&it.vis) => {
                let (name, kind) = (&it.ident, &it.ty);
                (&it.ident, &it.attrs, quote!(pub const #name: #kind))
            }
            _ => return,
        };
        let Some(cfgs) = cfgs_of(attributes) else { return };
        // Which type it is, the path says, unless the block has parameters or bounds.
        let with_note = words(note.clone()).iter().any(|word| word == "<");
        let note = if with_note { note.clone() } else { TokenStream::new() };
        self.add(
            &extended(place, Some(&name.to_string()), &cfgs),
            "",
            module,
            &quote!(#text #note),
        );
    }

    /// What a type or a trait is, but for its arguments; references and the like are looked through.
    fn target(&self, module: usize, tokens: &TokenStream) -> Option<Target> {
        let path = match syn::parse2::<Type>(tokens.clone()).ok()? {
            Type::Path(path) => path.path,
            Type::Reference(reference) => {
                return self.target(module, &reference.elem.to_token_stream());
            }
            _ => return None,
        };
        let path: Vec<_> = path.segments.iter().map(|it| it.ident.to_string()).collect();
        self.krate.resolve(module, &path)
    }

    /// What the paths in a piece of code lead to.
    fn targets(&self, module: usize, tokens: &TokenStream) -> Vec<Target> {
        let words = words(tokens.clone());
        paths(&words).filter_map(|path| self.krate.resolve(module, &path)).collect()
    }

    fn declare(&mut self, at: &Line<'_>, tokens: &TokenStream) {
        let place = Place { path: vec![at.path.to_owned()], cfgs: at.cfgs.clone() };
        self.add(&place, "", at.module, tokens);
    }

    /// Adds what `tokens` say of `place`, and notes the crates that are named in them.
    fn add(&mut self, place: &Place, kind: &str, module: usize, tokens: &TokenStream) {
        let path = place.path.join("::");
        let text = shown(tokens.clone());
        let text = [kind, text.as_str()].join(" ");
        for target in self.targets(module, tokens) {
            if let Target::Foreign(foreign) = target {
                self.note_foreign(&foreign[0], &format!("{path}: {}", text.trim()));
            }
        }
        self.line(&path, &place.cfgs, text.trim());
    }

    fn line(&mut self, path: &str, cfgs: &BTreeSet<String>, text: &str) {
        let cfgs: String = cfgs.iter().map(|cfg| format!("#[cfg({cfg})] ")).collect();
        self.surface.lines.insert(format!("{path}: {cfgs}{text}"));
    }

    fn note_foreign(&mut self, krate: &str, line: &str) {
        self.surface.foreign.entry(krate.to_owned()).or_insert_with(|| line.to_owned());
    }
}

/// The attributes of what can be named, and whether it is public.
fn head(item: &Item) -> Option<(&[Attribute], bool)> {
    let (attributes, visibility) = match item {
        Item::Const(it) => (&it.attrs, &it.vis),
        Item::Enum(it) => (&it.attrs, &it.vis),
        Item::Fn(it) => (&it.attrs, &it.vis),
        Item::Static(it) => (&it.attrs, &it.vis),
        Item::Struct(it) => (&it.attrs, &it.vis),
        Item::Trait(it) => (&it.attrs, &it.vis),
        Item::Type(it) => (&it.attrs, &it.vis),
        Item::Union(it) => (&it.attrs, &it.vis),
        _ => return None,
    };
    Some((attributes, is_public(visibility)))
}

fn extended(place: &Place, name: Option<&str>, cfgs: &[String]) -> Place {
    let mut place = place.clone();
    place.path.extend(name.map(str::to_owned));
    place.cfgs.extend(cfgs.iter().cloned());
    place
}

/// The attributes that are promises to users.
fn marks(attributes: &[Attribute]) -> TokenStream {
    let marks = ["non_exhaustive", "must_use", "deprecated"];
    let kept = attributes.iter().filter_map(|it| {
        let name = it.path().get_ident()?;
        marks.iter().any(|mark| name == mark).then(|| quote!(#[#name]))
    });
    kept.collect()
}

/// A signature as callers see it: whether an argument is `mut` is no business of theirs.
fn signature(signature: &Signature) -> Signature {
    let mut signature = signature.clone();
    for input in &mut signature.inputs {
        match input {
            FnArg::Typed(argument) => {
                argument.attrs.clear();
                if let Pat::Ident(name) = &mut *argument.pat {
                    name.mutability = None;
                }
            }
            FnArg::Receiver(receiver) => receiver.mutability = None,
        }
    }
    signature
}

/// The paths in a piece of code. What is only declared there is none, nor is a name before a colon,
/// which is that of an argument or a parameter.
fn paths(words: &[String]) -> impl Iterator<Item = Vec<String>> {
    let is_name = |word: &str| word.starts_with(|it: char| it.is_alphabetic() || it == '_');
    let mut found = Vec::new();
    let mut index = 0;
    while index < words.len() {
        if !is_name(&words[index]) {
            index += 1;
            continue;
        }
        let after = index > 0 && words[index - 1] == "::";
        let mut path = vec![words[index].clone()];
        while words.get(index + 1).is_some_and(|it| it == "::")
            && words.get(index + 2).is_some_and(|it| is_name(it))
        {
            path.push(words[index + 2].clone());
            index += 2;
        }
        index += 1;
        let is_declared = index > path.len() * 2 - 1
            && matches!(words[index - path.len() * 2].as_str(), "type" | "variant" | "struct");
        let is_argument = path.len() == 1 && words.get(index).is_some_and(|it| it == ":");
        let is_type = path.len() > 1 || path[0].starts_with(char::is_uppercase);
        if !after && !is_declared && !is_argument && is_type {
            found.push(path);
        }
    }
    found.into_iter()
}
