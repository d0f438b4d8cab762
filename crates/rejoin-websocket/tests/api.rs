//! What the public types are to their users beside their methods: which threads they may be on, that
//! they can be printed, and how errors lead to their causes.

use std::error::Error;
use std::fmt::Debug;
use std::io;

use rejoin_websocket::*;

fn is_plain<T: Send + Sync + Unpin + Debug>() {}

fn is_sent<T: Send + Unpin + Debug>() {}

/// Compiles only if it is so.
#[test]
fn public_types_go_where_users_take_them() {
    is_plain::<WebSocketConfig>();
    is_plain::<WebSocketError>();
    is_plain::<WebSocketSendError>();
    is_plain::<WebSocketRecvError>();
    is_plain::<UpgradeRefused>();
    is_plain::<OfferError>();
    is_plain::<Side>();
    is_plain::<WebSocketSource>();
    is_plain::<WebSocketLinkSender>();
    is_sent::<WebSocketLinkListener>();
    is_sent::<WebSocketLinkReceiver>();
    is_sent::<WebSocketLink>();
    is_sent::<WebSocketLinkTx>();
    is_sent::<WebSocketLinkRx>();
    is_sent::<WebSocketUpgrade>();
    is_sent::<WebSocketListenerSource>();
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
    let address = || "there:1".to_owned();
    let errors = [
        WebSocketError::Resolve { address: address(), source: broken() },
        WebSocketError::Connect { address: address(), source: broken() },
        WebSocketError::Tls { address: address(), source: broken() },
        WebSocketError::Handshake { address: address(), source: broken() },
        WebSocketError::Bind { address: address(), source: broken() },
        WebSocketError::Accept { source: broken() },
    ];
    for error in errors {
        check(&error, 2, "the pipe broke");
        check(&io::Error::from(error), 2, "the pipe broke");
    }
    let refused = WebSocketError::Refused { address: address(), source: UpgradeRefused::Path };
    check(&refused, 2, &UpgradeRefused::Path.to_string());
    check(&OfferError::Full, 1, &OfferError::Full.to_string());
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the pipe broke")
}
