//! From a value to where its bytes lie.

/// Memory by its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Of the first byte.
    pub address: usize,
    /// Bytes.
    pub len: usize,
}

impl Region {
    /// Where a slice's elements lie; not what they point to.
    pub fn of<T>(slice: &[T]) -> Self {
        Self {
            address: slice.as_ptr().addr(),
            len: size_of_val(slice),
        }
    }
}

/// A value with buffers that can be protected: slices of plain values, and whatever implements this.
///
/// ```
/// use memmon_client::{Buffers, Region};
///
/// struct Model {
///     weights: Vec<f32>,
///     vocabulary: Vec<u8>,
/// }
///
/// impl Buffers for Model {
///     fn regions(&self, found: &mut Vec<Region>) {
///         self.weights.regions(found);
///         self.vocabulary.regions(found);
///     }
/// }
/// ```
pub trait Buffers {
    /// Adds all regions that hold the value's bytes.
    fn regions(&self, found: &mut Vec<Region>);
}

impl<T: Copy> Buffers for [T] {
    fn regions(&self, found: &mut Vec<Region>) {
        found.push(Region::of(self));
    }
}

impl<T: Copy> Buffers for Vec<T> {
    fn regions(&self, found: &mut Vec<Region>) {
        self.as_slice().regions(found);
    }
}

impl<T: Copy, const N: usize> Buffers for [T; N] {
    fn regions(&self, found: &mut Vec<Region>) {
        self.as_slice().regions(found);
    }
}

impl<B: Buffers + ?Sized> Buffers for Box<B> {
    fn regions(&self, found: &mut Vec<Region>) {
        (**self).regions(found);
    }
}

impl<A: Buffers, B: Buffers> Buffers for (A, B) {
    fn regions(&self, found: &mut Vec<Region>) {
        self.0.regions(found);
        self.1.regions(found);
    }
}
