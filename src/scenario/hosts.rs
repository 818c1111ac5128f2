//! The other machines that send requests.

use crate::spelling::spelled;

/// The machines that send requests, and how they are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// Their names, as ssh takes them; empty if this machine sends all requests.
    pub names: Vec<String>,
    /// The command that reaches one: its name and a line for its shell follow.
    pub ssh: Vec<String>,
    /// The program's path on them.
    pub program: String,
    /// How the processes of a case are spread over them.
    pub spread: Spread,
}

impl Default for Hosts {
    fn default() -> Self {
        Hosts {
            names: Vec::new(),
            // nobody is there to type a password
            ssh: ["ssh", "-o", "BatchMode=yes"].map(str::to_owned).to_vec(),
            program: "runner".to_owned(),
            spread: Spread::Even,
        }
    }
}

spelled! {
    /// How the processes of a case are spread over hosts.
    pub enum Spread {
        /// One after the other on each, again and again.
        Even = "even",
        /// As many on a host as it has cores before the next has any.
        Fill = "fill",
    }
}

/// Why a word cannot be the name of a host; `None` if it can.
pub(super) fn refused(name: &str) -> Option<&'static str> {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-' | '@' | ':');
    match name {
        "" => Some("write the host as ssh takes it, such as \"gpu-client-1\" or \"10.0.0.7\""),
        option if option.starts_with('-') => Some("a name that begins with - would be an option of ssh"),
        name if name.len() > NAME_MAX || !name.chars().all(is_plain) => Some(
            // no literal @: errors redact whatever precedes one, as it could be a password
            "use ASCII letters, digits, dots, hyphens, underscores, colons and an at sign alone; what else ssh needs belongs in its \
             own configuration",
        ),
        _ => None,
    }
}

/// Longest name of a host, in bytes.
const NAME_MAX: usize = 255;
