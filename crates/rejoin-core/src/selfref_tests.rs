//! What a message may do with the bytes that it borrows, and when.

use std::cell::RefCell;
use std::sync::mpsc;
use std::thread;

use bytes::BytesMut;

use super::*;
use crate::codec::{EncodeError, FacetPostcardBorrowed, Raw};

/// A message that looks at what it borrows when it is dropped.
struct Witness<'a> {
    text: &'a str,
    /// Makes the message own memory of its own, whose loss or double release would be noticed.
    owned: Box<str>,
}

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        assert_eq!(self.text, &*self.owned);
        log(format!("message {}", self.text));
    }
}

struct Witnesses;

impl MsgFamily for Witnesses {
    type Msg<'a> = Witness<'a>;
    type Codec = Utf8;

    fn shorten<'short, 'long: 'short>(msg: &'short Witness<'long>) -> &'short Witness<'short> {
        msg
    }
}

/// An owned message with a `Drop` of its own.
struct Owned(Box<str>);

impl Drop for Owned {
    fn drop(&mut self) {
        log(format!("message {}", self.0));
    }
}

impl fmt::Debug for Owned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

struct Owneds;

impl MsgFamily for Owneds {
    type Msg<'a> = Owned;
    type Codec = Utf8;

    fn shorten<'short, 'long: 'short>(msg: &'short Owned) -> &'short Owned {
        msg
    }
}

struct Utf8;

impl Codec<Witnesses> for Utf8 {
    fn encode(item: &Witness<'_>, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.extend_from_slice(item.text.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Witness<'_>, DecodeError> {
        let text = std::str::from_utf8(bytes).map_err(DecodeError::new)?;
        Ok(Witness { text, owned: text.into() })
    }
}

impl Codec<Owneds> for Utf8 {
    fn encode(item: &Owned, out: &mut BytesMut) -> Result<(), EncodeError> {
        out.extend_from_slice(item.0.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Owned, DecodeError> {
        std::str::from_utf8(bytes).map(|text| Owned(text.into())).map_err(DecodeError::new)
    }
}

/// Backing bytes that tell when they are freed.
struct Backing(Vec<u8>);

impl AsRef<[u8]> for Backing {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        self.0.fill(b'X');
        log("backing".to_owned());
    }
}

thread_local! {
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn log(event: String) {
    LOG.with_borrow_mut(|log| log.push(event));
}

#[track_caller]
fn assert_logged(expected: &[&str]) {
    LOG.with_borrow_mut(|log| assert_eq!(std::mem::take(log), expected));
}

fn backing(text: &str) -> Bytes {
    Bytes::from_owner(Backing(text.into()))
}

fn received<F: MsgFamily>(backing: Bytes) -> SelfRef<F> {
    SelfRef::decode(Taken::Last(backing)).unwrap_or_else(|(error, _)| panic!("{error}"))
}

#[test]
fn the_message_is_dropped_before_its_bytes() {
    let message = received::<Witnesses>(backing("hello"));
    assert_eq!(message.get().text, "hello");
    assert_logged(&[]);
    drop(message);
    assert_logged(&["message hello", "backing"]);
}

#[test]
fn a_message_taken_out_outlives_its_bytes() {
    let message = received::<Owneds>(backing("hello"));
    assert_eq!(&*message.0, "hello", "seen through `Deref`");
    assert_eq!(format!("{message:?}"), "\"hello\"");
    let owned = message.into_inner();
    assert_logged(&["backing"]);
    drop(owned);
    assert_logged(&["message hello"]);
}

#[test]
fn a_message_that_is_known_to_be_owned_keeps_nothing() {
    let bytes = backing("\x05hello");
    let part = SelfRef::<String>::decode(Taken::Part(&bytes, 0..6)).unwrap();
    assert_logged(&[]);
    drop(bytes);
    assert_logged(&["backing"]);
    let last = received::<String>(backing("\x05hello"));
    assert_logged(&["backing"]);
    assert_eq!((&**part, last.into_inner()), ("hello", "hello".to_owned()));

    let bytes = backing("\x05hell");
    let refused = SelfRef::<String>::decode(Taken::Part(&bytes, 1..5)).unwrap_err();
    drop(bytes);
    assert_logged(&[]);
    assert_eq!(&refused.1[..], b"hell");
    drop(refused);
    assert_logged(&["backing"]);
}

#[test]
fn bytes_that_hold_no_message_are_handed_back() {
    let bytes = Bytes::from_static(b"\xff");
    let Err((_, returned)) = SelfRef::<Witnesses>::decode(Taken::Last(bytes)) else {
        panic!("not UTF-8")
    };
    assert_eq!(&returned[..], b"\xff");
}

#[test]
fn messages_survive_being_moved() {
    let mut messages = Vec::new();
    for number in 0..100 {
        // Grows, and so moves what is in it.
        messages.push(received::<Witnesses>(Bytes::from(number.to_string().into_bytes())));
    }
    messages.reverse();
    let mut boxed = Box::new(messages.swap_remove(0));
    std::mem::swap(&mut *boxed, &mut messages[0]);
    assert_eq!(boxed.get().text, "0");
    assert_eq!(messages[0].get().text, "99");
}

#[test]
fn messages_cross_threads() {
    let (sender, receiver) = mpsc::sync_channel(1);
    let reader = thread::spawn(move || {
        receiver.iter().map(|message: SelfRef<Witnesses>| message.get().text.len()).sum::<usize>()
    });
    for length in 0..50 {
        sender.send(received(Bytes::from(vec![b'x'; length]))).unwrap();
    }
    drop(sender);
    assert_eq!(reader.join().unwrap(), 49 * 50 / 2);

    let shared = received::<Witnesses>(Bytes::from(b"shared".to_vec()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(shared.get().text, "shared"));
        }
    });
}

#[test]
fn backings_may_be_empty_or_large() {
    for length in [0, 1, 1 << 20] {
        let bytes = Bytes::from(vec![b'y'; length]);
        let start = bytes.as_ptr();
        let message = received::<Witnesses>(bytes.clone());
        assert_eq!(message.get().text.len(), length);
        assert_eq!(message.get().text.as_ptr(), start, "nothing was copied");
        // The bytes stay, whoever else lets go of them.
        drop(bytes);
        assert!(message.get().text.bytes().all(|byte| byte == b'y'));
    }
    assert!(received::<Raw>(Bytes::new()).get().is_empty());
}

#[test]
fn a_panic_in_the_message_frees_its_bytes() {
    struct Bombs;
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the message's own panic");
        }
    }
    impl MsgFamily for Bombs {
        type Msg<'a> = Bomb;
        type Codec = Self;
        fn shorten<'short, 'long: 'short>(msg: &'short Bomb) -> &'short Bomb {
            msg
        }
    }
    impl Codec<Bombs> for Bombs {
        fn encode(_: &Bomb, _: &mut BytesMut) -> Result<(), EncodeError> {
            Ok(())
        }
        fn decode(_: &[u8]) -> Result<Bomb, DecodeError> {
            Ok(Bomb)
        }
    }
    let message = received::<Bombs>(backing("bang"));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(message))).unwrap_err();
    assert_logged(&["backing"]);
}

