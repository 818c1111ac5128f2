//! Tasks of a job: what a launcher starts several times is one run, led by the first.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output};

use runner::record::{HOSTS, HostRecord, Manifest, State, Status, read, read_manifest};

use crate::case::{Case, SCENARIO, text};
use crate::machines::{all_end, descendants_of, output_of, under_way, wait_for};

/// A job of Open MPI, whose name is a part of a file's.
const JOB: &str = "prterun-host-77@1";

fn case(requests: u32) -> Case {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 2ms\" } }";
    let scenario = SCENARIO
        .replace("processes = [1, 2]", "processes = [3]\n    protocols = [\"http\"]")
        .replace("iterations = 50", &format!("iterations = {requests}"));
    Case::new(slow, &scenario)
}

/// The same command as a task with these variables.
fn task(case: &Case, variables: &[(&str, String)]) -> Child {
    let mut command = case.command(&[]);
    command.env("RUNNER_RENDEZVOUS", case.path("meet")).envs(variables.iter().cloned());
    command.spawn().unwrap()
}

/// What Open MPI tells a task of three on one machine.
fn of_mpi(rank: u32) -> Vec<(&'static str, String)> {
    vec![
        ("OMPI_COMM_WORLD_RANK", rank.to_string()),
        ("OMPI_COMM_WORLD_SIZE", "3".to_owned()),
        ("OMPI_COMM_WORLD_LOCAL_SIZE", "3".to_owned()),
        ("PMIX_NAMESPACE", JOB.to_owned()),
    ]
}

/// What Slurm tells a task of a step, which may be on several nodes.
fn of_slurm(rank: u32, size: u32, node: &str, nodes: u32) -> Vec<(&'static str, String)> {
    vec![
        ("SLURM_PROCID", rank.to_string()),
        ("SLURM_STEP_NUM_TASKS", size.to_string()),
        ("SLURM_JOB_ID", "41".to_owned()),
        ("SLURM_STEP_ID", "0".to_owned()),
        ("SLURM_STEP_NUM_NODES", nodes.to_string()),
        ("SLURMD_NODENAME", node.to_owned()),
    ]
}

/// Checks that all tasks but the first did their part silently. Returns what the first printed.
fn led(tasks: Vec<Child>) -> Output {
    let mut outputs: Vec<Output> = tasks.into_iter().map(output_of).collect();
    for output in &outputs[1..] {
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}", text(output));
        assert!(output.status.success(), "{}", text(&outputs[0]));
    }
    outputs.remove(0)
}

/// The only run that there is, if it is whole.
fn whole(case: &Case) -> (Manifest, Vec<HostRecord>) {
    assert_eq!(fs::read_dir(case.path("results/echo")).unwrap().count(), 1, "one of the others measured too");
    let run = case.newest().unwrap();
    let manifest = read_manifest(&run).unwrap();
    assert!(manifest.state == State::Complete && manifest.counts.unwrap().agrees(), "{:?}", manifest.counts);
    assert!(case.records().iter().all(|row| row.status == Status::Ok), "{:?}", case.records());
    (manifest, read(&run.join(HOSTS)).unwrap())
}

/// The file by which tasks find their leader.
fn meeting(case: &Case) -> Option<std::path::PathBuf> {
    let mut files = fs::read_dir(case.path("meet")).ok()?.map(|file| file.unwrap().path());
    files.find(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
}

#[test]
fn tasks_of_one_machine_are_one_host_and_find_each_other_by_a_private_file() {
    let case = case(20);
    let first = task(&case, &of_mpi(0));
    let file = wait_for("the leader's file", || meeting(&case));
    assert_eq!(file.file_name().unwrap(), "leader-open-mpi-prterun-host-77-1");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o700);
    let told: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    // nobody from outside needs to reach it
    assert_eq!(told["addresses"], serde_json::json!(["127.0.0.1"]));
    let token = told["token"].as_str().unwrap().to_owned();
    assert!(token.len() == 64, "{token}");

    let others = [1, 2].map(|rank| task(&case, &of_mpi(rank)));
    let output = led([first].into_iter().chain(others).collect());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("### Echo") && !text(&output).contains(&token), "{}", text(&output));
    assert_eq!(fs::read_dir(case.path("meet")).unwrap().count(), 0, "the file is still there");
    let (manifest, hosts) = whole(&case);
    assert_eq!(manifest.hosts.iter().map(|host| host.tasks).collect::<Vec<_>>(), [3]);
    assert!(hosts.iter().all(|part| (part.host_processes, part.requests) == (3, 60)), "{hosts:?}");
    let manifest = fs::read_to_string(case.newest().unwrap().join("run.json")).unwrap();
    assert!(!manifest.contains(&token));
}

