//! The two programs of the README run, and understand each other.

use std::net::{SocketAddr, TcpListener};
use std::sync::OnceLock;
use std::thread;

mod server {
    include!(concat!(env!("OUT_DIR"), "/server.rs"));

    pub(crate) fn run() -> std::io::Result<()> {
        main()
    }
}

mod client {
    include!(concat!(env!("OUT_DIR"), "/client.rs"));

    pub(crate) fn run() -> Result<(), Box<dyn std::error::Error>> {
        main()
    }
}

/// Where the programs believe that 127.0.0.1:7000 is.
fn address() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let free = TcpListener::bind("127.0.0.1:0").expect("the system has a port");
        free.local_addr().expect("a listener has an address")
    })
}

#[test]
fn the_client_and_the_server_of_the_readme_understand_each_other() {
    // It serves until this process ends.
    thread::spawn(server::run);
    client::run().expect("the client gets its answers");
}
