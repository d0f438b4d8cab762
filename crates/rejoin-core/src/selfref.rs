//! A decoded message together with the bytes that it borrows from.
//!
//! This is the one module with `unsafe` code. What makes it sound is kept out of reach of the rest
//! of the crate: the fields are private here, and a message is only ever seen through
//! [`MsgFamily::shorten`]. The promise that borrowing families make for Facet is here because it is
//! `unsafe` to make. The module offers no mutable access, which could put a shorter borrow in.
#![expect(unsafe_code, reason = "a value that borrows from its neighbour has no safe form")]

use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;
use std::{ptr, slice};

use bytes::Bytes;

use crate::codec::{Codec, DecodeError};
use crate::conduit::MsgFamily;
use crate::handover::Taken;

/// A received message, which may borrow from the bytes that it was received in, and keeps them alive
/// then, with what came beside them. One that is known to be [owned](MsgFamily::OWNED) keeps nothing.
///
/// [`get`](Self::get) gives the message for as long as this value is borrowed. Where the messages
/// do not borrow at all, it can also be dereferenced or [taken out](Self::into_inner).
///
/// Nothing that was borrowed from the message outlives it:
///
/// ```compile_fail,E0505
/// # use rejoin_core::{Raw, SelfRef};
/// fn too_late(received: SelfRef<Raw>) -> usize {
///     let bytes: &[u8] = received.get();
///     drop(received); // error[E0505]: cannot move out of `received` because it is borrowed
///     bytes.len()
/// }
/// ```
///
/// ```compile_fail,E0597
/// # use rejoin_core::{BorrowsFromInput, FacetPostcardBorrowed, MsgFamily, SelfRef};
/// # struct Names;
/// # unsafe impl BorrowsFromInput for Names {}
/// # impl MsgFamily for Names {
/// #     type Msg<'a> = &'a str;
/// #     type Codec = FacetPostcardBorrowed;
/// #     fn shorten<'short, 'long: 'short>(msg: &'short &'long str) -> &'short &'short str { msg }
/// # }
/// fn out_of_scope(receive: impl FnOnce() -> SelfRef<Names>) -> usize {
///     let name: &str;
///     {
///         let received = receive();
///         name = received.get(); // error[E0597]: `received` does not live long enough
///     }
///     name.len()
/// }
/// ```
///
/// ```compile_fail,E0515
/// # use rejoin_core::{Raw, SelfRef};
/// fn for_ever(received: SelfRef<Raw>) -> &'static [u8] {
///     received.get() // error[E0515]: cannot return value referencing function parameter
/// }
/// ```
///
/// And a message that borrows cannot be taken out:
///
/// ```compile_fail,E0599
/// # use rejoin_core::{Raw, SelfRef};
/// fn taken_out(received: SelfRef<Raw>) -> &'static [u8] {
///     received.into_inner() // error[E0599]: its trait bounds were not satisfied
/// }
/// ```
/// # Threads
///
/// It can be sent to another thread, as every message can. It can be shared between threads when
/// the messages can:
///
/// ```compile_fail,E0277
/// # use rejoin_core::{Codec, DecodeError, EncodeError, MsgFamily, SelfRef};
/// # use std::cell::Cell;
/// # struct Cells;
/// # impl Codec<Cells> for Cells {
/// #     fn encode(_: &Cell<u8>, _: &mut bytes::BytesMut) -> Result<(), EncodeError> { Ok(()) }
/// #     fn decode(_: &[u8]) -> Result<Cell<u8>, DecodeError> { Ok(Cell::new(0)) }
/// # }
/// # impl MsgFamily for Cells {
/// #     type Msg<'a> = Cell<u8>;
/// #     type Codec = Cells;
/// #     fn shorten<'short, 'long: 'short>(msg: &'short Cell<u8>) -> &'short Cell<u8> { msg }
/// # }
/// fn is_sync<T: Sync>() {}
/// is_sync::<SelfRef<Cells>>(); // error[E0277]: `Cell<u8>` cannot be shared between threads safely
/// ```
pub struct SelfRef<F: MsgFamily> {
    /// Invariant: initialised until this value is dropped or taken apart, and borrows from nothing
    /// but the bytes of `backing`, or nothing at all without one, whatever its lifetime says.
    ///
    /// `MaybeUninit`, because a reference or a `Box` in the message would otherwise be asserted to
    /// be valid, and unique, whenever this value is passed by value, which includes the very call
    /// that frees what it points to.
    msg: MaybeUninit<F::Msg<'static>>,
    backing: Option<Bytes>,
}

