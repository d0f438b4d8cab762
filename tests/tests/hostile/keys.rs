//! Resumes with another session's key, with and without an identity.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use rejoin_tcp::protocol::{Profile, RejectReason};
use rejoin_tcp::{Link, LinkListener, Peer, StableListener, TcpLink, TcpLinkListener};
use rejoin_tests::scripted::{data, hello, resume, settings, tag};

use crate::stage::{Stage, assert_connected, config, greeted, rejected, soon, text};

#[tokio::test]
async fn a_stolen_key_takes_the_session_over_where_there_is_no_identity() {
    let mut stage = Stage::new().await;
    let (mut owner, key, tx, mut rx) = stage.hostile().await;
    let (mut thief, _) = greeted(stage.address, &resume(key, None)).await;
    thief.send(&settings(1 << 20)).await.unwrap();
    thief.send(&data(0, None, &text("mine"))).await.unwrap();
    assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), "mine");
    tx.send(&"secret".to_owned()).await.unwrap();
    assert_eq!(soon(thief.recv_tag(tag::DATA_WITH_ACK)).await.unwrap()[3..], text("secret"));
    // The owner notices: its link is closed, and its key is of no use any more.
    soon(owner.until_end()).await;
    assert_eq!(rejected(stage.address, &resume(key, None)).await, 1);
    assert_connected(&tx, 2);
    stage.exchange().await;
}

#[tokio::test]
async fn a_guessed_key_opens_nothing() {
    let mut stage = Stage::new().await;
    let (_owner, key, tx, _rx) = stage.hostile().await;
    for bit in 0..128 {
        let mut guess = key;
        guess[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(rejected(stage.address, &resume(guess, None)).await, 1);
    }
    assert_connected(&tx, 1);
    assert_eq!(stage.listener.sessions(), 2);
    stage.exchange().await;
}

/// Knows who its peers are, in the order in which they come.
struct Identified {
    inner: TcpLinkListener,
    names: Arc<Mutex<VecDeque<&'static str>>>,
}

struct IdentifiedLink {
    inner: TcpLink,
    peer: Peer,
}

impl LinkListener for Identified {
    type Link = IdentifiedLink;
    type Upgrade = std::future::Ready<io::Result<IdentifiedLink>>;

    async fn accept(&mut self) -> io::Result<Self::Upgrade> {
        let inner = self.inner.accept().await?.await?;
        let name = self.names.lock().unwrap().pop_front();
        let peer = match name {
            Some(name) => inner.peer().with_identity(name),
            None => inner.peer(),
        };
        Ok(std::future::ready(Ok(IdentifiedLink { inner, peer })))
    }
}

impl Link for IdentifiedLink {
    type Tx = <TcpLink as Link>::Tx;
    type Rx = <TcpLink as Link>::Rx;

    fn split(self) -> (Self::Tx, Self::Rx) {
        self.inner.split()
    }

    fn peer(&self) -> Peer {
        self.peer.clone()
    }
}

#[tokio::test]
async fn a_stolen_key_is_refused_to_another_identity() {
    // The honest session, the owner, the thief, a stranger without an identity, the owner again.
    let names = ["honest", "owner", "thief"].into();
    let names: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(names));
    let wrap = |inner| Identified { inner, names: Arc::clone(&names) };
    let mut stage = Stage::over(config(), wrap).await;
    let (mut owner, key, tx, mut rx) = stage.hostile().await;
    assert_eq!(rejected(stage.address, &resume(key, None)).await, 7, "the thief");
    assert_eq!(rejected(stage.address, &resume(key, None)).await, 7, "the stranger");
    // The owner has not noticed a thing.
    owner.send(&data(0, None, &text("mine"))).await.unwrap();
    assert_eq!(*soon(rx.recv()).await.unwrap().unwrap(), "mine");
    assert_connected(&tx, 1);
    names.lock().unwrap().push_back("owner");
    let (_owner, _) = greeted(stage.address, &resume(key, None)).await;
    stage.exchange().await;
}

/// A session that was opened without an identity may roam to where it has one, and back.
#[tokio::test]
async fn a_key_of_nobody_in_particular_is_good_for_everybody() {
    let names: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(["honest"].into()));
    let wrap = |inner| Identified { inner, names: Arc::clone(&names) };
    let mut stage = Stage::over(config(), wrap).await;
    let (_owner, key, _tx, _rx) = stage.hostile().await;
    names.lock().unwrap().push_back("somebody");
    let (_, key) = greeted(stage.address, &resume(key, None)).await;
    greeted(stage.address, &resume(key, None)).await;
}

#[tokio::test]
async fn the_hook_can_keep_out_the_base_profile() {
    let inner = TcpLinkListener::bind("127.0.0.1:0").await.unwrap();
    let address = inner.local_addr().unwrap();
    let listener = StableListener::<String>::with_admission(inner, config(), |candidate| {
        match candidate.profile {
            Profile::Extended => Ok(()),
            _ => Err(RejectReason::Forbidden),
        }
    });
    let mut listener = listener.unwrap();
    // A rejection has no reason in the base profile.
    assert_eq!(rejected(address, &hello(0, [0; 16], 0)).await, 0);
    assert_eq!(listener.sessions(), 0);
    let (mut peer, _) = greeted(address, &rejoin_tests::scripted::fresh(1)).await;
    peer.send(&settings(1 << 20)).await.unwrap();
    soon(listener.accept()).await.unwrap();
}
