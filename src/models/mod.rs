//! Model files: stand-ins with the real structure, and the published weights.
