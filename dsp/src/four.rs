//! Four f32 at a time: what every machine the ear runs on can do with one
//! instruction, and compilers do not reliably find.
//!
//! Each lane is plain f32 arithmetic, so that machines with and without vectors
//! agree to the bit. It knows nothing of sound. Called by `fourier`, `dtmf`,
//! `manner` and `spectrum`.

/// Four values.
#[derive(Clone, Copy)]
pub(crate) struct Four(Lanes);

#[cfg(target_arch = "x86_64")]
type Lanes = core::arch::x86_64::__m128;
#[cfg(not(target_arch = "x86_64"))]
type Lanes = [f32; 4];

/// SSE2 is part of every x86-64.
#[cfg(target_arch = "x86_64")]
mod lanes {
    use super::{Four, Lanes};
    use core::arch::x86_64::{
        _mm_add_ps, _mm_mul_ps, _mm_set1_ps, _mm_shuffle_ps, _mm_sub_ps, _mm_unpackhi_ps,
        _mm_unpacklo_ps,
    };

    impl Four {
        #[inline(always)]
        pub(crate) fn of(values: &[f32; 4]) -> Self {
            // SAFETY: four f32 in a row are what a vector of four f32 is.
            Self(unsafe { core::mem::transmute::<[f32; 4], Lanes>(*values) })
        }

        #[inline(always)]
        pub(crate) fn values(self) -> [f32; 4] {
            // SAFETY: as in `of`.
            unsafe { core::mem::transmute::<Lanes, [f32; 4]>(self.0) }
        }

        #[inline(always)]
        pub(crate) fn same(value: f32) -> Self {
            // SAFETY: SSE2 is there.
            Self(unsafe { _mm_set1_ps(value) })
        }

        #[inline(always)]
        pub(crate) fn plus(self, other: Self) -> Self {
            // SAFETY: SSE2 is there.
            Self(unsafe { _mm_add_ps(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn minus(self, other: Self) -> Self {
            // SAFETY: SSE2 is there.
            Self(unsafe { _mm_sub_ps(self.0, other.0) })
        }

        #[inline(always)]
        pub(crate) fn times(self, other: Self) -> Self {
            // SAFETY: SSE2 is there.
            Self(unsafe { _mm_mul_ps(self.0, other.0) })
        }
    }

    /// Rows become columns.
    #[inline(always)]
    pub(crate) fn transposed([a, b, c, d]: [Four; 4]) -> [Four; 4] {
        // SAFETY: SSE2 is there.
        unsafe {
            let (ab_low, ab_high) = (_mm_unpacklo_ps(a.0, b.0), _mm_unpackhi_ps(a.0, b.0));
            let (cd_low, cd_high) = (_mm_unpacklo_ps(c.0, d.0), _mm_unpackhi_ps(c.0, d.0));
            [
                Four(_mm_shuffle_ps::<0b01_00_01_00>(ab_low, cd_low)),
                Four(_mm_shuffle_ps::<0b11_10_11_10>(ab_low, cd_low)),
                Four(_mm_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high)),
                Four(_mm_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high)),
            ]
        }
    }

    /// Even and odd ones of eight values in a row.
    #[inline(always)]
    pub(crate) fn parted(low: Four, high: Four) -> (Four, Four) {
        // SAFETY: SSE2 is there.
        unsafe {
            (
                Four(_mm_shuffle_ps::<0b10_00_10_00>(low.0, high.0)),
                Four(_mm_shuffle_ps::<0b11_01_11_01>(low.0, high.0)),
            )
        }
    }

    /// The last one first.
    #[inline(always)]
    pub(crate) fn reversed(four: Four) -> Four {
        // SAFETY: SSE2 is there.
        Four(unsafe { _mm_shuffle_ps::<0b00_01_10_11>(four.0, four.0) })
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod lanes {
    use super::Four;

    impl Four {
        #[inline(always)]
        pub(crate) fn of(values: &[f32; 4]) -> Self {
            Self(*values)
        }

        #[inline(always)]
        pub(crate) fn values(self) -> [f32; 4] {
            self.0
        }

        #[inline(always)]
        pub(crate) fn same(value: f32) -> Self {
            Self([value; 4])
        }

        #[inline(always)]
        pub(crate) fn plus(self, other: Self) -> Self {
            let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
            Self([a + e, b + f, c + g, d + h])
        }

        #[inline(always)]
        pub(crate) fn minus(self, other: Self) -> Self {
            let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
            Self([a - e, b - f, c - g, d - h])
        }

        #[inline(always)]
        pub(crate) fn times(self, other: Self) -> Self {
            let ([a, b, c, d], [e, f, g, h]) = (self.0, other.0);
            Self([a * e, b * f, c * g, d * h])
        }
    }

    /// Rows become columns.
    #[inline(always)]
    pub(crate) fn transposed([a, b, c, d]: [Four; 4]) -> [Four; 4] {
        let column = |lane: usize| Four([a.0[lane], b.0[lane], c.0[lane], d.0[lane]]);
        [column(0), column(1), column(2), column(3)]
    }

    /// Even and odd ones of eight values in a row.
    #[inline(always)]
    pub(crate) fn parted(low: Four, high: Four) -> (Four, Four) {
        let ([a, b, c, d], [e, f, g, h]) = (low.0, high.0);
        (Four([a, c, e, g]), Four([b, d, f, h]))
    }

    /// The last one first.
    #[inline(always)]
    pub(crate) fn reversed(four: Four) -> Four {
        let [a, b, c, d] = four.0;
        Four([d, c, b, a])
    }
}

pub(crate) use lanes::{parted, reversed, transposed};

/// The sum of products, in eight lanes; what is over a multiple of eight is left out.
pub(crate) fn product(one: &[f32], other: &[f32]) -> f32 {
    let (mut low, mut high) = (Four::same(0.0), Four::same(0.0));
    let (one, _) = one.as_chunks::<8>();
    let (other, _) = other.as_chunks::<8>();
    for (a, b) in one.iter().zip(other) {
        let ([a, b], [c, d]) = (halves(a), halves(b));
        low = low.plus(a.times(c));
        high = high.plus(b.times(d));
    }
    let ([a, b, c, d], [e, f, g, h]) = (low.values(), high.values());
    a + b + c + d + e + f + g + h
}

#[inline(always)]
fn halves(eight: &[f32; 8]) -> [Four; 2] {
    let (fours, _) = eight.as_chunks::<4>();
    [Four::of(&fours[0]), Four::of(&fours[1])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_moved_where_they_belong() {
        let four = |from: f32| Four::of(&[from, from + 1.0, from + 2.0, from + 3.0]);
        let columns = transposed([four(0.0), four(4.0), four(8.0), four(12.0)]);
        assert_eq!(columns[1].values(), [1.0, 5.0, 9.0, 13.0]);
        assert_eq!(columns[3].values(), [3.0, 7.0, 11.0, 15.0]);
        let (even, odd) = parted(four(0.0), four(4.0));
        assert_eq!(even.values(), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!(odd.values(), [1.0, 3.0, 5.0, 7.0]);
        assert_eq!(reversed(odd).values(), [7.0, 5.0, 3.0, 1.0]);
    }

    #[test]
    fn a_product_is_summed_in_eight_lanes() {
        let ones: [f32; 24] = core::array::from_fn(|index| index as f32);
        assert_eq!(product(&ones, &[2.0; 24]), 552.0);
    }
}
