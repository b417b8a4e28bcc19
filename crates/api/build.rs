//! Compiles the protocol with a pure-Rust compiler, so that nothing has to be installed for it.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const PROTOS: [&str; 3] =
        ["proto/umbra/v1/common.proto", "proto/umbra/v1/array.proto", "proto/umbra/v1/service.proto"];
    for proto in PROTOS {
        println!("cargo:rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
