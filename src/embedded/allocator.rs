//! How the C library hands out memory, settled once for the process that serves.

/// Begins the program anew, as the same process, with glibc's allocator settled. Returns where that is done or cannot be:
/// then the server needs more memory, and is the same otherwise.
///
/// Memory above the threshold goes back to the system as soon as it is free. Left alone, glibc raises the threshold to the
/// size of a model's largest activations, whose holes then stay with each thread that executes: twice the memory after some
/// requests.
pub fn settle() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::env;
        use std::os::unix::process::CommandExt;
        use std::process::Command;

        const THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";
        const BYTES: &str = "1048576";

        // glibc reads it when a process begins; what the user has set stays
        if env::var_os(THRESHOLD).is_some() {
            return;
        }
        let mut arguments = env::args_os();
        if let (Ok(program), Some(name)) = (env::current_exe(), arguments.next()) {
            let _ = Command::new(program).arg0(name).args(arguments).env(THRESHOLD, BYTES).exec();
        }
    }
}
