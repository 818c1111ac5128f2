#![no_main]
runner_fuzz::target!(json_answer);
