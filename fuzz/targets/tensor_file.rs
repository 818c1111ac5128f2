#![no_main]
runner_fuzz::target!(tensor_file);
