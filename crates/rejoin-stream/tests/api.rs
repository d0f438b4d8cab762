//! What the public types are to their users beside their methods: which threads they may be on, that
//! they can be printed, and how errors lead to their causes.

use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use rejoin_stream::cobs::framing::{Check, Chunk, Deframer, Frame};
use rejoin_stream::*;
use tokio::io::DuplexStream;

fn is_plain<T: Send + Sync + Unpin + Debug>() {}

/// Compiles only if it is so.
#[test]
fn public_types_go_where_users_take_them() {
    is_plain::<StreamConfig>();
    is_plain::<CobsConfig>();
    is_plain::<StreamSendError>();
    is_plain::<StreamRecvError>();
    is_plain::<CobsError>();
    is_plain::<LinkEnd>();
    is_plain::<LineStats>();
    is_plain::<LineStatsHandle>();
    is_plain::<LengthPrefixedLink<DuplexStream, DuplexStream>>();
    is_plain::<LengthPrefixedTx<DuplexStream>>();
    is_plain::<LengthPrefixedRx<DuplexStream>>();
    is_plain::<CobsLine>();
    is_plain::<CobsLink>();
    is_plain::<CobsTx>();
    is_plain::<CobsRx>();
    is_plain::<ReadBuffer>();
    is_plain::<Check>();
    is_plain::<Chunk>();
    is_plain::<Deframer>();
    is_plain::<Frame>();
}

/// Walks down to the root; each error says something of its own, in one lower-case sentence.
#[track_caller]
fn check(error: &(dyn Error + 'static), depth: usize, root: &str) {
    let chain: Vec<_> = std::iter::successors(Some(error), |&error| error.source()).collect();
    assert_eq!(chain.len(), depth, "{chain:?}");
    let texts: Vec<_> = chain.iter().map(ToString::to_string).collect();
    for (text, cause) in texts.iter().zip(texts.iter().skip(1)) {
        assert!(!text.contains(cause.as_str()), "`{text}` repeats `{cause}`");
    }
    for text in &texts {
        let first = text.chars().next().expect("not empty");
        assert!(!first.is_uppercase() && !text.ends_with('.') && !text.contains('\n'), "{text:?}");
    }
    assert_eq!(texts.last().map(String::as_str), Some(root));
}

#[test]
fn errors_lead_to_their_causes() {
    check(&CobsError::Lost(Arc::new(broken())), 2, "the pipe broke");
    check(&LinkEnd::Lost(Arc::new(broken())), 2, "the pipe broke");
    let text = CobsError::SameRole.to_string();
    check(&CobsError::SameRole, 1, &text);
    for end in [LinkEnd::Damaged, LinkEnd::PeerHungUp, LinkEnd::Replaced, LinkEnd::Closed] {
        check(&end, 1, &end.to_string());
    }
    // As an I/O error, too, whose own place in the chain the error takes.
    check(&io::Error::from(LinkEnd::Lost(Arc::new(broken()))), 2, "the pipe broke");
    for error in [StreamRecvError::Truncated { received: 3 }, StreamRecvError::Failed] {
        let text = error.to_string();
        check(&io::Error::from(error), 1, &text);
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the pipe broke")
}
