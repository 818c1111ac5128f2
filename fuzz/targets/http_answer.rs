#![no_main]
runner_fuzz::target!(http_answer);
