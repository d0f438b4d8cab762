//! The two 25-byte messages of the handshake, as fixed layouts.

use std::fmt;
use std::hash::{Hash, Hasher};

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::protocol::error::{HelloError, RejectReason};
use crate::protocol::seq::PacketSeq;

/// The length of either hello in bytes.
pub const HELLO_LEN: usize = 25;

const CLIENT_MAGIC: [u8; 4] = *b"ROCH";
const SERVER_MAGIC: [u8; 4] = *b"ROSH";

/// ClientHello: the key field holds a resume key.
const CLIENT_HAS_RESUME_KEY: u8 = 0x01;
/// ServerHello: the session was refused; the number field holds the reason.
const SERVER_REJECTED: u8 = 0x01;
/// Either hello: the number field holds the last number received.
const HAS_LAST_RECEIVED: u8 = 0x02;
/// Either hello: the sender speaks the extended profile.
const EXTENDED: u8 = 0x80;

/// Which dialect the two ends of a session speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// The reference's: data frames only.
    Base,
    /// The base profile and control frames: settings, acknowledgements that stand alone, liveness,
    /// flow control, close.
    Extended,
}

/// A secret that lets its holder resume a session; also the nonce of a fresh hello.
///
/// Its `Debug` shows nothing of it, and comparing two takes the same time whatever they hold.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ResumeKey([u8; 16]);

impl ResumeKey {
    /// A key of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// Looks at all bytes, whatever they are: how long it takes does not tell where two keys differ.
impl PartialEq for ResumeKey {
    fn eq(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0, |acc, (a, b)| acc | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

impl Eq for ResumeKey {}

impl Hash for ResumeKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for ResumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeKey(..)")
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HelloLayout {
    magic: [u8; 4],
    flags: u8,
    key: ResumeKey,
    number: U32,
}

impl HelloLayout {
    fn read(payload: &[u8], magic: [u8; 4]) -> Result<Self, HelloError> {
        let layout = Self::read_from_bytes(payload)
            .map_err(|_| HelloError::Length { actual: payload.len() })?;
        if layout.magic == magic { Ok(layout) } else { Err(HelloError::Magic) }
    }

    fn write(&self) -> [u8; HELLO_LEN] {
        zerocopy::transmute!(Self { ..*self })
    }

    fn profile(&self) -> Profile {
        if self.flags & EXTENDED == 0 { Profile::Base } else { Profile::Extended }
    }

    fn last_received(&self) -> Option<PacketSeq> {
        (self.flags & HAS_LAST_RECEIVED != 0).then(|| PacketSeq(self.number.get()))
    }
}

/// The initiator's first message on a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientHello {
    opening: Opening,
    profile: Profile,
    last_received: Option<PacketSeq>,
}

/// Which session a [`ClientHello`] asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// A new one. In the extended profile the nonce, fresh per session, lets the acceptor see that
    /// a hello repeats an earlier one whose answer was lost.
    Fresh {
        /// Present in the extended profile only.
        nonce: Option<ResumeKey>,
    },
    /// The one to which this key belongs.
    Resume(ResumeKey),
}

impl ClientHello {
    /// Asks for a new session in the base profile.
    #[must_use]
    pub const fn fresh() -> Self {
        Self {
            opening: Opening::Fresh { nonce: None },
            profile: Profile::Base,
            last_received: None,
        }
    }

    /// Asks for a new session in the extended profile.
    #[must_use]
    pub const fn fresh_extended(nonce: ResumeKey) -> Self {
        Self {
            opening: Opening::Fresh { nonce: Some(nonce) },
            profile: Profile::Extended,
            last_received: None,
        }
    }

    /// Asks for the session to which `key` belongs.
    #[must_use]
    pub const fn resume(
        profile: Profile,
        key: ResumeKey,
        last_received: Option<PacketSeq>,
    ) -> Self {
        Self { opening: Opening::Resume(key), profile, last_received }
    }

