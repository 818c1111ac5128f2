//! Runs the targets of `tests/fuzz/targets.rs` under libFuzzer, and bounds the memory that they take.

#[path = "../../tests/fuzz/targets.rs"]
pub mod targets;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a target may take whatever its input is: histograms have a fixed size.
const BYTES_FIXED: usize = 32 << 20;
/// What it may take beyond that for each byte of its input.
const BYTES_A_BYTE: usize = 256;

/// The system's allocator, and what of it is taken.
struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;
static TAKEN: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn take(bytes: usize) {
    let taken = TAKEN.fetch_add(bytes, Relaxed) + bytes;
    MOST.fetch_max(taken, Relaxed);
}

// SAFETY: everything is left to the system's allocator
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        TAKEN.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

/// Runs a target once.
pub fn bounded(target: fn(&[u8]), data: &[u8]) {
    let before = TAKEN.load(Relaxed);
    MOST.store(before, Relaxed);
    target(data);
    let taken = MOST.load(Relaxed) - before;
    let allowed = BYTES_FIXED + BYTES_A_BYTE * data.len();
    assert!(taken <= allowed, "an input of {} bytes takes {taken} bytes of memory, more than {allowed}", data.len());
}

/// Makes one of the targets a program.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::bounded($crate::targets::$name, data));
    };
}
