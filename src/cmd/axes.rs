//! The options that set the values of axes, made from the table of axes.

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};

use crate::matrix::{AxisId, Limit};

/// The options that set the values of axes.
#[derive(Debug, Default)]
pub struct AxisArguments(pub Vec<(AxisId, Vec<String>)>);

/// Sets any axis, by its key.
const SET: &str = "set";

impl Args for AxisArguments {
    fn augment_args(mut command: clap::Command) -> clap::Command {
        for id in AxisId::ALL {
            let (axis, Some(option)) = (id.axis(), id.option()) else { continue };
            let argument = Arg::new(axis.key)
                .long(option)
                .help(axis.help)
                .value_delimiter(',')
                .action(ArgAction::Set);
            command = command.arg(match axis.limit {
                Limit::Words(words) => {
                    argument.value_name("NAME,..").value_parser(PossibleValuesParser::new(words.names))
                }
                _ => argument.value_name("N,..").num_args(1),
            });
        }
        let set = Arg::new(SET).long(SET).value_name("AXIS=VALUE,..").action(ArgAction::Append);
        command.arg(set.help("Values of any axis of the matrix, such as batch_sizes=1,4; may be given several times"))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AxisArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut axes = Vec::new();
        for id in AxisId::ALL.iter().filter(|id| id.option().is_some()) {
            if let Some(values) = matches.get_many::<String>(id.axis().key) {
                axes.push((*id, values.cloned().collect()));
            }
        }
        for setting in matches.get_many::<String>(SET).into_iter().flatten() {
            axes.push(self::setting(setting).map_err(|words| clap::Error::raw(ErrorKind::ValueValidation, words))?);
        }
        Ok(AxisArguments(axes))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// `batch_sizes=1,4`.
fn setting(text: &str) -> Result<(AxisId, Vec<String>), String> {
    let shown = text.escape_debug();
    let (name, values) = text
        .split_once('=')
        .ok_or_else(|| format!("--set {shown}: write AXIS=VALUE,.., such as batch_sizes=1,4"))?;
    let id = AxisId::settable_named(&name.replace('-', "_"));
    let id = id.map_err(|(expected, help)| format!("--set {shown}: expected {expected} before =: {help}"))?;
    Ok((id, values.split(',').map(|value| value.trim().to_owned()).collect()))
}
