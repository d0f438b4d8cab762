//! The typed, two-way message channel that applications see, whatever is under it.
//!
//! These are contracts only: nothing here knows of links, sessions or resumption, so that code
//! written against [`Conduit`] runs over a bare link as well as over one that comes and goes.

use std::future::Future;

use facet::Facet;

use crate::codec::{Codec, FacetPostcard};
use crate::protocol::Position;
use crate::selfref::{Owned, SelfRef};

/// A type of message, which may borrow, together with its encoding.
///
/// Every owned type that derives [`Facet`] is its own family:
///
/// ```
/// # fn is_a_family<F: rejoin_core::MsgFamily>() {}
/// #[derive(facet::Facet)]
/// struct Reading { sensor: String, celsius: f64 }
///
/// is_a_family::<Reading>();
/// ```
///
/// A message type that borrows from the bytes in which it was received needs a name for the whole
/// family of its lifetimes. Give it one, and write the family down. (Facet needs a promise from
/// you for that. Serde, with the feature `serde`, does not.)
///
/// ```
/// use facet::Facet;
/// use rejoin_core::{BorrowsFromInput, FacetPostcardBorrowed, MsgFamily};
///
/// #[derive(Facet)]
/// struct Reading<'a> { sensor: &'a str, celsius: f64 }
///
/// struct ReadingFamily;
///
/// impl MsgFamily for ReadingFamily {
///     type Msg<'a> = Reading<'a>;
///     type Codec = FacetPostcardBorrowed;
///
///     fn shorten<'short, 'long: 'short>(
///         msg: &'short Reading<'long>,
///     ) -> &'short Reading<'short> {
///         msg
///     }
/// }
/// // SAFETY: the one reference in a `Reading<'a>` is a `&'a str`.
/// unsafe impl BorrowsFromInput for ReadingFamily {}
/// # fn is_a_family<F: MsgFamily>() {}
/// # is_a_family::<ReadingFamily>();
/// ```
///
/// A family whose messages are not covariant in their lifetime does not compile, because
/// [`SelfRef`] could be abused with it. A `Cell` could be made to keep a shorter borrow:
///
/// ```compile_fail
/// # use rejoin_core::{FacetPostcard, MsgFamily};
/// # use std::cell::Cell;
/// # use rejoin_core::{Codec, DecodeError, EncodeError};
/// # struct Never;
/// # impl Codec<Slots> for Never {
/// #     fn encode(_: &Cell<&str>, _: &mut bytes::BytesMut) -> Result<(), EncodeError> { Ok(()) }
/// #     fn decode<'a>(_: &'a [u8]) -> Result<Cell<&'a str>, DecodeError> { Ok(Cell::new("")) }
/// # }
/// struct Slots;
///
/// impl MsgFamily for Slots {
///     type Msg<'a> = Cell<&'a str>;
///     type Codec = Never;
///
///     fn shorten<'short, 'long: 'short>(
///         msg: &'short Cell<&'long str>,
///     ) -> &'short Cell<&'short str> {
///         msg // error: lifetime may not live long enough
///     }
/// }
/// ```
///
/// and a function could be handed one:
///
/// ```compile_fail
/// # use rejoin_core::MsgFamily;
/// # use rejoin_core::{Codec, DecodeError, EncodeError};
/// # struct Never;
/// # impl Codec<Sinks> for Never {
/// #     fn encode<'a>(_: &fn(&'a str), _: &mut bytes::BytesMut) -> Result<(), EncodeError> { Ok(()) }
/// #     fn decode<'a>(_: &'a [u8]) -> Result<fn(&'a str), DecodeError> { Ok(|_| ()) }
/// # }
/// struct Sinks;
///
/// impl MsgFamily for Sinks {
///     type Msg<'a> = fn(&'a str);
///     type Codec = Never;
///
///     fn shorten<'short, 'long: 'short>(
///         msg: &'short fn(&'long str),
///     ) -> &'short fn(&'short str) {
///         msg // error: lifetime may not live long enough
///     }
/// }
/// ```
pub trait MsgFamily: Sized + Send + 'static {
    /// The message, borrowing for `'a`.
    type Msg<'a>: Send;

    /// How a message becomes bytes and back.
    type Codec: Codec<Self>;

    /// Gives a reference to a message that borrows for `'long` out as one that borrows for
    /// `'short`. The body is always `msg`.
    ///
    /// It compiles only where [`Msg`](Self::Msg) is covariant in its lifetime, which is what makes
    /// [`SelfRef`] sound: a family for which handing out a shorter borrow could be abused, because
    /// its messages hold a `Cell<&'a str>` or a `fn(&'a str)`, cannot be written.
    ///
    /// # Behavior
    ///
    /// - Returns `msg`.
    fn shorten<'short, 'long: 'short>(msg: &'short Self::Msg<'long>) -> &'short Self::Msg<'short>;

    /// That the messages do not borrow, where that is so: `Some(Owned::new())`. A message that was
    /// received then keeps nothing of what it was received in, and is received faster.
    ///
    /// `None`, the default, is right for every family.
    const OWNED: Option<Owned<Self>> = None;
}

