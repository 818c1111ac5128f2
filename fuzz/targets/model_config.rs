#![no_main]
runner_fuzz::target!(model_config);
