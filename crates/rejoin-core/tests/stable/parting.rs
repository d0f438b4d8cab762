//! The last words of a session that is closed: whoever has waited for them may end its process.

use std::time::Duration;

use rejoin_core::{SessionLost, StableConfig, Status};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::common::{Conduit, Halves, World, expect_all, recv, send_all, settle, within};
use crate::faults::Plan;

fn manual() -> StableConfig {
    let mut config = StableConfig::default();
    config.manual_ack = true;
    config
}

/// A client whose own close is confirmed, and that has to acknowledge one item yet; and the server,
/// which has closed.
async fn about_to_part(world: &mut World, plan: &std::sync::Arc<Plan>) -> (Halves, Halves) {
    let dial = Conduit::connect_with(plan.source(&world.connector), manual());
    let (near, far) = within(async { tokio::join!(dial, world.listener.accept()) }).await;
    let ((near_tx, mut near_rx), far) = (near.unwrap().split(), far.unwrap().split());
    send_all(&far.0, 0..1).await;
    expect_all(&mut near_rx, 0..1).await;
    within(near_tx.close()).await.unwrap();
    assert_eq!(within(recv(&mut near_rx)).await.unwrap(), None);
    assert_eq!(far.0.stats().messages_acknowledged, 0, "that is up to the application");
    ((near_tx, near_rx), far)
}

/// CLOSE-4.
#[tokio::test(start_paused = true)]
async fn close_waits_until_the_link_has_taken_the_last_word() {
    let (mut world, plan) = (World::new(), Plan::new());
    let ((near_tx, near_rx), (far_tx, _far_rx)) = about_to_part(&mut world, &plan).await;
    plan.takes.send_replace(false);
    near_rx.acknowledge(near_rx.last_position().unwrap());
    let mut closing = tokio::spawn(async move { near_tx.close().await });
    settle().await;
    assert!(tokio::time::timeout(Duration::from_secs(2), &mut closing).await.is_err());
    plan.takes.send_replace(true);
    within(closing).await.unwrap().unwrap();
    assert_eq!(far_tx.stats().messages_acknowledged, 1);
    assert!(matches!(*far_tx.status().borrow(), Status::Closed { .. }));
}

#[tokio::test(start_paused = true)]
async fn close_does_not_wait_for_ever_for_a_link_that_takes_nothing() {
    let (mut world, plan) = (World::new(), Plan::new());
    let ((near_tx, near_rx), _far) = about_to_part(&mut world, &plan).await;
    plan.takes.send_replace(false);
    near_rx.acknowledge(near_rx.last_position().unwrap());
    let begun = Instant::now();
    within(near_tx.close()).await.unwrap();
    assert!(begun.elapsed() < StableConfig::default().linger, "{:?}", begun.elapsed());
    assert!(matches!(*near_tx.status().borrow(), Status::Closed { .. }));
}

/// A close that the peer has confirmed is not said to be lost because the last word cannot be said.
#[tokio::test(start_paused = true)]
async fn close_is_no_loss_when_there_is_no_link_for_the_last_word() {
    let (mut world, plan) = (World::new(), Plan::new());
    let ((near_tx, near_rx), _far) = about_to_part(&mut world, &plan).await;
    world.network.refuse_dials();
    world.network.cut_links();
    settle().await;
    near_rx.acknowledge(near_rx.last_position().unwrap());
    within(near_tx.close()).await.unwrap();
    assert!(matches!(*near_tx.status().borrow(), Status::Closed { .. }));
}

/// As a program does it whose `main` ends with the close.
#[test]
fn a_runtime_may_end_once_close_has_returned() {
    for _ in 0..20 {
        let (serving, calling) = (runtime(), runtime());
        let mut world = serving.block_on(async { World::new() });
        let (near, far) = std::thread::scope(|scope| {
            let connector = world.connector.clone();
            let dial = Conduit::connect_with(connector.source(), manual());
            let near = scope.spawn(|| calling.block_on(within(dial)).unwrap().split());
            let far = serving.block_on(within(world.listener.accept())).unwrap().split();
            (near.join().unwrap(), far)
        });
        let served = std::thread::spawn(move || {
            serving.block_on(async move {
                send_all(&far.0, 0..3).await;
                within(far.0.close()).await
            })
        });
        calling.block_on(async move {
            let (tx, mut rx) = near;
            expect_all(&mut rx, 0..3).await;
            assert_eq!(within(recv(&mut rx)).await.unwrap(), None);
            // The peer has confirmed it, as far as it can without the acknowledgements.
            within(tx.close()).await.unwrap();
            rx.acknowledge(rx.last_position().unwrap());
            within(tx.close()).await.unwrap();
        });
        drop(calling);
        let served: Result<(), SessionLost> = served.join().unwrap();
        served.unwrap();
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