/// An owned message is its own family, as the same type for every lifetime.
impl<T> MsgFamily for T
where
    T: Facet<'static> + Send + 'static,
{
    type Msg<'a> = T;
    type Codec = FacetPostcard;

    fn shorten<'short, 'long: 'short>(msg: &'short T) -> &'short T {
        msg
    }

    const OWNED: Option<Owned<Self>> = Some(Owned::new());
}

/// A typed, two-way message channel.
///
/// # Behavior
///
/// - Messages arrive whole and in the order in which they were sent.
pub trait Conduit {
    /// What is sent and received.
    type Msg: MsgFamily;
    /// The sending half.
    type Tx: ConduitTx<Msg = Self::Msg>;
    /// The receiving half.
    type Rx: ConduitRx<Msg = Self::Msg>;

    /// Takes the conduit apart.
    ///
    /// # Behavior
    ///
    /// - Neither blocks nor performs I/O; neither half ends when the other is dropped.
    fn split(self) -> (Self::Tx, Self::Rx);
}

/// The sending half of a [`Conduit`].
pub trait ConduitTx: Send + Sync + 'static {
    /// What is sent.
    type Msg: MsgFamily;
    /// Room for one message.
    type Permit<'a>: ConduitTxPermit<Msg = Self::Msg>
    where
        Self: 'a;
    /// Why no room can be had.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Waits for room for one message.
    ///
    /// # Behavior
    ///
    /// - Those who wait get room in the order in which they came.
    /// - Fails once the conduit has ended, instead of waiting for ever.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue, and nothing else.
    fn reserve(&self) -> impl Future<Output = Result<Self::Permit<'_>, Self::Error>> + Send;

    /// Ends the conduit after everything that was sent before.
    ///
    /// # Behavior
    ///
    /// - Is ready when the peer has everything, or says that this is not known.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the close goes on in the background when the future is dropped.
    fn close(self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Room for one message in a [`ConduitTx`].
pub trait ConduitTxPermit {
    /// What is sent.
    type Msg: MsgFamily;
    /// Why the message was refused.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Encodes the message and accepts it for sending, in one step.
    ///
    /// # Behavior
    ///
    /// - When it fails, nothing was accepted and the next message takes the place of this one.
    /// - Dropping the permit instead gives the room back.
    fn send(self, item: &<Self::Msg as MsgFamily>::Msg<'_>) -> Result<Position, Self::Error>;
}

/// The receiving half of a [`Conduit`].
pub trait ConduitRx: Send + 'static {
    /// What is received.
    type Msg: MsgFamily;
    /// Why nothing more is received.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Waits for the next message; `None` means that the peer closed the conduit.
    ///
    /// # Behavior
    ///
    /// - Gives each message once, in order, and `None` only after all of them.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: a message is taken only when it is returned.
    fn recv(
        &mut self,
    ) -> impl Future<Output = Result<Option<SelfRef<Self::Msg>>, Self::Error>> + Send;
}
