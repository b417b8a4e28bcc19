//! The packages of the workspace and everything below them, as `cargo metadata` lists them.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

/// What a dependency is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The library or program itself.
    Normal,
    /// Its build script.
    Build,
    /// Its tests only.
    Dev,
}

#[derive(Debug, Clone)]
pub struct Dependency {
    pub name: String,
    pub need: Need,
}

#[derive(Debug, Clone)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub licence: Option<String>,
    pub folder: PathBuf,
    pub dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone, Default)]
pub struct Packages {
    /// Ours.
    pub members: Vec<Package>,
    /// From elsewhere.
    pub others: Vec<Package>,
}

impl Packages {
    /// Asks cargo about the workspace in `root`.
    pub fn load(root: &Path) -> Result<Packages> {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked"])
            .current_dir(root)
            .output()
            .context("run cargo metadata")?;
        if !output.status.success() {
            bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Packages::parse(
            &serde_json::from_slice(&output.stdout).context("parse the output of cargo metadata")?,
        )
    }

    fn parse(metadata: &Value) -> Result<Packages> {
        let ours: BTreeSet<&str> =
            list(metadata, "workspace_members")?.iter().filter_map(Value::as_str).collect();
        let mut packages = Packages::default();
        for value in list(metadata, "packages")? {
            let package = Package::parse(value)?;
            match value["id"].as_str() {
                Some(id) if ours.contains(id) => packages.members.push(package),
                _ => packages.others.push(package),
            }
        }
        Ok(packages)
    }

    /// The package of ours with that name.
    pub fn member(&self, name: &str) -> Option<&Package> {
        self.members.iter().find(|package| package.name == name)
    }
}

impl Package {
    fn parse(value: &Value) -> Result<Package> {
        let manifest = PathBuf::from(text(value, "manifest_path")?);
        Ok(Package {
            name: text(value, "name")?,
            version: text(value, "version")?,
            licence: value["license"].as_str().map(str::to_owned),
            folder: manifest.parent().context("a manifest lies in a folder")?.to_owned(),
            dependencies: list(value, "dependencies")?
                .iter()
                .map(Dependency::parse)
                .collect::<Result<_>>()?,
        })
    }
}

impl Dependency {
    fn parse(value: &Value) -> Result<Dependency> {
        let need = match value["kind"].as_str() {
            None => Need::Normal,
            Some("build") => Need::Build,
            Some("dev") => Need::Dev,
            Some(other) => bail!("cargo metadata has a dependency of kind {other:?}, which is new"),
        };
        Ok(Dependency { name: text(value, "name")?, need })
    }
}

fn text(value: &Value, field: &str) -> Result<String> {
    value[field].as_str().map(str::to_owned).with_context(|| format!("cargo metadata: no {field}"))
}

fn list<'v>(value: &'v Value, field: &str) -> Result<&'v Vec<Value>> {
    value[field].as_array().with_context(|| format!("cargo metadata: no {field}"))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use serde_json::json;

    /// A package named `name` that normally depends on `dependencies`.
    pub fn package(name: &str, dependencies: &[(&str, Need)]) -> Package {
        let dependency = |(name, need): &(&str, Need)| Dependency { name: (*name).to_owned(), need: *need };
        Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            licence: Some("MIT".to_owned()),
            folder: PathBuf::new(),
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    #[test]
    fn members_are_told_from_others_and_needs_from_each_other() {
        let dependencies = json!([{"name": "b", "kind": null}, {"name": "c", "kind": "dev"}]);
        let ours = json!({"id": "a 1", "name": "a", "version": "1", "license": "MIT",
            "manifest_path": "/x/a/Cargo.toml", "dependencies": dependencies});
        let other = json!({"id": "b 1", "name": "b", "version": "1", "license": null,
            "manifest_path": "/x/b/Cargo.toml", "dependencies": []});
        let packages =
            Packages::parse(&json!({"packages": [ours, other], "workspace_members": ["a 1"]})).unwrap();
        let a = packages.member("a").unwrap();
        let needs: Vec<_> = a.dependencies.iter().map(|d| (d.name.as_str(), d.need)).collect();
        assert_eq!(needs, [("b", Need::Normal), ("c", Need::Dev)]);
        assert_eq!((packages.others.len(), &packages.others[0].licence), (1, &None));
    }
}
