//! What `build.rs` makes of `proto/*.proto`.
#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    clippy::missing_errors_doc,
    clippy::use_self,
    reason = "generated"
)]

pub mod inference {
    tonic::include_proto!("inference");
}

pub mod stream {
    tonic::include_proto!("split.runtime.v1");
}