#[test]
fn facet_messages_borrow_from_the_backing() {
    #[derive(facet::Facet)]
    struct Reading<'a> {
        sensor: &'a str,
        raw: &'a [u8],
        note: Option<std::borrow::Cow<'a, str>>,
    }
    struct Readings;
    // SAFETY: every reference and `Cow` in a `Reading<'a>` has the lifetime `'a`.
    unsafe impl BorrowsFromInput for Readings {}
    impl MsgFamily for Readings {
        type Msg<'a> = Reading<'a>;
        type Codec = FacetPostcardBorrowed;
        fn shorten<'short, 'long: 'short>(msg: &'short Reading<'long>) -> &'short Reading<'short> {
            msg
        }
    }
    let mut out = BytesMut::new();
    let reading = Reading { sensor: "boiler", raw: &[1, 2, 3], note: Some("hot".into()) };
    <FacetPostcardBorrowed as Codec<Readings>>::encode(&reading, &mut out).unwrap();
    let backing = out.freeze();
    let range = backing.as_ptr_range();
    let message = received::<Readings>(backing);
    let reading = message.get();
    assert_eq!((reading.sensor, reading.raw), ("boiler", &[1, 2, 3][..]));
    assert!(range.contains(&reading.sensor.as_ptr()));
    assert!(range.contains(&reading.raw.as_ptr()));
    assert!(matches!(reading.note, Some(std::borrow::Cow::Borrowed("hot"))));
}

#[test]
fn facet_cannot_be_made_to_forge_a_static_borrow() {
    #[derive(facet::Facet, Debug)]
    struct Forged {
        text: &'static str,
    }
    #[derive(facet::Facet, Debug)]
    struct Copied {
        text: std::borrow::Cow<'static, str>,
        bytes: std::borrow::Cow<'static, [u8]>,
    }
    let refused = SelfRef::<Forged>::decode(Taken::Last(Bytes::from_static(b"\x02hi")));
    assert!(refused.is_err(), "{refused:?}");
    let copied = received::<Copied>(Bytes::from_static(b"\x02hi\x02ho")).into_inner();
    assert!(matches!(copied.text, std::borrow::Cow::Owned(ref text) if text == "hi"));
    assert!(matches!(copied.bytes, std::borrow::Cow::Owned(ref bytes) if bytes == b"ho"));
    let _ = Forged { text: "" }.text;
}

#[test]
fn it_is_send_and_sync_when_the_message_is() {
    fn is_send<T: Send>() {}
    fn is_sync<T: Sync>() {}
    is_send::<SelfRef<Raw>>();
    is_sync::<SelfRef<Raw>>();
    is_send::<SelfRef<Witnesses>>();
    is_sync::<SelfRef<Witnesses>>();
}
