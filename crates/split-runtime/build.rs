//! Turns `proto/*.proto` into Rust when the feature `grpc` is on. The compiler is protox, written in
//! Rust, so that nobody needs protoc; generating at build time keeps code and files one thing.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");
    #[cfg(feature = "grpc")]
    {
        let files = protox::compile(["inference.proto", "stream.proto"], ["proto"])?;
        tonic_prost_build::configure()
            // Bodies become slices of the receive buffer, not copies.
            .bytes(".")
            // `iter_over_hash_type` holds for generated code too.
            .btree_map(".")
            .compile_fds(files)?;
    }
    Ok(())
}
