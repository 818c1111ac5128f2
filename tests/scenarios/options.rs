//! What the command line changes of a scenario.

use std::time::Duration;

use runner::matrix::{AxisId, Point, Protocol, Value};
use runner::scenario::Overrides;
use runner::threshold::Threshold;

use crate::{MINIMAL, axis, parse, with};

#[test]
fn options_override_the_file_and_are_remembered() {
    let overrides = Overrides {
        iterations: Some(20),
        warmup: Some(0),
        axes: vec![
            axis(AxisId::BatchSize, &["2", "16"]),
            axis(AxisId::Processes, &["5"]),
            axis(AxisId::Protocol, &["grpc"]),
        ],
        server: Some("gpu-box".to_owned()),
        grpc: Some("10.0.0.1:9001".to_owned()),
        quick: true,
        ..Overrides::default()
    };
    let scenario = parse(MINIMAL).unwrap().overridden_by(&overrides).unwrap();
    assert_eq!((scenario.load.stop.requests, scenario.load.warmup.requests), (20, 0));
    assert_eq!(scenario.matrix.batch_sizes(), [2, 16]);
    assert_eq!(scenario.matrix.values(AxisId::Processes), [Value::Whole(5)]);
    assert_eq!(scenario.matrix.protocols(), [Protocol::Grpc]);
    assert_eq!(
        (scenario.server.http.authority.as_str(), scenario.server.grpc.authority.as_str()),
        ("gpu-box:8000", "10.0.0.1:9001")
    );
    assert!(scenario.load.stop.most.is_some());
    let remembered =
        ["--iterations 20", "--warmup 0", "--batch-sizes 2,16", "--processes 5", "--protocols grpc", "--quick"];
    assert_eq!(scenario.overridden, remembered);
    let six = Overrides { server: Some("::1".to_owned()), ..Overrides::default() };
    assert_eq!(parse(MINIMAL).unwrap().overridden_by(&six).unwrap().server.http.authority, "[::1]:8000");
}

#[test]
fn a_rate_needs_no_other_option_where_nothing_is_said_of_requests_in_flight() {
    for quick in [false, true] {
        let overrides = Overrides { axes: vec![axis(AxisId::Rate, &["5"])], quick, ..Overrides::default() };
        let scenario = parse(MINIMAL).unwrap().overridden_by(&overrides).unwrap();
        let points: Vec<Point> = scenario.matrix.points().collect();
        assert!(points.iter().all(|point| (point.rate, point.concurrency) == (Some(5.0), 64)), "{points:?}");
    }
    let both = vec![axis(AxisId::Rate, &["5"]), axis(AxisId::Concurrency, &["8"])];
    let scenario = parse(MINIMAL)
        .unwrap()
        .overridden_by(&Overrides { axes: both, ..Overrides::default() })
        .unwrap();
    assert!(scenario.matrix.points().all(|point| point.concurrency == 8));
}

#[test]
fn a_search_takes_a_number_of_requests_in_flight_for_a_limit_only_beside_a_rate() {
    let searched = |load: &str, matrix: &str, axes: Vec<(AxisId, Vec<String>)>| {
        let overrides = Overrides { capacity: Some("p99<50ms".to_owned()), axes, ..Overrides::default() };
        with("[matrix]", &format!("[load]\n{load}\n[matrix]\n{matrix}"))
            .unwrap()
            .overridden_by(&overrides)
    };
    let error = searched("", "concurrency = [1, 4]", Vec::new()).unwrap_err();
    assert!(error.contains("--capacity: the scenario's concurrency") && error.contains("--concurrency 64"), "{error}");
    for (load, matrix, axes) in [
        ("", "concurrency = [4]", vec![axis(AxisId::Concurrency, &["64"])]),
        ("rate = [5]", "concurrency = [64]", Vec::new()),
        ("", "", Vec::new()),
    ] {
        let scenario = searched(load, matrix, axes).unwrap();
        assert!(scenario.matrix.points().all(|point| (point.rate, point.concurrency) == (None, 64)), "{matrix}");
    }
    let error = searched("timeout_s = 0.04", "", Vec::new()).unwrap_err();
    assert!(error.contains("p99_ms <= 50") && error.contains("raise timeout_s"), "{error}");
}

#[test]
fn a_search_has_its_budget_however_precise_it_is_to_be() {
    let search = "[load]\nprecision = \"1%\"\n[capacity]\nbound = {p99_ms = 50}\nbudget_s = 3600\nblock_s = 100";
    let scenario = |overrides: Overrides| {
        with("name = \"y\"", &format!("name = \"y\"\n{search}"))
            .unwrap()
            .overridden_by(&overrides)
            .unwrap()
    };
    let found = |overrides| {
        let scenario = scenario(overrides);
        let search = scenario.capacity.unwrap();
        (search.budget.as_secs(), search.block.map(|block| block.as_millis()), scenario.load.precision)
    };
    assert_eq!(found(Overrides::default()), (3600, Some(100_000), Some(0.01)));
    let precise = Overrides { precision: Some("2%".to_owned()), ..Overrides::default() };
    assert_eq!(found(precise), (3600, Some(100_000), Some(0.02)));
    // a search takes many blocks
    let quick = Overrides { quick: true, ..Overrides::default() };
    assert_eq!(found(quick), (30, Some(3750), Some(0.01)));
}

