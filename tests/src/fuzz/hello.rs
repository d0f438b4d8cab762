//! Hellos: the first payload on a link, read before anything is known of the peer.

use rejoin_core::protocol::{
    Admission, ClientHello, HELLO_LEN, Opening, Profile, ResumeKey, ServerHello, Sessions,
};

/// Reads the whole input as either hello, and its pieces as the hellos of many peers of one table.
pub(super) fn run(input: &[u8]) {
    if let Ok(hello) = ClientHello::decode(input) {
        assert_eq!(input.len(), HELLO_LEN);
        let again = ClientHello::decode(&hello.encode());
        // What an encoding leaves out decoding does not see.
        assert_eq!(again.as_ref(), Ok(&hello));
        assert_eq!(hello.resume_key().is_some(), matches!(hello.opening(), Opening::Resume(_)));
        if hello.opening() == (Opening::Fresh { nonce: None }) {
            assert_eq!(hello.profile(), Profile::Base, "a nonce is part of the extended profile");
        }
    }
    if let Ok(hello) = ServerHello::decode(input) {
        assert_eq!(input.len(), HELLO_LEN);
        assert_eq!(ServerHello::decode(&hello.encode()).as_ref(), Ok(&hello));
    }
    table(input);
}

/// Each piece is a hello, or the end of a session.
fn table(input: &[u8]) {
    const SESSIONS_MAX: usize = 4;
    let mut table = Sessions::new(SESSIONS_MAX);
    let mut admitted = Vec::new();
    for (number, piece) in input.chunks(3).enumerate() {
        let [flags, key, ..] = *piece else { return };
        let fresh = ResumeKey::from_bytes((number as u128 + 1).to_le_bytes());
        // Few of them, so that they meet.
        let known = ResumeKey::from_bytes(u128::from(key % 8 + 1).to_le_bytes());
        let hello = match flags % 4 {
            0 => ClientHello::fresh(),
            1 => ClientHello::fresh_extended(known),
            2 => ClientHello::resume(Profile::Extended, known, None),
            _ => {
                if let Some(&(id, given)) = admitted.get(usize::from(key) % (admitted.len() + 1)) {
                    if flags & 4 == 0 {
                        table.prove(id, given);
                    } else {
                        table.remove(id, flags & 8 == 0);
                    }
                }
                continue;
            }
        };
        let found = table.find(&hello);
        match table.admit(&hello, fresh) {
            Admission::New(id, given) => {
                assert_eq!(found, None, "a session that is there is not opened again");
                admitted.push((id, given));
            }
            Admission::Resume(id, given) => {
                assert_eq!(found, Some(id));
                admitted.push((id, given));
            }
            Admission::Reject(_) => {}
        }
        assert!(table.len() <= SESSIONS_MAX);
    }
}
