#![no_main]
runner_fuzz::target!(worker_message);
