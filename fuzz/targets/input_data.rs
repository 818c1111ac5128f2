#![no_main]
runner_fuzz::target!(input_data);
