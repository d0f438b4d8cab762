//! WebSocket links for [rejoin](rejoin_core).
//!
#![doc = include_str!("../README.md")]
//!
//! # What is not here
//!
//! No extensions, no HTTP/2, no proxies, no cookies. The handshakes and the grammar of frames are
//! tokio-tungstenite's; sessions are the core's business.

// docs.rs says of each item which feature it needs; elsewhere this has no effect.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod channel;
mod config;
mod error;
mod frame;
mod frames;
mod handshake;
mod link;
mod listener;
mod rx;
mod shared;
mod source;
#[cfg(feature = "tls")]
pub mod tls;
mod tx;
mod url;

pub use channel::{OfferError, WebSocketLinkReceiver, WebSocketLinkSender, websocket_link_channel};
pub use config::WebSocketConfig;
pub use error::{UpgradeRefused, WebSocketError, WebSocketRecvError, WebSocketSendError};
pub use frame::Side;
pub use handshake::{refusal_response, upgrade_response};
pub use http;
pub use link::WebSocketLink;
pub use listener::{WebSocketLinkListener, WebSocketListenerSource, WebSocketUpgrade};
pub use rejoin_core::*;
pub use rx::WebSocketLinkRx;
pub use source::WebSocketSource;
pub use tx::WebSocketLinkTx;
