//! Model files: stand-ins with the real structure, and the published weights.
mod arcface;
mod onnx;
mod scrfd;
mod weights;
