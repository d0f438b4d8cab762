//! One end of a session in a process of its own, for the tests in `tests/processes.rs` to kill and
//! to freeze: `peer serve ADDRESS`, `peer serve-manual ADDRESS` or `peer call ADDRESS`.
//!
//! It sends every text back, but for those that begin with `#`: these it only counts. In answer to
//! `resumes?` it says how many links it has had after the first, in answer to `counted?` how many it has
//! counted.
//! A server tells its address on the first line of its output. One that serves manually acknowledges
//! nothing but what comes up to and with the last `ack!`.

use std::error::Error;
use std::time::Duration;

use rejoin_tcp::{
    ListenerConfig, StableConduit, StableConfig, StableListener, TcpLinkListener, TcpSource,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let conduit = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [serve @ ("serve" | "serve-manual"), address] => {
            let listener = TcpLinkListener::bind(address).await?;
            println!("{}", listener.local_addr()?);
            let mut config = ListenerConfig::default();
            config.conduit.manual_ack = serve == "serve-manual";
            let mut listener = StableListener::with_config(listener, config)?;
            let conduit = listener.accept().await?;
            // It has to take the links of those who come back.
            tokio::spawn(async move { while listener.accept().await.is_ok() {} });
            conduit
        }
        ["call", address] => {
            let mut config = StableConfig::default();
            config.ping_interval = Duration::from_millis(300);
            config.peer_dead_after = Duration::from_secs(2);
            StableConduit::connect_with(TcpSource::new(address), config).await?
        }
        _ => return Err("usage: peer serve|serve-manual|call ADDRESS".into()),
    };
    echo(conduit).await
}

async fn echo(conduit: StableConduit<String>) -> Result<(), Box<dyn Error>> {
    let (tx, mut rx) = conduit.split();
    let mut counted = 0_u64;
    while let Some(text) = rx.recv().await? {
        if *text == "ack!" {
            rx.last_position().into_iter().for_each(|position| rx.acknowledge(position));
        } else if text.starts_with('#') {
            counted += 1;
        } else if *text == "counted?" {
            tx.send(&counted.to_string()).await?;
        } else if *text == "resumes?" {
            tx.send(&tx.stats().resumes.to_string()).await?;
        } else {
            tx.send(&text).await?;
        }
    }
    tx.close().await?;
    Ok(())
}
