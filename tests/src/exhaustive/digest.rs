//! When two states of the exhaustive search are the same.

use std::collections::hash_map::DefaultHasher;
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use rejoin_core::protocol::{ClientHello, ResumeKey, ServerHello};

use super::model::{End, Model};

impl Model {
    /// Two states with one digest have the same future: names of links and keys do not matter, only
    /// which is which.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for end in 0..2 {
            let side = &self.sides[end];
            let mut text = SessionText { text: String::with_capacity(4096), skips_to: None };
            // The error is the text's own way to say that it has heard enough.
            let _ = write!(text, "{:?}", side.session);
            hasher.write(text.text.as_bytes());
            side.session.peer_item_bytes_max().hash(&mut hasher);
            (side.sent, side.received, side.closed, side.ending.is_some()).hash(&mut hasher);
        }
        for (number, wire) in self.wires.iter().enumerate() {
            let unheard = wire.ends == [End::Down, End::Greeting] && wire.lanes[0].is_empty();
            if wire.ends == [End::Down; 2] || unheard {
                continue;
            }
            (self.attempt == Some(number)).hash(&mut hasher);
            for end in 0..2 {
                match wire.ends[end] {
                    End::Greeting => 0,
                    End::Down => 1,
                    End::Up(link) if self.sides[end].session.link() == Some(link) => 2,
                    End::Up(_) => 3,
                }
                .hash(&mut hasher);
                wire.lanes[end].len().hash(&mut hasher);
                for payload in &wire.lanes[end] {
                    self.hash_payload(payload.as_ref(), &mut hasher);
                }
            }
        }
        let own = self.sides[0].session.client_hello().resume_key();
        own.map(|key| self.key_name(key)).hash(&mut hasher);
        let acceptors_link = self.sides[1].session.link();
        let given =
            self.given.map(|(link, key)| (acceptors_link == Some(link), self.key_name(key)));
        (given, self.proved.is_some(), self.id.is_some()).hash(&mut hasher);
        let left = self.left;
        (left.items, left.cuts, left.replies, left.abandons, left.migrations).hash(&mut hasher);
        hasher.finish()
    }

    fn key_name(&self, key: ResumeKey) -> u8 {
        if self.proved == Some(key) {
            0
        } else if self.given.is_some_and(|(_, given)| given == key) {
            1
        } else {
            2
        }
    }

    fn hash_payload(&self, payload: Option<&Bytes>, hasher: &mut impl Hasher) {
        let Some(payload) = payload else { return hasher.write_u8(0) };
        if let Ok(hello) = ClientHello::decode(payload) {
            let key = hello.resume_key().map(|key| self.key_name(key));
            (1, key, hello.last_received().map(|seq| seq.0)).hash(hasher);
        } else if let Ok(ServerHello::Accepted { key, last_received, .. }) =
            ServerHello::decode(payload)
        {
            (2, self.key_name(key), last_received.map(|seq| seq.0)).hash(hasher);
        } else {
            (3, payload).hash(hasher);
        }
    }
}

/// The text of a session without what has no future: the names of links, settings that were
/// followed already, spare buffers, and the counters, which are last. Should the fields move, many
/// states look the same, and the number of states that the test asks for is not reached.
struct SessionText {
    text: String,
    skips_to: Option<&'static str>,
}

impl Write for SessionText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.skips_to.is_some_and(|next| next != text) {
            return Ok(());
        }
        self.skips_to = match text {
            "counters" => return Err(fmt::Error),
            "LinkGeneration" => Some(")"),
            "peer" => Some("send_limit"),
            "spare" => Some("receiver"),
            _ => None,
        };
        self.text.push_str(text);
        Ok(())
    }
}
