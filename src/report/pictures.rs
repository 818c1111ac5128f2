//! The picture of a run for documents: two SVG files in its folder, for light and for dark pages, the lines that show them, and
//! a PNG file for where SVG is not taken.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::html::charts::{along_axis, titled};
use super::picture::{Theme, attribute, png, svg};
use super::run::Run;
use super::words::{Markup, distinct, escaped};
use super::{capacity, verdicts};
use crate::file;
use crate::record::Record;
use crate::report::notes::rows_words;
use crate::text;

/// Width and height of the picture in pixels.
const SIZE: (u32, u32) = (760, 400);

/// Draws the files, and returns the lines that show them in a document in the folder `beside`.
///
/// # Errors
/// Nothing varies that could be drawn, or a file cannot be written.
pub fn section(run: &Run, beside: &Path) -> Result<String> {
    let title = text::name(&run.manifest.title);
    let rows: Vec<&Record> = run.records.iter().collect();
    let groups = verdicts::groups(run.compared, &rows);
    let searched = groups.first().and_then(|group| capacity::chart(run, group, titled(run, &title, group)));
    let how = match searched {
        Some(_) if capacity::is_over_concurrency(run) => {
            "one dot a block; the large dots below the bound are the capacities"
        }
        Some(_) => "one dot a block; the short lines below the bound are the capacities' 95 % intervals",
        None => "the lower the better, with 95 % intervals",
    };
    let mut chart =
        searched.into_iter().chain(along_axis(run, &title)).next().with_context(|| {
            format!("{}: no amount of load varies, so there is nothing to draw", run.path.display())
        })?;
    chart.size = SIZE;
    let drawn = [
        ("latency.svg", svg(&chart, Theme::Light).into_bytes()),
        ("latency-dark.svg", svg(&chart, Theme::Dark).into_bytes()),
        ("latency.png", png(&chart)?),
    ];
    for (name, drawn) in &drawn {
        let path = run.path.join(name);
        // an unchanged file keeps its time
        if std::fs::read(&path).ok().as_ref() != Some(drawn) {
            file::replace(&path, drawn)?;
        }
    }
    let folder = from(beside, &run.path)?;
    let [light, dark] = [0, 1].map(|place| folder.join(drawn[place].0).display().to_string().replace('\\', "/"));
    let mut out = String::new();
    let _ = writeln!(out, "<picture>");
    let _ = writeln!(out, "<source media=\"(prefers-color-scheme: dark)\" srcset=\"{}\">", attribute(&dark));
    let _ = writeln!(out, "<img alt=\"{}\" src=\"{}\">", attribute(&chart.title), attribute(&light));
    let _ = writeln!(out, "</picture>\n");
    let asked = &run.manifest;
    let _ = writeln!(
        out,
        "- {}: {} {}, model {}; {how}.",
        escaped(&title),
        escaped(&asked.server),
        escaped(&asked.server_version),
        escaped(&distinct(&run.records, |record| record.model.clone()).join(", "))
    );
    let _ = writeln!(out, "- {}", rows_words(run, Markup::Markdown));
    Ok(out)
}

/// The way from one folder to another.
fn from(base: &Path, path: &Path) -> Result<PathBuf> {
    let [base, path] = [base, path].map(|path| std::path::absolute(Path::new(".").join(path)));
    let (base, path) = (base?, path?);
    let common = base.components().zip(path.components()).take_while(|(one, other)| one == other).count();
    let up = base.components().skip(common).map(|_| "..");
    Ok(up
        .chain(path.components().skip(common).filter_map(|part| part.as_os_str().to_str()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_found_from_the_documents_folder() {
        let way = |base: &str, path: &str| from(Path::new(base), Path::new(path)).unwrap();
        assert_eq!(way("", "results/a/1"), Path::new("results/a/1"));
        assert_eq!(way(".", "./results/a/1"), Path::new("results/a/1"));
        assert_eq!(way("results", "results/a/1"), Path::new("a/1"));
        assert_eq!(way("docs/more", "results/a"), Path::new("../../results/a"));
    }
}
