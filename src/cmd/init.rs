//! `runner init`: its options, and what it asks and prints.
#![allow(missing_docs)]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::MODEL_REPOSITORY;
use crate::models;
use crate::report::terminal::{ask_for, print, say};
use crate::run::Outcome;
use crate::run::init::{Place, Wanted, draft};
use crate::scenario::{EMBEDDED, Overrides, built_in};

#[derive(Args, Debug)]
pub struct Arguments {
    /// The model's name on the server; an ONNX file or a folder that holds one, for the embedded server; or scrfd or arcface alone,
    /// the built-in scenarios
    pub model: String,
    /// Host of the server, on the default ports 8000 (HTTP) and 8001 (gRPC), or `embedded`: the program's own server
    /// [default: localhost]
    #[arg(long, value_name = "HOST")]
    pub server: Option<String>,
    /// Address of the server's HTTP port
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// Address of the server's gRPC port
    #[arg(long, value_name = "HOST:PORT")]
    pub grpc: Option<String>,
    /// A version of the model [default: the server's choice]
    #[arg(long, value_name = "VERSION")]
    pub model_version: Option<String>,
    /// Shape of an input without the batch dimension, where the model leaves sizes open: NAME=3,640,640, or 3,640,640 for the
    /// only input; may be given several times
    #[arg(long, value_name = "SHAPE", value_parser = shape)]
    pub shape: Vec<(String, Vec<usize>)>,
    /// Folder of the embedded server's models
    #[arg(long, value_name = "DIR", default_value = MODEL_REPOSITORY)]
    pub model_repository: PathBuf,
    /// Write the scenario to a new file [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Prints or writes a scenario.
///
/// # Errors
/// The server or the model cannot be asked, or is not described well enough; the file exists, or cannot be written.
pub fn init(arguments: Arguments) -> Result<Outcome> {
    if let Some(output) = &arguments.output {
        ensure!(
            output.symlink_metadata().is_err(),
            "{} exists: name another file, or delete it first",
            output.display()
        );
    }
    let is_elsewhere = arguments.server.is_some() || arguments.http.is_some() || arguments.grpc.is_some();
    if let (Some(text), false) = (built_in(Path::new(&arguments.model)), is_elsewhere) {
        let next = format!("runner {}", arguments.output.as_deref().unwrap_or(Path::new(&arguments.model)).display());
        return write(text, arguments.output.as_deref(), &format!("{next} --server embedded --quick"));
    }
    let (model, place) = place(&arguments)?;
    let mut next = "runner ".to_owned();
    next += &arguments
        .output
        .as_ref()
        .map_or("FILE.toml".to_owned(), |file| file.display().to_string());
    if let Place::Embedded(repository) = &place
        && repository != Path::new(MODEL_REPOSITORY)
    {
        next += &format!(" --model-repository {}", repository.display());
    }
    let wanted = Wanted {
        model,
        version: arguments.model_version,
        place,
        shapes: arguments.shape.into_iter().collect(),
    };
    let drafted = super::runtime()?.block_on(draft(wanted, &ask_shape))?;
    write(&drafted.text, arguments.output.as_deref(), &next)?;
    Ok(if drafted.is_answered { Outcome::Complete } else { Outcome::Incomplete })
}

/// The model's name, and where it is.
fn place(arguments: &Arguments) -> Result<(String, Place)> {
    let Arguments { model, server, http, grpc, model_repository, .. } = arguments;
    let is_path = model.contains(['/', '\\']) || model.ends_with(".onnx");
    let is_embedded = server.as_deref() == Some(EMBEDDED);
    if is_path || is_embedded {
        ensure!(
            http.is_none() && grpc.is_none() && (is_embedded || server.is_none()),
            "\"{}\": the embedded server serves it: leave --server, --http and --grpc out",
            model.escape_debug()
        );
    }
    if is_path {
        let placed = models::place(Path::new(model), model_repository)?;
        if let Some(copied) = &placed.copied {
            say(&format!("{}: a copy of {model}", copied.display()));
        }
        return Ok((placed.name, Place::Embedded(placed.repository)));
    }
    if is_embedded {
        return Ok((model.clone(), Place::Embedded(model_repository.clone())));
    }
    let overrides =
        Overrides { server: server.clone(), http: http.clone(), grpc: grpc.clone(), ..Overrides::default() };
    Ok((model.clone(), Place::At(Box::new(overrides))))
}

fn write(text: &str, output: Option<&Path>, next: &str) -> Result<Outcome> {
    match output {
        None => print(text)?,
        Some(path) => {
            File::create_new(path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .with_context(|| format!("cannot write {}", path.display()))?;
            say(&format!("{} is written; measure it by: {next}", path.display()));
        }
    }
    Ok(Outcome::Complete)
}

/// Asks for a shape on a terminal.
fn ask_shape(name: &str, known: Option<&[i64]>) -> Result<Option<Vec<usize>>> {
    let known = known.map_or(String::new(), |known| format!(", where the model takes {known:?}"));
    loop {
        let question = format!("shape of input \"{name}\" without the batch dimension{known}: ");
        let Some(answer) = ask_for(&question)? else { return Ok(None) };
        match sizes(&answer) {
            Ok(sizes) => return Ok(Some(sizes)),
            Err(problem) => say(&problem),
        }
    }
}

/// An option `--shape`.
fn shape(text: &str) -> Result<(String, Vec<usize>), String> {
    // names may hold an equals sign, sizes do not
    let (name, list) = text.rsplit_once('=').unwrap_or(("", text));
    Ok((name.to_owned(), sizes(list)?))
}

fn sizes(text: &str) -> Result<Vec<usize>, String> {
    let list = text.trim().trim_start_matches('[').trim_end_matches(']');
    let sizes = list.split([',', 'x']).map(|size| size.trim().parse().ok().filter(|size| *size > 0));
    sizes.collect::<Option<Vec<usize>>>().ok_or_else(|| {
        format!("\"{}\" is no shape: expected sizes from 1, such as 3,640,640", text.trim().escape_debug())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_with_and_without_a_name() {
        for (text, name, sizes) in
            [("3,640,640", "", &[3, 640, 640][..]), ("x=3x5", "x", &[3, 5]), ("a=b=[1, 2]", "a=b", &[1, 2])]
        {
            assert_eq!(shape(text), Ok((name.to_owned(), sizes.to_vec())));
        }
        for wrong in ["", "x=", "x=0", "x=-1,3", "3,,4", "x=a"] {
            assert!(shape(wrong).unwrap_err().contains("is no shape: expected sizes from 1"), "{wrong}");
        }
    }
}
