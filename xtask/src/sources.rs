//! Rust sources: reading them, and finding every file of a crate that is compiled outside of tests.

use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};
use syn::{Attribute, File, Item, ItemMod};

/// A source file that belongs to the crate itself, without its test items.
pub struct Source {
    pub path: PathBuf,
    pub items: Vec<Item>,
}

/// Every file reached from `lib.rs` or `main.rs` in `folder` through modules that are not for tests.
pub fn production(folder: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for root in ["lib.rs", "main.rs"].map(|name| folder.join(name)).into_iter().filter(|path| path.exists()) {
        collect(&root, folder, &mut sources)?;
    }
    Ok(sources)
}

/// The file at `path`, and what it declares in `children`.
fn collect(path: &Path, children: &Path, into: &mut Vec<Source>) -> Result<()> {
    let mut items = parse(path)?.items;
    items.retain(|item| !is_for_tests(attributes(item)));
    collect_modules(path, &items, children, into)?;
    into.push(Source { path: path.to_owned(), items });
    Ok(())
}

fn collect_modules(path: &Path, items: &[Item], children: &Path, into: &mut Vec<Source>) -> Result<()> {
    for module in
        items.iter().filter_map(|item| if let Item::Mod(module) = item { Some(module) } else { None })
    {
        let name = module.ident.to_string();
        match &module.content {
            Some((_, items)) => collect_modules(path, items, &children.join(name), into)?,
            None => {
                let (file, children) = module_file(path, module, children)?;
                collect(&file, &children, into)?;
            }
        }
    }
    Ok(())
}

fn module_file(path: &Path, module: &ItemMod, children: &Path) -> Result<(PathBuf, PathBuf)> {
    let name = module.ident.to_string();
    if module.attrs.iter().any(|attribute| attribute.path().is_ident("path")) {
        bail!("{}: module {name} has a #[path]; keep it where its name says", path.display());
    }
    let own = children.join(&name);
    let candidates = [children.join(format!("{name}.rs")), own.join("mod.rs")];
    let file = candidates.into_iter().find(|file| file.exists());
    Ok((file.with_context(|| format!("{}: module {name} has no file", path.display()))?, own))
}

/// Reads and parses one file.
pub fn parse(path: &Path) -> Result<File> {
    syn::parse_file(&read(path)?).with_context(|| format!("parse {}", path.display()))
}

/// Reads one file.
pub fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// Every `.rs` file below `folder`, build output apart.
pub fn all_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            files.extend(all_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether `#[cfg(test)]` or `#[test]` is among the attributes. `cfg(any(test, ...))` is not: it may ship.
pub fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let cfg_test = attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"));
        cfg_test || attribute.path().is_ident("test")
    })
}

/// The attributes of an item.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
