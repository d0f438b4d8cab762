//! The handshakes of the simulated world: what the acceptor's router and both drivers do with hellos,
//! and the network with the answers.

use bytes::Bytes;
use rejoin_core::protocol::{
    Admission, ClientHello, HandshakeError, LinkGeneration, Profile, RejectReason, ResumeKey,
    ServerHello,
};

use super::ensure;
use super::side::Side;
use super::wire::End;
use super::world::{Checked, World};

impl World {
    pub(super) fn handle_server_hello(&mut self, wire: usize, payload: &[u8]) -> Checked {
        let hello = ServerHello::decode(payload).map_err(|error| error.to_string())?;
        let client = self.wires[wire].client;
        let outcome = self.sides[client].session.handle_server_hello(self.now, &hello, usize::MAX);
        self.note(|_| format!("initiator {client} gets {hello:?} on wire {wire}: {outcome:?}"));
        match outcome {
            Ok(link) => {
                self.dialers[client].attempt = None;
                self.attached(client, link, wire, 0);
                let acceptor = self.wires[wire].acceptor;
                let settled = self.sides[client].peer;
                ensure!(
                    settled.is_none() || settled == acceptor,
                    "initiator {client} came to session {acceptor:?}, not {settled:?}"
                );
                self.sides[client].peer = acceptor;
                self.stats.resumes += u64::from(settled.is_some());
            }
            Err(_) => self.abandon(client),
        }
        self.touch(client)
    }

    fn attached(&mut self, number: usize, link: LinkGeneration, wire: usize, end: usize) {
        self.wires[wire].ends[end] = End::Up(link);
        let side = &mut self.sides[number];
        side.latest = Some((link, wire));
        side.detached_at = None;
    }

    pub(super) fn handle_client_hello(&mut self, wire: usize, payload: &[u8]) -> Checked {
        let hello = ClientHello::decode(payload).map_err(|error| error.to_string())?;
        self.keys_given += 1;
        let client = self.wires[wire].client;
        let admitted = match self.table.admit(&hello, key(self.keys_given)) {
            Admission::New(id, key) => {
                let mut side = Side::new(1, client, &self.setups[client], UNUSED);
                side.id = Some(id);
                side.peer = Some(client);
                if self.healed_at.is_some() {
                    side.calm_down();
                }
                self.sides.push(side);
                self.stats.sessions += 1;
                Ok((self.sides.len() - 1, key))
            }
            Admission::Resume(id, key) => {
                let found = self.sides.iter().position(|side| side.id == Some(id));
                Ok((found.ok_or("the table has a session that nobody made")?, key))
            }
            Admission::Reject(reason) => Err(reason),
        };
        let answer = match admitted {
            Ok((number, key)) => {
                let session = &mut self.sides[number].session;
                let outcome = session.handle_client_hello(self.now, &hello, key, usize::MAX);
                self.note(|_| format!("side {number} gets {hello:?} on wire {wire}: {outcome:?}"));
                let answer = outcome.map(|(link, answer)| {
                    self.sides[number].given.push((link, key));
                    self.wires[wire].acceptor = Some(number);
                    self.attached(number, link, wire, 1);
                    answer
                });
                self.touch(number)?;
                answer.map_err(|error| match error {
                    HandshakeError::Refused(reason) => reason,
                    _ => RejectReason::UnknownKey,
                })
            }
            Err(reason) => Err(reason),
        };
        self.answer(wire, hello.profile(), answer);
        Ok(())
    }

    fn answer(&mut self, wire: usize, profile: Profile, answer: Result<ServerHello, RejectReason>) {
        let refused = answer.is_err();
        let answer = answer.unwrap_or_else(|reason| ServerHello::Rejected { profile, reason });
        let client = self.wires[wire].client;
        let lost = self.dialers[client].lose_replies > 0;
        if lost {
            self.dialers[client].lose_replies -= 1;
            self.stats.replies_lost += 1;
            self.stats.link_failures += 1;
            self.note(|_| format!("the answer on wire {wire} is lost"));
            self.wires[wire].silence(1);
            if self.dialers[client].lose_replies % 2 == 1 {
                self.wires[wire].cut(self.now, [true; 2]);
            }
        }
        let answer = Bytes::copy_from_slice(&answer.encode());
        self.wires[wire].write(1, self.now, answer, false);
        if refused {
            self.wires[wire].close(1, self.now);
        }
    }
}

/// An acceptor's session has no use for a nonce.
const UNUSED: ResumeKey = ResumeKey::from_bytes([0; 16]);

/// Keys need not be secret here, only different.
pub(super) fn key(n: u64) -> ResumeKey {
    let mut bytes = [0xee; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    ResumeKey::from_bytes(bytes)
}
