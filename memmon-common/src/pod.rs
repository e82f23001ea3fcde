//! Plain old data: types that may be viewed as bytes and read back from them.

/// A type whose every bit pattern is valid and which has no padding.
///
/// # Safety
/// The implementer is `repr(C)`, contains only integers and arrays of integers, and has no implicit
/// padding, so that reading it from and writing it to bytes is always defined.
pub unsafe trait Pod: Copy + 'static {}

/// The bytes of `value`, in this machine's byte order.
pub fn bytes_of<T: Pod>(value: &T) -> &[u8] {
    // SAFETY: `Pod` promises initialised bytes without padding; the lifetime is that of `value`.
    unsafe { core::slice::from_raw_parts(core::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }
}

/// Reads a `T` from the beginning of `bytes`; `None` if there are too few. No alignment is needed.
pub fn read_from<T: Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the length was checked, `Pod` accepts every bit pattern, and the read is unaligned.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Declares a `repr(C)` type as [`Pod`] and asserts its size and alignment at compile time.
#[macro_export]
macro_rules! pod {
    ($type:ty, size = $size:expr, align = $align:expr) => {
        const _: () = assert!(size_of::<$type>() == $size);
        const _: () = assert!(align_of::<$type>() == $align);
        // SAFETY: repr(C), integers only, and the size assertion above equals the sum of the fields.
        unsafe impl $crate::pod::Pod for $type {}
        #[cfg(feature = "user")]
        // SAFETY: as above; aya asks for the same promise.
        unsafe impl aya::Pod for $type {}
    };
}
