//! Tests of the files that say when requests arrived.

use super::*;

fn of(text: &str) -> Result<Arrived, Problem> {
    parse(text.as_bytes(), &Part::default(), 1.0)
}

/// The instants of a file, in milliseconds, and their length.
fn ms(text: &str) -> (Vec<u64>, u64) {
    let Arrived { due_ns, length_ns, .. } = of(text).unwrap();
    (due_ns.iter().map(|due_ns| due_ns / 1_000_000).collect(), length_ns / 1_000_000)
}

#[test]
fn instants_count_from_the_first_and_distances_add_up() {
    let expected = (vec![0, 500, 500, 2000], 2666);
    assert_eq!(ms("10\n10.5\n10.5\n12\n"), expected);
    assert_eq!(ms("time_s\n10\n10.5\n1.05e1\n12"), expected);
    assert_eq!(ms("\u{FEFF}\"name\",\"time_s\"\r\na,10\r\n\r\nb, 10.5\nc,10.5\nd,12\n"), expected);
    // as of the Unix epoch
    assert_eq!(ms("1732539021\n1732539021.5\n1732539021.5\n1732539023\n"), expected);
    assert_eq!(ms("interval_s\n0.5\n0\n1\n0.25\n"), (vec![500, 500, 1500, 1750], 1750));
    let fast = parse("0\n1\n2\n".as_bytes(), &Part::default(), 4.0).unwrap();
    assert_eq!((fast.due_ns, fast.length_ns), (vec![0, 250_000_000, 500_000_000], 750_000_000));
}

const RUN: &str = "case,block,process,request,due_us,start_us,sent_us,head_us,done_us,status\n\
    http-b1,0,0,0,1000.5,1001,1,1,1,ok\n\
    http-b1,0,0,1,3000.5,3001,1,1,1,ok\n\
    http-b1,0,1,0,2000.5,2001,1,1,1,\"it said \"\"no\"\", twice\"\n\
    grpc-b1,0,0,0,1000.5,1001,1,1,1,ok\n\
    http-b1,1,0,0,5,6,1,1,1,ok\n\
    http-b1,1,0,1,,10,1,1,1,ok\n";

#[test]
fn requests_of_a_run_are_those_of_one_case_and_block_of_all_processes() {
    let read = |case: Option<&str>, block| {
        let arrived = parse(RUN.as_bytes(), &Part { case: case.map(str::to_owned), block }, 1.0);
        arrived.map(|Arrived { due_ns, part, .. }| (due_ns, part.case.unwrap(), part.block.unwrap()))
    };
    let first = (vec![0, 1_000_000, 2_000_000], "http-b1".to_owned(), 0);
    assert_eq!(read(None, None), Ok(first.clone()));
    assert_eq!(read(Some("http-b1"), Some(0)), Ok(first));
    // where nothing was due, the actual start
    assert_eq!(read(None, Some(1)), Ok((vec![0, 5000], "http-b1".to_owned(), 1)));
    let (problem, help) = read(Some("grpc-b1"), Some(3)).unwrap_err();
    assert_eq!(problem, "has no requests of the case \"grpc-b1\" of block 3");
    assert!(help.contains("\"grpc-b1\" block 0, \"http-b1\" block 0, \"http-b1\" block 1"), "{help}");
    assert!(read(Some("grpc-b1"), None).unwrap_err().0.contains("no rate can be told"));
}

#[test]
fn what_is_no_file_of_arrivals_says_where() {
    let long = "1".repeat(100_000);
    for (text, expected) in [
        ("", "has no arrivals"),
        ("\n\n", "has no arrivals"),
        ("time_s\n", "has no arrivals"),
        ("5\n", "has 1 arrivals in 0 s"),
        ("5\n5\n", "has 2 arrivals in 0 s"),
        ("0\n1\n0.5\n", "has \"0.5\" in line 3, which is less than in the line before"),
        ("0\n-1\n", "has \"-1\" in line 2, which is negative"),
        ("interval_s\n1\n-1\n", "has \"-1\" in line 3, which is negative"),
        ("time_s\n0\n\ntwo\n", "has \"two\" in line 4, expected a number of seconds"),
        ("time_s\n0\nNaN\n", "has \"NaN\" in line 3, expected a number of seconds"),
        ("time_s\n0\ninf\n", "has \"inf\" in line 3, expected a number of seconds"),
        ("time_s,x\n0,\n,1\n", "has \"\" in line 3, expected a number of seconds"),
        ("seconds\n0\n1\n", "has \"seconds\" in line 1, which names no column"),
        ("1,2\n", "has \"1,2\" in line 1, which names no column"),
        ("case,block,due_us\na,x,1\n", "has \"x\" in line 2, expected the number of a block"),
        ("case,block,due_us\na,0,?\n", "has \"?\" in line 2, expected a number of microseconds"),
        ("0\n700000\n", "has 2 arrivals in 1400000 s"),
        ("0\n1e-9\n", "arrivals in 0.000000002 s"),
        (&long, "has more than 65536 bytes in line 1"),
    ] {
        let (problem, help) = of(text).unwrap_err();
        assert!(problem.contains(expected), "{text:.60}: {problem}");
        assert!(!help.is_empty());
    }
    let (problem, _) = parse(&b"0\n\xff\n"[..], &Part::default(), 1.0).unwrap_err();
    assert!(problem.contains("bytes in line 2 that are no text"), "{problem}");
    let (problem, _) = parse(&b"0\n1\n"[..], &Part { block: Some(1), case: None }, 1.0).unwrap_err();
    assert_eq!(problem, "has no columns case and block");
}

#[test]
fn there_may_be_so_many_and_no_more() {
    let lines = |count: usize| "interval_s\n".to_owned() + &"0.1\n".repeat(count);
    assert_eq!(of(&lines(ARRIVALS_MAX)).unwrap().due_ns.len(), ARRIVALS_MAX);
    let (problem, _) = of(&lines(ARRIVALS_MAX + 1)).unwrap_err();
    assert_eq!(problem, format!("has more than {ARRIVALS_MAX} arrivals (line {})", ARRIVALS_MAX + 2));
}
