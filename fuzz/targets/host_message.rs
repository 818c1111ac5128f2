#![no_main]
runner_fuzz::target!(host_message);