/// In a folder that many share, somebody else may write the file first.
#[test]
fn a_file_of_somebody_else_leads_nobody() {
    let case = case(20);
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let port = stranger.local_addr().unwrap().port();
    fs::create_dir(case.path("meet")).unwrap();
    let file = case.path("meet/leader-open-mpi-prterun-host-77-1");
    fs::write(&file, format!(r#"{{"addresses":["127.0.0.1"],"port":{port},"token":"the token of a stranger"}}"#))
        .unwrap();
    // whom others can write to may be anybody's
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let others = [1, 2].map(|rank| task(&case, &of_mpi(rank)));
    let first = task(&case, &of_mpi(0));
    let output = led([first].into_iter().chain(others).collect());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    whole(&case);
    assert!(stranger.accept().is_err(), "a task followed the stranger");
}

#[test]
fn tasks_of_two_nodes_are_two_hosts() {
    let case = case(20);
    // a machine without a network has no address for others
    let nodes = if has_an_address() { 2 } else { 1 };
    // what a job before it left behind
    fs::create_dir(case.path("meet")).unwrap();
    let left = r#"{"addresses":["127.0.0.1"],"port":1,"token":"of a job that is over and gone"}"#;
    fs::write(case.path("meet/leader-slurm-41-0"), left).unwrap();
    let tasks = [(0, "n1"), (1, "n2"), (2, "n1"), (3, "n2")];
    let tasks = tasks.map(|(rank, node)| task(&case, &of_slurm(rank, 4, node, nodes)));
    let output = led(tasks.into());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let (manifest, hosts) = whole(&case);
    let tasks: Vec<_> = manifest.hosts.iter().map(|host| (host.name.as_str(), host.tasks)).collect();
    // the leader's own is the first
    assert_eq!(tasks, [("n1", 2), ("n2", 2)]);
    let parts: Vec<_> = hosts
        .iter()
        .map(|part| (part.host.as_str(), part.host_processes, part.requests))
        .collect();
    assert_eq!(parts, [("n1", 2, 40), ("n2", 1, 20), ("n1", 2, 40), ("n2", 1, 20)]);
}

fn has_an_address() -> bool {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let mut addresses = interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip()));
    addresses.any(|address| !address.is_loopback() && !address.is_link_local())
}

/// Tasks that share no folder are told the leader's address and a token, as pods of Kubernetes are.
#[test]
fn tasks_without_a_folder_find_the_leader_by_its_address() {
    let case = case(20);
    // free now, and perhaps not in a moment
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let variables = |rank: u32| {
        vec![
            ("JOB_COMPLETION_INDEX", rank.to_string()),
            ("RUNNER_SIZE", "2".to_owned()),
            ("RUNNER_LEADER", format!("localhost:{port}")),
            ("RUNNER_TOKEN", "a token that all pods share".to_owned()),
        ]
    };
    let output = led([1, 0].map(|rank| task(&case, &variables(rank))).into_iter().rev().collect());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(whole(&case).0.hosts[0].tasks, 2);
    assert!(!case.path("meet").exists());
}

#[test]
fn an_error_of_the_first_task_ends_all() {
    for (scenario, code, words) in [
        ("title = 7".to_owned(), 2, "title: found 7"),
        (SCENARIO.replace("name = \"echo\"", "name = \"other\""), 2, "has no model \"other\""),
        (SCENARIO.replace("shape = [3]", "shape = [4]"), 1, "the scenario does not fit the model"),
        (format!("{SCENARIO}\n[hosts]\nnames = [\"a\"]\n"), 1, "the scenario names hosts (a), and others connected"),
    ] {
        let case = case(20);
        fs::write(case.path("echo.toml"), scenario).unwrap();
        let output = led([0, 1, 2].map(|rank| task(&case, &of_mpi(rank))).into());
        assert_eq!(output.status.code(), Some(code), "{words}: {}", text(&output));
        assert!(text(&output).contains(words), "{words}: {}", text(&output));
        assert!(meeting(&case).is_none() && case.newest().is_none(), "{words}");
    }
}

