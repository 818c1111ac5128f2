//! Which of a job's tasks this process is, by what the launchers that start jobs put into the environment. Pure.

/// A task of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rank {
    /// The launcher, for people.
    pub launcher: &'static str,
    /// The task's number, from 0, which leads.
    pub rank: u32,
    /// Tasks of the job.
    pub size: u32,
    /// What tells this job from the user's others; empty if the launcher has nothing.
    pub job: String,
    /// Whether all tasks are known to be on one machine.
    pub one_machine: bool,
}

/// Says how a launcher tells its tasks.
struct Launcher {
    name: &'static str,
    rank: &'static str,
    size: &'static str,
    /// What tells its jobs apart, together.
    job: &'static [&'static str],
    /// A variable that says how many tasks this machine has, or how many machines there are.
    tasks_here: Option<&'static str>,
    machines: Option<&'static str>,
}

/// In the order in which they are asked: mpirun and mpiexec may run within what Slurm started.
const LAUNCHERS: [Launcher; 5] = [
    Launcher {
        name: RANK,
        rank: RANK,
        size: SIZE,
        job: &["RUNNER_JOB"],
        tasks_here: None,
        machines: None,
    },
    Launcher {
        name: "Open MPI",
        rank: "OMPI_COMM_WORLD_RANK",
        size: "OMPI_COMM_WORLD_SIZE",
        job: &["PMIX_NAMESPACE", "OMPI_MCA_orte_precondition_transports"],
        tasks_here: Some("OMPI_COMM_WORLD_LOCAL_SIZE"),
        machines: None,
    },
    Launcher {
        name: "PMI",
        rank: "PMI_RANK",
        size: "PMI_SIZE",
        // MPICH has it behind PMI_FD alone
        job: &["PMI_JOBID", "RUNNER_JOB"],
        tasks_here: Some("MPI_LOCALNRANKS"),
        machines: None,
    },
    Launcher {
        name: "Slurm",
        rank: "SLURM_PROCID",
        // a batch script that starts no step is no task of one
        size: "SLURM_STEP_NUM_TASKS",
        job: &["SLURM_JOB_ID", "SLURM_STEP_ID"],
        tasks_here: None,
        machines: Some("SLURM_STEP_NUM_NODES"),
    },
    Launcher {
        name: "Kubernetes",
        rank: "JOB_COMPLETION_INDEX",
        size: SIZE,
        job: &[],
        tasks_here: None,
        machines: None,
    },
];

/// Where the leader is, if tasks share no folder.
pub const LEADER: &str = "RUNNER_LEADER";
/// The number of the task where no launcher tells it.
const RANK: &str = "RUNNER_RANK";
/// The number of tasks where the launcher does not tell it.
const SIZE: &str = "RUNNER_SIZE";

impl Rank {
    /// Which task this process is; `None` if no launcher started it, or as the only one.
    ///
    /// # Errors
    /// What a launcher says is no number, or contradicts itself.
    pub fn of(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Rank>, String> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let found = LAUNCHERS
            .iter()
            .find_map(|launcher| Some((launcher, variable(launcher.rank)?, variable(launcher.size)?)));
        let Some((launcher, rank, size)) = found else {
            // four that each measure alone would be four times the load
            let told = [RANK, LEADER].into_iter().find(|name| variable(name).is_some());
            return match told {
                Some(told) => {
                    Err(format!("{told} is set, but not which task of how many this is: set {RANK} and {SIZE} too"))
                }
                None => Ok(None),
            };
        };
        let number = |name: &str, text: &str| {
            text.parse::<u32>()
                .map_err(|_| format!("{name}: found \"{}\", expected a number", text.escape_debug()))
        };
        let (rank, size) = (number(launcher.rank, &rank)?, number(launcher.size, &size)?);
        if rank >= size {
            return Err(format!("{}={rank}, but {}={size}: ranks count from 0", launcher.rank, launcher.size));
        }
        let is = |name: Option<&str>, value: u32| name.and_then(variable).is_some_and(|text| text == value.to_string());
        let job: Vec<String> = launcher.job.iter().filter_map(|name| variable(name)).collect();
        let one_machine = is(launcher.tasks_here, size) || is(launcher.machines, 1);
        Ok(Some(Rank { launcher: launcher.name, rank, size, job: job.join("-"), one_machine }).filter(|_| size > 1))
    }

    /// The same by this process's environment.
    ///
    /// # Errors
    /// See [`Rank::of`].
    pub fn own() -> Result<Option<Rank>, String> {
        Rank::of(&|name| std::env::var(name).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Rank>, String> {
        Rank::of(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn launchers_tell_rank_size_and_job() {
        let slurm = [
            ("SLURM_PROCID", "2"),
            ("SLURM_STEP_NUM_TASKS", "8"),
            ("SLURM_JOB_ID", "41"),
            ("SLURM_STEP_ID", "0"),
            ("SLURM_STEP_NUM_NODES", "2"),
        ];
        let expected = Rank { launcher: "Slurm", rank: 2, size: 8, job: "41-0".to_owned(), one_machine: false };
        assert_eq!(of(&slurm), Ok(Some(expected.clone())));
        // mpirun within a job of Slurm
        let ompi = [
            ("OMPI_COMM_WORLD_RANK", "0"),
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "4"),
            ("PMIX_NAMESPACE", "77"),
        ];
        let both: Vec<_> = slurm.iter().chain(&ompi).copied().collect();
        let of_ompi = Rank { launcher: "Open MPI", rank: 0, size: 4, job: "77".to_owned(), one_machine: true };
        assert_eq!(of(&both), Ok(Some(of_ompi)));
        let kubernetes = of(&[("JOB_COMPLETION_INDEX", "3"), ("RUNNER_SIZE", "4")]).unwrap().unwrap();
        assert_eq!((kubernetes.rank, kubernetes.size, kubernetes.launcher), (3, 4, "Kubernetes"));
    }

    #[test]
    fn a_process_that_is_alone_is_no_task() {
        assert_eq!(of(&[]), Ok(None));
        // within a batch script, which is no step
        assert_eq!(of(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8"), ("SLURM_JOB_ID", "41")]), Ok(None));
        assert_eq!(of(&[("PMI_RANK", "0"), ("PMI_SIZE", "1")]), Ok(None));
        assert_eq!(of(&[("JOB_COMPLETION_INDEX", "3")]), Ok(None));
        assert_eq!(of(&[("RUNNER_RANK", "0"), ("RUNNER_SIZE", "1")]), Ok(None));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        assert!(
            of(&[("PMI_RANK", "x"), ("PMI_SIZE", "2")])
                .unwrap_err()
                .starts_with("PMI_RANK: found \"x\"")
        );
        for alone in [&[("RUNNER_RANK", "1")][..], &[("JOB_COMPLETION_INDEX", "1"), ("RUNNER_LEADER", "box:1")]] {
            assert!(of(alone).unwrap_err().contains("set RUNNER_RANK and RUNNER_SIZE too"), "{alone:?}");
        }
        assert!(of(&[("PMI_RANK", "2"), ("PMI_SIZE", "2")]).unwrap_err().contains("ranks count from 0"));
    }
}
