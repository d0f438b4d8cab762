//! What the public types are to their users beside their methods: which threads they may be on, that
//! they can be printed, and how errors lead to their causes.

use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use rejoin_tcp::*;

fn is_plain<T: Send + Sync + Unpin + Debug>() {}

fn is_sent<T: Send + Unpin + Debug>() {}

/// Compiles only if it is so.
#[test]
fn public_types_go_where_users_take_them() {
    is_plain::<TcpConfig>();
    is_plain::<Keepalive>();
    is_plain::<TcpError>();
    is_plain::<TcpSource>();
    is_plain::<TcpLinkListener>();
    is_plain::<TcpLink>();
    is_plain::<TcpLinkTx>();
    is_plain::<TcpLinkRx>();
    is_sent::<TcpListenerSource>();
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
        TcpError::Resolve { address: address(), source: broken() },
        TcpError::Connect { address: address(), source: broken() },
        TcpError::Bind { address: address(), source: broken() },
        TcpError::Accept { source: broken() },
    ];
    for error in errors {
        check(&error, 2, "the pipe broke");
        check(&io::Error::from(error), 2, "the pipe broke");
    }
    // Through the conduit that could not be opened.
    let source = TcpError::Connect { address: address(), source: broken() }.into();
    check(&ConnectError::Unreachable { attempts: 2, source }, 3, "the pipe broke");
    let lost = LinkLost(Arc::new(TcpError::Accept { source: broken() }.into()));
    check(&BareSendError::Lost(lost), 4, "the pipe broke");
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the pipe broke")
}

#[cfg(feature = "tls")]
#[test]
fn tls_is_no_different() {
    use rejoin_tcp::tls::{TlsError, TlsLink, TlsLinkListener, TlsLinkRx, TlsLinkTx, TlsSource};

    is_plain::<(TlsError, TlsSource, TlsLinkListener)>();
    is_sent::<(TlsLink, TlsLinkTx, TlsLinkRx)>();
    let source = || TlsError::Connection { source: broken() };
    check(&source(), 2, "the pipe broke");
    check(&TcpError::Tls { address: "there:1".to_owned(), source: source() }, 3, "the pipe broke");
    let unknown = rustls::Error::General("of no use".to_owned());
    let text = unknown.to_string();
    check(&TlsError::Protocol { source: unknown }, 2, &text);
}

#[cfg(feature = "tls")]
use rejoin_tcp::tls::rustls;
