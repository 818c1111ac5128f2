#![no_main]
runner_fuzz::target!(arrivals);
