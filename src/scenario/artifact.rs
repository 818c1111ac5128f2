//! Where a model's published weights come from. Must not know how they are fetched.

use crate::spelling::spelled;

/// Where a model's published weights come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Address of a zip archive.
    pub url: String,
    /// SHA-256 of the archive, lower-case hexadecimal.
    pub sha256: String,
    /// The model's file in the archive.
    pub member: String,
    /// SHA-256 of that file.
    pub member_sha256: String,
    /// The licence the user has to accept.
    pub licence: String,
    /// The built-in structure used if the weights are missing.
    pub stand_in: Structure,
    /// Published output names and the names they are served under.
    pub outputs: Vec<(String, String)>,
}

spelled! {
    /// A built-in model structure: it can be written with random weights, and its published file can be made
    /// batchable.
    pub enum Structure {
        /// SCRFD-10G: `input.1` [batch, 3, 640, 640]; `score_8`.. [batch, 12800 | 3200 | 800, 1], `bbox_8`.. (4),
        /// `kps_8`.. (10).
        Scrfd = "scrfd",
        /// ArcFace iResNet50: `input.1` [batch, 3, 112, 112]; `683` [batch, 512].
        ArcFace = "arcface",
    }
}