#[test]
fn a_quick_case_lasts_as_long_as_it_may_unless_requests_are_asked_for() {
    let seconds = |seconds: f64| Some(Duration::from_secs_f64(seconds));
    let quick = || Overrides { quick: true, ..Overrides::default() };
    for (load, overrides, expected) in [
        ("", quick(), (0, seconds(3.0), seconds(3.0))),
        ("[load]\niterations = 1000000\n", quick(), (0, seconds(3.0), seconds(3.0))),
        ("[load]\nduration_s = 60\n", quick(), (0, seconds(3.0), seconds(3.0))),
        ("[load]\nduration_s = 1\n", quick(), (0, seconds(1.0), seconds(3.0))),
        ("[load]\nmax_seconds_per_case = 2\n", quick(), (0, seconds(2.0), seconds(2.0))),
        ("", Overrides { iterations: Some(20), ..quick() }, (20, None, seconds(3.0))),
        ("", Overrides { max_seconds: Some(2.0), ..quick() }, (0, seconds(2.0), seconds(2.0))),
        ("", Overrides { max_seconds: Some(2.0), ..Overrides::default() }, (1000, None, seconds(2.0))),
    ] {
        let scenario = with("[matrix]", &format!("{load}[matrix]")).unwrap().overridden_by(&overrides).unwrap();
        assert_eq!(
            (scenario.load.stop.requests, scenario.load.stop.least, scenario.load.stop.most),
            expected,
            "{load}{overrides:?}"
        );
        assert_eq!(scenario.load.is_open_ended(), overrides.quick && overrides.iterations.is_none());
    }
}

#[test]
fn wrong_options_name_option_value_and_remedy() {
    let none = Overrides::default;
    let axes = |axes: &[(AxisId, Vec<String>)]| Overrides { axes: axes.to_vec(), ..none() };
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (Overrides { iterations: Some(0), ..none() }, ["--iterations 0", "from 1 to 1000000000"]),
        (Overrides { iterations: Some(u64::MAX), ..none() }, ["--iterations 18446744073709551615", "from 1"]),
        (Overrides { warmup: Some(1_000_001), ..none() }, ["--warmup 1000001", "from 0 to 1000000"]),
        (axes(&[axis(AxisId::BatchSize, &["1", "0"])]), ["--batch-sizes 0", "from 1 to 65536"]),
        (axes(&[axis(AxisId::BatchSize, &["1", "4", "1"])]), ["--batch-sizes: 1", "remove the repetition"]),
        (axes(&[axis(AxisId::BatchSize, &["many"])]), ["--batch-sizes many", "an integer from 1"]),
        (axes(&[axis(AxisId::Processes, &["4097"])]), ["--processes 4097", "from 1 to 4096"]),
        (axes(&[axis(AxisId::Protocol, &["http", "http"])]), ["--protocols: http", "remove the repetition"]),
        (axes(&[axis(AxisId::Concurrency, &["1025"])]), ["--concurrency 1025", "from 1 to 1024"]),
        (axes(&[axis(AxisId::Connections, &["2"])]), ["2 connections for 1 requests", "raise concurrency"]),
        (axes(&[axis(AxisId::Rate, &["0"]), axis(AxisId::Concurrency, &["8"])]), ["--rate 0", "from 0.001 to 1000000"]),
        (Overrides { duration_s: Some(f64::NAN), ..none() }, ["--duration NaN", "from 0.01 to 604800"]),
        (Overrides { precision: text("60%"), ..none() }, ["--precision 60%", "from 0.1% to 50%"]),
        (
            Overrides { asserts: vec![Threshold::read("goodput_share > 0.99").unwrap()], ..none() },
            ["goodput_share > 0.99", "add goodput_ms"],
        ),
        (Overrides { server: text("gpu-box:8000"), ..none() }, ["--server gpu-box:8000", "without scheme, port"]),
        (Overrides { server: text("http://gpu-box"), ..none() }, ["--server http://gpu-box", "such as gpu-box"]),
        (Overrides { server: text("user:secret@gpu-box"), ..none() }, ["--server ***@gpu-box", "such as gpu-box"]),
        (Overrides { server: text(""), ..none() }, ["--server", "such as gpu-box"]),
        (Overrides { http: text("gpu-box"), ..none() }, ["--http gpu-box", "localhost:8000"]),
        (Overrides { grpc: text("user:secret@gpu-box:1"), ..none() }, ["--grpc ***@gpu-box:1", "leave user names"]),
    ];
    for (overrides, words) in cases {
        let error = parse(MINIMAL).unwrap().overridden_by(&overrides).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{overrides:?}: {error}");
        assert!(!error.contains("secret") && !error.contains('\n'), "{error}");
    }
    let sizes = axes(&[axis(AxisId::BatchSize, &["2"])]);
    let error = with("\"my-model\"", "\"m\"\nbatching = false")
        .unwrap()
        .overridden_by(&sizes)
        .unwrap_err();
    assert!(error.contains("--batch-sizes 2") && error.contains("leave the option out"), "{error}");
    let error = with("[4]", "[3, 4096, 4096]")
        .unwrap()
        .overridden_by(&axes(&[axis(AxisId::BatchSize, &["64"])]));
    assert!(
        error
            .unwrap_err()
            .contains("batch_sizes 64: a request of batch size 64 would hold 12884901888 bytes, more")
    );
    let rates = axes(&[axis(AxisId::Rate, &["50"])]);
    let error = with("[matrix]", "[matrix]\nconcurrency = [8]")
        .unwrap()
        .overridden_by(&rates)
        .unwrap_err();
    assert!(error.contains("the scenario's concurrency says") && error.contains("--concurrency 64"), "{error}");
    let excluding = "[matrix]\nbatch_sizes = [1, 4]\nexclude = [{batch_sizes = [4]}]";
    let error = with("[matrix]", excluding)
        .unwrap()
        .overridden_by(&axes(&[axis(AxisId::BatchSize, &["4"])]));
    assert!(error.unwrap_err().contains("exclude"));
}
