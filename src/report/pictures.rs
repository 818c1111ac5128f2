//! The picture of a run for documents: two SVG files in its folder, for light and for dark pages, and the lines that show
//! them.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::html::charts::along_axis;
use super::picture::{Theme, attribute, svg};
use super::run::Run;
use super::words::{Markup, escaped};
use crate::file;
use crate::report::notes::rows_words;
use crate::text;

/// Width and height of the picture in pixels.
const SIZE: (u32, u32) = (760, 400);

/// Draws the files, and returns the lines that show them.
///
/// # Errors
/// Nothing varies that could be drawn, or a file cannot be written.
pub fn section(run: &Run) -> Result<String> {
    let title = text::name(&run.manifest.title);
    let mut chart = along_axis(run, &title)
        .into_iter()
        .next()
        .with_context(|| format!("{}: no amount of load varies, so there is nothing to draw", run.path.display()))?;
    chart.size = SIZE;
    let mut names = Vec::new();
    for (theme, name) in [(Theme::Light, "latency.svg"), (Theme::Dark, "latency-dark.svg")] {
        let drawn = svg(&chart, theme);
        let path = run.path.join(name);
        // an unchanged file keeps its time
        if std::fs::read_to_string(&path).ok().as_ref() != Some(&drawn) {
            file::replace(&path, drawn.as_bytes())?;
        }
        names.push(path.display().to_string().replace('\\', "/"));
    }
    let mut out = String::new();
    let _ = writeln!(out, "<picture>");
    let _ = writeln!(out, "<source media=\"(prefers-color-scheme: dark)\" srcset=\"{}\">", attribute(&names[1]));
    let _ = writeln!(out, "<img alt=\"{}\" src=\"{}\">", attribute(&chart.title), attribute(&names[0]));
    let _ = writeln!(out, "</picture>\n");
    let asked = &run.manifest;
    let _ = writeln!(
        out,
        "- {}: {} {}, model {}; the lower the better, with 95 % intervals.",
        escaped(&title),
        escaped(&asked.server),
        escaped(&asked.server_version),
        escaped(&asked.model)
    );
    let _ = writeln!(out, "- {}", rows_words(run, Markup::Markdown));
    Ok(out)
}