#[test]
fn a_job_that_tells_too_little_is_told_what_to_add() {
    let case = case(20);
    let told = |variables: &[(&str, &str)]| {
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let output = output_of(task(&case, &variables));
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    let words = "does not tell its job's name: set RUNNER_JOB to one that no other job of yours has, or RUNNER_LEADER=HOST:PORT, \
                 at which task 0 listens, and RUNNER_TOKEN\n";
    let kubernetes = [("RUNNER_SIZE", "2"), ("JOB_COMPLETION_INDEX", "1")];
    assert_eq!(told(&kubernetes), format!("error: Kubernetes {words}"));
    assert_eq!(
        told(&[("PMI_RANK", "2"), ("PMI_SIZE", "2")]),
        "error: PMI_RANK=2, but PMI_SIZE=2: ranks count from 0\n"
    );
    // a folder that cannot be made
    let file = case.path("echo.toml").display().to_string();
    let mpi = of_mpi(0);
    let mut variables: Vec<_> = mpi.iter().map(|(name, value)| (*name, value.as_str())).collect();
    variables.push(("RUNNER_RENDEZVOUS", &file));
    let words = told(&variables);
    assert!(words.contains("cannot be written: name a folder that all tasks share with RUNNER_RENDEZVOUS"), "{words}");
}

/// Sends several processes a signal at once.
fn signal_all(name: &str, processes: &[u32]) {
    let processes = processes.iter().map(u32::to_string);
    // one that has ended already is no error
    Command::new("kill").arg(name).args(processes).output().unwrap();
}

#[test]
fn tasks_that_an_engine_stops_end_in_order() {
    for with_their_children in [false, true] {
        let case = case(100);
        let tasks: Vec<Child> = (0..3).map(|rank| task(&case, &of_mpi(rank))).collect();
        under_way(&case, 2);
        let own: Vec<u32> = tasks.iter().map(Child::id).collect();
        let children: Vec<u32> = own.iter().flat_map(|pid| descendants_of(*pid)).collect();
        // launchers tell those that they started, or all of them
        signal_all("-TERM", &if with_their_children { [own, children.clone()].concat() } else { own });
        let mut outputs = tasks.into_iter().map(output_of);
        let first = outputs.next().unwrap();
        assert_eq!(first.status.code(), Some(143), "{}", text(&first));
        for other in outputs {
            assert!(other.status.success() && other.stderr.is_empty(), "{}", text(&other));
        }
        all_end(&children);
        let rows = case.records();
        assert_eq!(rows.len(), 2, "{rows:?}");
        assert!(rows[0].requests > 0, "{rows:?}");
        let manifest = read_manifest(&case.newest().unwrap()).unwrap();
        assert_eq!(manifest.state, State::Interrupted);
        // a worker does not end before the leader has heard of it
        assert!(rows.iter().all(|row| row.status != Status::Failed), "{rows:?}");
    }
}

#[test]
fn tasks_end_by_themselves_when_one_of_them_is_killed() {
    for killed in [0, 2] {
        let case = case(100);
        let tasks: Vec<Child> = (0..3).map(|rank| task(&case, &of_mpi(rank))).collect();
        under_way(&case, 2);
        let children: Vec<u32> = tasks.iter().flat_map(|task| descendants_of(task.id())).collect();
        signal_all("-KILL", &[tasks[killed].id()]);
        let outputs: Vec<Output> = tasks.into_iter().map(output_of).collect();
        all_end(&children);
        if killed > 0 {
            // the leader goes on without it, and what it had a part in is missing
            assert_eq!(outputs[0].status.code(), Some(1), "{}", text(&outputs[0]));
            assert!(case.records().iter().all(|row| row.reason.contains(" is lost: ")), "{:?}", case.records());
        }
    }
}

/// Something of a path that a job's name cannot lead out of the folder.
#[test]
fn a_job_s_name_is_no_path() {
    let case = case(20);
    let mut variables = of_mpi(0);
    variables[3].1 = "../../x y".to_owned();
    let first = task(&case, &variables);
    let file = wait_for("the leader's file", || meeting(&case));
    assert_eq!(file, Path::new(&case.path("meet/leader-open-mpi-..-..-x-y")));
    // and nothing of it stays when the job is stopped before all are there
    signal_all("-INT", &[first.id()]);
    let output = output_of(first);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(meeting(&case).is_none());
}
