//! Records the git revision of the build, and the version of the embedded server's engine.

use std::process::Command;

fn main() -> std::io::Result<()> {
    // the embedded server names its engine
    let lock = std::fs::read_to_string("Cargo.lock")?;
    let rten = lock.split("[[package]]").find(|package| package.contains("name = \"rten\"\n"));
    let version = rten
        .and_then(|package| package.split("version = \"").nth(1)?.split('"').next())
        .unwrap_or("?");
    println!("cargo:rustc-env=RTEN_VERSION={version}");
    println!("cargo:rerun-if-changed=Cargo.lock");

    // A build without .git, as in the container image, gets its revision from outside.
    let told = std::env::var("RUNNER_GIT_REVISION").ok().filter(|revision| !revision.is_empty());
    let revision = told
        .or_else(|| git(&["rev-parse", "--short=12", "HEAD"]))
        .unwrap_or_else(|| "unknown".to_owned());
    let dirty = git(&["status", "--porcelain", "--", "src", "proto", "build.rs", "Cargo.toml", "Cargo.lock"])
        .is_some_and(|changes| !changes.is_empty());
    println!("cargo:rustc-env=RUNNER_GIT_REVISION={revision}{}", if dirty { "+changes" } else { "" });
    println!("cargo:rerun-if-env-changed=RUNNER_GIT_REVISION");
    // a linked work tree keeps them elsewhere
    let files = ["HEAD", "index"].into_iter().filter_map(|name| git(&["rev-parse", "--git-path", name]));
    for changed in files.chain(["src".to_owned()]) {
        println!("cargo:rerun-if-changed={changed}");
    }
    Ok(())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