    /// Reads a hello from one link payload. Flags that are not known are ignored.
    ///
    /// # Errors
    ///
    /// When the payload has another length or does not begin with the magic number.
    pub fn decode(payload: &[u8]) -> Result<Self, HelloError> {
        let layout = HelloLayout::read(payload, CLIENT_MAGIC)?;
        let opening = if layout.flags & CLIENT_HAS_RESUME_KEY != 0 {
            Opening::Resume(layout.key)
        } else {
            Opening::Fresh { nonce: (layout.profile() == Profile::Extended).then_some(layout.key) }
        };
        Ok(Self { opening, profile: layout.profile(), last_received: layout.last_received() })
    }

    /// The hello as one link payload.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO_LEN] {
        let (flag, key) = match self.opening {
            Opening::Resume(key) => (CLIENT_HAS_RESUME_KEY, key),
            Opening::Fresh { nonce } => (0, nonce.unwrap_or(ResumeKey([0; 16]))),
        };
        HelloLayout {
            magic: CLIENT_MAGIC,
            flags: flag | profile_flag(self.profile) | received_flag(self.last_received),
            key,
            number: self.last_received.map_or(0, |seq| seq.0).into(),
        }
        .write()
    }

    /// Which session the hello asks for.
    #[must_use]
    pub const fn opening(&self) -> Opening {
        self.opening
    }

    /// The key of the session to resume, where the hello names one.
    #[must_use]
    pub const fn resume_key(&self) -> Option<ResumeKey> {
        match self.opening {
            Opening::Resume(key) => Some(key),
            Opening::Fresh { .. } => None,
        }
    }

    /// The profile that the initiator wishes to speak.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.profile
    }

    /// The number of the last item that the initiator has, where it has any.
    #[must_use]
    pub const fn last_received(&self) -> Option<PacketSeq> {
        self.last_received
    }
}

/// The acceptor's answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerHello {
    /// The session goes on, or begins.
    Accepted {
        /// The profile that the session speaks.
        profile: Profile,
        /// The key to resume the session with next time.
        key: ResumeKey,
        /// The number of the last item that the acceptor has, where it has any.
        last_received: Option<PacketSeq>,
    },
    /// There is no such session, or no room for a new one.
    Rejected {
        /// The profile of the answer; the base profile carries no reason.
        profile: Profile,
        /// Why, where the profile tells.
        reason: RejectReason,
    },
}

impl ServerHello {
    /// Reads a hello from one link payload. Flags that are not known are ignored.
    ///
    /// # Errors
    ///
    /// When the payload has another length or does not begin with the magic number.
    pub fn decode(payload: &[u8]) -> Result<Self, HelloError> {
        let layout = HelloLayout::read(payload, SERVER_MAGIC)?;
        let profile = layout.profile();
        Ok(if layout.flags & SERVER_REJECTED == 0 {
            Self::Accepted { profile, key: layout.key, last_received: layout.last_received() }
        } else {
            let reason = match profile {
                Profile::Base => RejectReason::Unspecified,
                Profile::Extended => RejectReason::from_code(layout.number.get()),
            };
            Self::Rejected { profile, reason }
        })
    }

    /// The hello as one link payload.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO_LEN] {
        let (flags, key, number) = match *self {
            Self::Accepted { profile, key, last_received } => (
                profile_flag(profile) | received_flag(last_received),
                key,
                last_received.map_or(0, |seq| seq.0),
            ),
            Self::Rejected { profile, reason } => {
                let code = if profile == Profile::Extended { reason.code() } else { 0 };
                (SERVER_REJECTED | profile_flag(profile), ResumeKey([0; 16]), code)
            }
        };
        HelloLayout { magic: SERVER_MAGIC, flags, key, number: number.into() }.write()
    }
}

const fn profile_flag(profile: Profile) -> u8 {
    match profile {
        Profile::Base => 0,
        Profile::Extended => EXTENDED,
    }
}

const fn received_flag(last_received: Option<PacketSeq>) -> u8 {
    if last_received.is_some() { HAS_LAST_RECEIVED } else { 0 }
}
