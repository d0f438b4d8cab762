//! What can be watched from outside: `tracing` spans and events, and figures for the `metrics`
//! facade. Their names are part of the interface; no payload and no key is in any of them.
//!
//! For the state of one conduit see [`Status`](crate::Status) and [`Stats`](crate::Stats).
//!
//! # Spans
//!
//! | span | level | fields |
//! | --- | --- | --- |
//! | `session` | info | `role`; `id`, unique among those of the same listener, or among the dialled ones of the process |
//!
//! # Events
//!
//! Those of a session are within its span. An event is known by its message.
//!
//! | event | level | fields | when |
//! | --- | --- | --- | --- |
//! | `link up` | info | `peer`, `generation` | a handshake is complete |
//! | `link down` | info | `cause` | a session is without a link, or an attempt to change that failed |
//! | `link down while another comes up` | debug | `generation`, `cause` | the old link of a migration ended first |
//! | `no link` | debug | `error`, `fatal`, `better`, `attempts` | an attempt gave no link |
//! | `handshake failed` | debug | `peer`, `error` | a link was made, and its handshake was of no use |
//! | `handshake rejected` | debug | `peer`, `reason` | a listener does not let a peer in |
//! | `protocol violation` | warn | `generation`, `cause` | a peer sent what no correct peer sends |
//! | `the peer is going away` | info | `retry_after` | the peer has announced its end, for the first time on this link |
//! | `the peer closed` | debug | `code` | the peer sends nothing more |
//! | `session over` | info | `lost`, unless it was closed in good order | the end |
//! | `a peer of another identity has the key of a session` | warn | `peer` | a resume was refused |
//! | `a handshake failed` | debug | `peer`, `cause` | a stranger gave no hello |
//! | `a handshake was given up` | debug | `peer`, `cause` | there were too many at a time |
//! | `no link accepted` | debug | `error` | a listener's source failed once |
//! | `the link listener has failed for good` | warn | `error` | nothing more is accepted |
//! | `one of several listeners has failed for good` | warn | `error` | the others go on |
//! | `the listener failed and is tried again` | debug | `cause` | |
//! | `the listener failed for good` | debug | `cause` | |
//!
//! # Figures
//!
//! With the feature `metrics`. All have one label, `role`: `initiator` or `acceptor`. Each counts
//! over all sessions of the process. A recorder must be installed before the first conduit is made.
//!
//! | name | kind | what |
//! | --- | --- | --- |
//! | `rejoin_sessions_opened_total` | counter | sessions that came about |
//! | `rejoin_sessions_closed_total` | counter | of these, ended in good order |
//! | `rejoin_sessions_lost_total` | counter | of these, lost |
//! | `rejoin_sessions_active` | gauge | of these, not ended |
//! | `rejoin_resumes_total` | counter | links after a session's first |
//! | `rejoin_attempts_failed_total` | counter | attempts that gave no link |
//! | `rejoin_violations_total` | counter | links given up because the peer broke the protocol |
//! | `rejoin_messages_sent_total` | counter | messages accepted for sending |
//! | `rejoin_messages_acknowledged_total` | counter | of these, acknowledged by the peer |
//! | `rejoin_messages_received_total` | counter | messages received, each once |
//! | `rejoin_messages_replayed_total` | counter | messages written again after a resume |
//! | `rejoin_messages_duplicate_total` | counter | messages received again and ignored |
//! | `rejoin_bytes_sent_total` | counter | bytes of messages written, replays included |
//! | `rejoin_bytes_received_total` | counter | bytes of messages received |
//! | `rejoin_send_log_bytes` | gauge | what the send logs hold |
//! | `rejoin_inbox_bytes` | gauge | what waits for the application |
//! | `rejoin_handshakes_upgrade_failed_total` | counter | peers whose upgrade failed |
//! | `rejoin_handshakes_bad_hello_total` | counter | peers whose first payload was no hello |
//! | `rejoin_handshakes_closed_early_total` | counter | peers that left before their hello |
//! | `rejoin_handshakes_timed_out_total` | counter | peers that were not done by the deadline |
//! | `rejoin_handshakes_evicted_total` | counter | handshakes given up for a newer one |
//! | `rejoin_handshakes_rejected_total` | counter | peers that a listener did not let in |
