#![no_main]
runner_fuzz::target!(grpc_answer);
