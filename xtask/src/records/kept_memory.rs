/// Variables of glibc, and what `cargo xtask` sets them to for `lab`: blocks of up to a gibibyte come from a heap
/// that keeps up to two when they are freed.
pub const KEPT_MEMORY: [(&str, &str); 2] = [
    ("MALLOC_MMAP_THRESHOLD_", "1073741824"),
    ("MALLOC_TRIM_THRESHOLD_", "2147483648"),
];
