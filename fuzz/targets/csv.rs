#![no_main]
runner_fuzz::target!(csv);
