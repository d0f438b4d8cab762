//! Takes the programs out of the README, so that a test can compile and run them as they stand
//! there, but for the address.

use std::path::Path;
use std::{env, fs, io};

/// A link to that of the project, so that it is there also where this package is alone.
const README: &str = "README.md";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={README}");
    let folder = env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?;
    let readme = fs::read_to_string(README)?;
    let blocks: Vec<_> = readme.split("```rust\n").skip(1).collect();
    let [server, client] = blocks[..] else {
        return Err(io::Error::other("the README has other programs than a server and a client"));
    };
    for (name, block) in [("server.rs", server), ("client.rs", client)] {
        let code = block.split("```").next().unwrap_or_default();
        let code = code.replace("\"127.0.0.1:7000\"", "crate::address()");
        fs::write(Path::new(&folder).join(name), code)?;
    }
    Ok(())
}
