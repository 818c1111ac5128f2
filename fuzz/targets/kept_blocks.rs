#![no_main]
runner_fuzz::target!(kept_blocks);
