//! What is generated and committed is still what its source says.

use std::fs;
use std::path::Path;

/// Set it to write the generated file anew instead of comparing.
const BLESS: &str = "SIDEGATE_BLESS";

const HEADER: &str = "\
//! Messages, client and server of the SPIFFE Workload API, generated from `proto/workload.proto`.
//!
//! Do not edit: `SIDEGATE_BLESS=1 cargo test --test it generated` writes this file anew.

#![allow(
    missing_debug_implementations,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    clippy::use_self,
    reason = \"generated code keeps the generator's style\"
)]

";

#[test]
fn the_workload_api_bindings_match_the_proto_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/workload_api/pb.rs");
    let generated = generate(root);

    if std::env::var_os(BLESS).is_some() {
        fs::write(&committed, generated).unwrap();
        return;
    }
    let committed = fs::read_to_string(&committed).unwrap();
    assert!(
        committed == generated,
        "src/workload_api/pb.rs is not what proto/workload.proto generates; run with {BLESS}=1"
    );
}

#[test]
fn both_sides_know_the_development_agent_by_the_same_mark() {
    assert_eq!(sidegate::identity::DEV_AGENT_MARKER, sidegate::dev::DEV_AGENT_MARKER);
    assert_eq!(sidegate::identity::DEV_KEY_PREFIX, sidegate::dev::DEV_KEY_PREFIX);
}

/// As the names of the package have it.
fn nested(modules: &[&str], body: &str) -> String {
    let open: String = modules.iter().map(|name| format!("pub mod {name} {{\n")).collect();
    format!("{open}{body}{}", "}\n".repeat(modules.len()))
}

fn generate(root: &Path) -> String {
    let out = tempfile::tempdir().unwrap();
    let proto = root.join("proto");
    let descriptors = protox::compile([proto.join("workload.proto")], [proto]).unwrap();
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".")
        // What carries keys or tokens cannot be printed.
        .skip_debug([
            "X509SVID",
            "X509SVIDResponse",
            "JWTSVID",
            "JWTSVIDResponse",
            "ValidateJWTSVIDRequest",
        ])
        // `Struct` comes along instead of from one more crate.
        .compile_well_known_types(true)
        .emit_rerun_if_changed(false)
        .out_dir(out.path())
        .compile_fds(descriptors)
        .unwrap();
    // The proto file has no package, hence the generator's name for the output.
    let body = fs::read_to_string(out.path().join("_.rs")).unwrap();
    let borrowed = fs::read_to_string(out.path().join("google.protobuf.rs")).unwrap();
    format!("{HEADER}{body}{}", nested(&["google", "protobuf"], &borrowed))
}