/// The proof that the messages of a family do not borrow: that their type is the same for every lifetime.
/// See [`MsgFamily::OWNED`].
///
/// There is none for messages that borrow:
///
/// ```compile_fail,E0308
/// # use rejoin_core::{Owned, Raw};
/// Owned::<Raw>::new();
/// ```
///
/// And that of one family is none of another, even where the one is a subtype of the other and so might
/// be taken for it:
///
/// ```compile_fail,E0308
/// # use rejoin_core::Owned;
/// # use std::marker::PhantomData;
/// struct Family<T>(PhantomData<T>);
///
/// fn pass_off(proof: Owned<Family<for<'a> fn(&'a u8)>>) -> Owned<Family<fn(&'static u8)>> {
///     proof // error[E0308]: one type is more general than the other
/// }
/// ```
pub struct Owned<F>(
    /// Invariant in `F`: a subtype is another family, whose messages may be others.
    PhantomData<fn(F) -> F>,
);

impl<F, T> Owned<F>
where
    F: for<'a> MsgFamily<Msg<'a> = T>,
{
    /// The proof, which is in the bounds.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is a proof and not a value")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<F> fmt::Debug for Owned<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owned")
    }
}

/// A promise about the lifetimes in a family's messages, for
/// [`FacetPostcardBorrowed`](crate::FacetPostcardBorrowed).
///
/// Facet's reflection does not see lifetimes. What it borrows from the received bytes it stores in
/// a field of type `&'static str` just as in one of type `&'a str`, and its derive accepts both.
/// No bound can tell them apart, so the family's author has to. Messages that are decoded by
/// serde, with the feature `serde`, need no such promise.
///
/// # Safety
///
/// Every reference and every [`Cow`](std::borrow::Cow) in `Msg<'a>`, at any depth, has the
/// lifetime `'a`; in particular none has the lifetime `'static`.
pub unsafe trait BorrowsFromInput: MsgFamily {}

impl<F: MsgFamily> SelfRef<F> {
    /// Decodes the message in `taken`. Bytes that hold none are handed back.
    #[inline]
    pub(crate) fn decode(taken: Taken<'_>) -> Result<Self, (DecodeError, Bytes)> {
        // Those of an owned message are only looked at; to count one more who uses them, and one
        // less, would take longer than much of the decoding.
        let taken = if F::OWNED.is_some() { taken } else { Taken::Last(taken.into_bytes()) };
        let bytes = taken.as_slice();
        // SAFETY: the pointer and the length are those of a live slice of initialised bytes. Its
        // lifetime is forged; three things keep it from being believed.
        // - The bytes stay where they are and do not change for as long as a message lives that
        //   borrows: they are on the heap or in a static, immutable while they are shared, and
        //   are moved into the same value as the message, never given out, and dropped after the
        //   message. An `Owned` exists only for a type that is the same for every lifetime,
        //   which by the next argument has no part of the slice.
        // - `decode` is generic over the lifetime of its argument, without bounds. Its body was
        //   checked for every lifetime, so it cannot keep the slice anywhere but in the message
        //   that it returns; its error is `'static` for every argument and so has no part of it.
        // - The message is only given out through `shorten`, for the lifetime of a borrow of this
        //   value, or by value where its type is the same for every lifetime, in which case, by
        //   the same argument, no part of the slice is in it. Its `Drop`, too, was checked for
        //   every lifetime.
        let bytes: &'static [u8] = unsafe { slice::from_raw_parts(bytes.as_ptr(), bytes.len()) };
        match <F::Codec as Codec<F>>::decode(bytes) {
            Ok(msg) => {
                let backing = F::OWNED.is_none().then(|| taken.into_bytes());
                Ok(Self { msg: MaybeUninit::new(msg), backing })
            }
            Err(error) => Err((error, taken.into_bytes())),
        }
    }

    /// The message.
    pub fn get(&self) -> &F::Msg<'_> {
        // SAFETY: `msg` is initialised, by its invariant.
        F::shorten(unsafe { self.msg.assume_init_ref() })
    }
}

impl<F, T> SelfRef<F>
where
    F: for<'a> MsgFamily<Msg<'a> = T>,
{
    /// Takes the message out, where it does not borrow.
    pub fn into_inner(self) -> T {
        let this = ManuallyDrop::new(self);
        // SAFETY: `backing` is initialised, and as `this` is never dropped it is not used again.
        // It is dropped at the end of this function, also when something below should panic.
        let _backing = unsafe { ptr::read(&this.backing) };
        // SAFETY: `msg` is initialised, by its invariant, and not used again, as above. It may
        // outlive `backing`, because a type that is the same for all lifetimes cannot hold the one
        // with which it was decoded.
        unsafe { this.msg.assume_init_read() }
    }
}

impl<F, T> Deref for SelfRef<F>
where
    F: for<'a> MsgFamily<Msg<'a> = T>,
{
    type Target = T;

    fn deref(&self) -> &T {
        self.get()
    }
}

impl<F: MsgFamily> Drop for SelfRef<F> {
    fn drop(&mut self) {
        // SAFETY: `msg` is initialised, by its invariant, and not used again. `backing` is dropped
        // after this function returns or unwinds, so the message may look at its bytes.
        unsafe { self.msg.assume_init_drop() }
    }
}

impl<F> fmt::Debug for SelfRef<F>
where
    F: MsgFamily,
    for<'a> F::Msg<'a>: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
#[path = "selfref_tests.rs"]
mod tests;
