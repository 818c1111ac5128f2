#![no_main]
runner_fuzz::target!(histogram_log);
