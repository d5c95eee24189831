//! Part of `make check`: what may stand in the dependency tree.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::process::{Command, ExitCode};

use serde::Deserialize;

/// Licences that ask for no more than a notice.
const LICENCES: [&str; 11] = [
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates of which a function links one version: a second one would be a second stack.
const SINGLE: [&str; 6] = ["http", "hyper", "ring", "rustls", "tokio", "tower"];

/// Crates that no function links: other TLS stacks, and aws-lc, whose entropy collector costs 30 ms of a full
/// CPU before the first handshake.
const BANNED: [&str; 6] = ["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "reqwest", "s2n-tls"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    root: String,
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        wrong.extend(wrong_with(package));
    }
    let linked = linked(&metadata);
    wrong.extend(SINGLE.iter().filter_map(|name| match linked.get(name).map_or(0, BTreeSet::len) {
        1 => None,
        count => Some(format!("{name}: expected one version in the functions, found {count}")),
    }));
    wrong.extend(
        BANNED.iter().filter(|name| linked.contains_key(*name)).map(|name| format!("{name}: banned")),
    );
    for line in &wrong {
        eprintln!("{line}");
    }
    println!("{} packages, {} of them in the functions", metadata.packages.len(), linked.len());
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn wrong_with(package: &Package) -> Option<String> {
    let Some(source) = &package.source else {
        return None;
    };
    if source != REGISTRY {
        return Some(format!("{}: expected from crates.io, not {source}", package.name));
    }
    let text = package.license.as_deref().unwrap_or_default().replace('/', " OR ");
    let allowed = spdx::Expression::parse(&text).is_ok_and(|licence| {
        licence.evaluate(|required| required.license.id().is_some_and(|id| LICENCES.contains(&id.name)))
    });
    (!allowed).then(|| format!("{} {}: licence {text:?} is not allowed", package.name, package.version))
}

/// The versions of every crate that a function links, by name.
fn linked(metadata: &Metadata) -> BTreeMap<&str, BTreeSet<&str>> {
    let packages: HashMap<&str, &Package> = metadata.packages.iter().map(|p| (p.id.as_str(), p)).collect();
    let nodes: HashMap<&str, &Node> = metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let mut versions = BTreeMap::<&str, BTreeSet<&str>>::new();
    let mut waiting = vec![metadata.resolve.root.as_str()];
    while let Some(id) = waiting.pop() {
        let is_new = packages
            .get(id)
            .is_some_and(|package| versions.entry(&package.name).or_default().insert(&package.version));
        let dependencies = nodes.get(id).filter(|_| is_new).into_iter().flat_map(|node| &node.deps);
        waiting.extend(
            dependencies
                .filter(|dependency| dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()))
                .map(|dependency| dependency.pkg.as_str()),
        );
    }
    versions
}
