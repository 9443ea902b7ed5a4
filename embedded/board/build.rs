//! Puts the memory map of the board where the linker finds it.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let target = env::var("TARGET").expect("cargo sets it");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    if let Ok(map) = fs::read(format!("memory/{target}.x")) {
        fs::write(out.join("memory.x"), map).expect("the folder is ours");
        println!("cargo:rustc-link-search={}", out.display());
    }
    println!("cargo:rustc-check-cfg=cfg(board, values(\"microbit\", \"an505\", \"an386\"))");
    let board = match target.as_str() {
        "thumbv6m-none-eabi" => "microbit",
        "thumbv8m.main-none-eabi" => "an505",
        _ => "an386",
    };
    println!("cargo:rustc-cfg=board=\"{board}\"");
    println!("cargo:rerun-if-changed=memory");
    println!("cargo:rerun-if-changed=build.rs");
}
