//! Conduits over the memory link, under paused time.

use rejoin_core::{MemoryConfig, StableConduit, StableListener, memory_listener};

#[tokio::test(start_paused = true)]
async fn messages_cross_and_survive_cuts() {
    let (listener, connector) = memory_listener(MemoryConfig::default());
    let mut listener = StableListener::<String>::new(listener);
    let network = connector.network().clone();
    let client = tokio::spawn(async move {
        let conduit = StableConduit::<String>::connect(connector.source()).await.unwrap();
        let (tx, mut rx) = conduit.split();
        for n in 0..1000u32 {
            tx.send(&format!("ping {n}")).await.unwrap();
            assert_eq!(rx.recv().await.unwrap().unwrap().as_str(), format!("pong {n}"));
            if n % 100 == 7 {
                network.cut_links();
            }
        }
        tx.close().await.unwrap();
        assert!(rx.recv().await.unwrap().is_none());
    });
    let (tx, mut rx) = listener.accept().await.unwrap().split();
    let mut n = 0;
    while let Some(message) = rx.recv().await.unwrap() {
        assert_eq!(message.as_str(), format!("ping {n}"));
        tx.send(&format!("pong {n}")).await.unwrap();
        n += 1;
    }
    assert_eq!(n, 1000);
    client.await.unwrap();
}
