//! Real transforms of 256 and 512 points, and window shapes, for the parts that
//! need them.
//!
//! Stockham's method by fours (Cooley and Tukey 1965 without reordering; Van Loan
//! 1992 §1.7) on real and imaginary parts apart, so that every machine takes four
//! values at a time. A spectrum has half as many bins as the transform has points,
//! 4,000 Hz in all; the real Nyquist bin is packed into the imaginary part of the
//! first. Everything is plain f32 arithmetic in a fixed order, so that all machines
//! agree to the bit. Called by `bands`, `echo` and `spectrum`.

use crate::four::{Four, parted, reversed, transposed};

/// Points of a transform.
pub(crate) const POINTS: usize = 256;
/// Bins of its spectrum.
pub(crate) const BINS: usize = POINTS / 2;
/// Points of the long one, in pairs.
const LONG_PAIRS: usize = 256;

/// Complex numbers, real and imaginary parts apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Complex<const N: usize> {
    pub(crate) re: [f32; N],
    pub(crate) im: [f32; N],
}

/// The spectrum of 256 points, 31.25 Hz apart.
pub(crate) type Bins = Complex<BINS>;

impl<const N: usize> Complex<N> {
    pub(crate) const ZERO: Self = Self {
        re: [0.0; N],
        im: [0.0; N],
    };

    /// Power of each, as squares.
    pub(crate) fn squares(&self) -> [f32; N] {
        let mut squares = [0.0; N];
        for (square, (re, im)) in squares.iter_mut().zip(self.re.iter().zip(&self.im)) {
            *square = re * re + im * im;
        }
        squares
    }

    /// The four that begin at four times `at`.
    #[inline(always)]
    fn four(&self, at: usize) -> Pairs {
        Pairs {
            re: Four::of(&self.re.as_chunks().0[at]),
            im: Four::of(&self.im.as_chunks().0[at]),
        }
    }

    /// Four fours, `step` fours apart.
    #[inline(always)]
    fn fours(&self, at: usize, step: usize) -> [Pairs; 4] {
        [
            self.four(at),
            self.four(at + step),
            self.four(at + 2 * step),
            self.four(at + 3 * step),
        ]
    }

    /// One, four times.
    #[inline(always)]
    fn same(&self, at: usize) -> Pairs {
        Pairs {
            re: Four::same(self.re[at]),
            im: Four::same(self.im[at]),
        }
    }

    #[inline(always)]
    fn put(&mut self, at: usize, four: Pairs) {
        self.re.as_chunks_mut().0[at] = four.re.values();
        self.im.as_chunks_mut().0[at] = four.im.values();
    }

    /// The four that mirror those at four times `at`: as far from the end as
    /// those from the beginning, which is its own mirror.
    #[inline(always)]
    fn mirrored(&self, at: usize) -> Pairs {
        let from = N - 4 * at - 3;
        let part = |part: &[f32; N]| {
            let four = if at > 0 {
                [part[from], part[from + 1], part[from + 2], part[from + 3]]
            } else {
                [part[N - 3], part[N - 2], part[N - 1], part[0]]
            };
            reversed(Four::of(&four))
        };
        Pairs {
            re: part(&self.re),
            im: part(&self.im),
        }
    }
}

/// Four complex values that are worked on together.
#[derive(Clone, Copy)]
struct Pairs {
    re: Four,
    im: Four,
}

impl Pairs {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self {
            re: self.re.plus(other.re),
            im: self.im.plus(other.im),
        }
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        Self {
            re: self.re.minus(other.re),
            im: self.im.minus(other.im),
        }
    }

    #[inline(always)]
    fn turned(self, turn: Self) -> Self {
        Self {
            re: self.re.times(turn.re).minus(self.im.times(turn.im)),
            im: self.re.times(turn.im).plus(self.im.times(turn.re)),
        }
    }

    /// What this and its mirror have in common, and what not.
    #[inline(always)]
    fn even_and_odd(self, mirror: Self) -> (Self, Self) {
        let even = Self {
            re: self.re.plus(mirror.re),
            im: self.im.minus(mirror.im),
        };
        let odd = Self {
            re: self.re.minus(mirror.re),
            im: self.im.plus(mirror.im),
        };
        (even, odd)
    }
}

/// The spectrum of `samples`.
pub(crate) fn forward(samples: &[f32; POINTS]) -> Bins {
    let pairs = paired::<POINTS, BINS>(samples);
    unravelled(&transformed_128(&pairs), &TURNS_256)
}

/// The spectrum of twice as many samples, 15.625 Hz apart.
pub(crate) fn forward_long(samples: &[f32; 2 * LONG_PAIRS]) -> Complex<LONG_PAIRS> {
    let pairs = paired::<{ 2 * LONG_PAIRS }, LONG_PAIRS>(samples);
    unravelled(&transformed_256(&pairs), &TURNS_512)
}

/// The samples of a spectrum: undoes [`forward`].
pub(crate) fn inverse(bins: &Bins) -> [f32; POINTS] {
    // With real and imaginary parts exchanged, forward is backward.
    let mut pairs = Bins::ZERO;
    let scale = Four::same(0.5 / BINS as f32);
    for at in 0..BINS / 4 {
        let (even, odd) = bins.four(at).even_and_odd(bins.mirrored(at));
        let odd = odd.turned(TURNS_256.four(at));
        let exchanged = Pairs {
            re: even.im.plus(odd.re).times(scale),
            im: even.re.minus(odd.im).times(scale),
        };
        pairs.put(at, exchanged);
    }
    pairs.im[0] = (0.5 / BINS as f32) * (bins.re[0] + bins.im[0]);
    pairs.re[0] = (0.5 / BINS as f32) * (bins.re[0] - bins.im[0]);
    let pairs = transformed_128(&pairs);
    let mut samples = [0.0; POINTS];
    let (both, _) = samples.as_chunks_mut::<2>();
    for (k, both) in both.iter_mut().enumerate() {
        *both = [pairs.im[k], pairs.re[k]];
    }
    samples
}

/// Even samples as real parts, odd ones as imaginary.
fn paired<const N: usize, const PAIRS: usize>(samples: &[f32; N]) -> Complex<PAIRS> {
    const { assert!(N == 2 * PAIRS) };
    let mut pairs = Complex::ZERO;
    let (fours, _) = samples.as_chunks();
    for at in 0..PAIRS / 4 {
        let (re, im) = parted(Four::of(&fours[2 * at]), Four::of(&fours[2 * at + 1]));
        pairs.put(at, Pairs { re, im });
    }
    pairs
}

/// From the transform of pairs to the spectrum of the samples.
fn unravelled<const N: usize>(pairs: &Complex<N>, turns: &Complex<N>) -> Complex<N> {
    let mut bins = Complex::ZERO;
    let half = Four::same(0.5);
    for at in 0..N / 4 {
        let (even, odd) = pairs.four(at).even_and_odd(pairs.mirrored(at));
        let turn = turns.four(at);
        let side = odd.im.times(turn.re).minus(odd.re.times(turn.im));
        let down = odd.re.times(turn.re).plus(odd.im.times(turn.im));
        let found = Pairs {
            re: half.times(even.re.plus(side)),
            im: half.times(even.im.minus(down)),
        };
        bins.put(at, found);
    }
    bins.im[0] = pairs.re[0] - pairs.im[0];
    bins
}

fn transformed_128(values: &Complex<128>) -> Complex<128> {
    static FIRST: Turns<32> = Turns::new(128);
    static SECOND: Turns<8> = Turns::new(32);
    static THIRD: Turns<2> = Turns::new(8);
    let values = first_pass(values, &FIRST);
    let values = pass::<128, 8, 1>(&values, &SECOND);
    let values = pass::<128, 2, 4>(&values, &THIRD);
    last_pass_by_twos(&values)
}

fn transformed_256(values: &Complex<256>) -> Complex<256> {
    static FIRST: Turns<64> = Turns::new(256);
    static SECOND: Turns<16> = Turns::new(64);
    static THIRD: Turns<4> = Turns::new(16);
    static FOURTH: Turns<1> = Turns::new(4);
    let values = first_pass(values, &FIRST);
    let values = pass::<256, 16, 1>(&values, &SECOND);
    let values = pass::<256, 4, 4>(&values, &THIRD);
    pass::<256, 1, 16>(&values, &FOURTH)
}

/// What a butterfly turns its outputs by, and by twice and three times as much:
/// exp(-2 pi i p / points) for each p.
struct Turns<const M: usize> {
    by: [Complex<M>; 3],
}

impl<const M: usize> Turns<M> {
    const fn new(points: usize) -> Self {
        let mut by = [Complex::ZERO; 3];
        let mut times = 0;
        while times < 3 {
            let mut p = 0;
            while p < M {
                let turn = ((times + 1) * p) as f64 / points as f64;
                by[times].re[p] = cosine(turn) as f32;
                by[times].im[p] = -cosine(turn - 0.25) as f32;
                p += 1;
            }
            times += 1;
        }
        Self { by }
    }
}

/// One transform of four points for each of four lanes, turned.
#[inline(always)]
fn butterfly([a, b, c, d]: [Pairs; 4], turns: [Pairs; 3]) -> [Pairs; 4] {
    let (even, differ) = (a.plus(c), a.minus(c));
    let (odd, side) = (b.plus(d), b.minus(d));
    // Minus i times the side is (side.im, -side.re).
    let [one, three] = [
        Pairs {
            re: differ.re.plus(side.im),
            im: differ.im.minus(side.re),
        },
        Pairs {
            re: differ.re.minus(side.im),
            im: differ.im.plus(side.re),
        },
    ];
    [
        even.plus(odd),
        one.turned(turns[0]),
        even.minus(odd).turned(turns[1]),
        three.turned(turns[2]),
    ]
}

/// The pass in which neighbours belong to different butterflies.
fn first_pass<const N: usize, const M: usize>(values: &Complex<N>, turns: &Turns<M>) -> Complex<N> {
    const { assert!(N == 4 * M && M.is_multiple_of(4)) };
    let mut passed = Complex::ZERO;
    let [one, two, three] = &turns.by;
    for p in 0..M / 4 {
        let turns = [one.four(p), two.four(p), three.four(p)];
        let [a, b, c, d] = butterfly(values.fours(p, M / 4), turns);
        let re = transposed([a.re, b.re, c.re, d.re]);
        let im = transposed([a.im, b.im, c.im, d.im]);
        for lane in 0..4 {
            let four = Pairs {
                re: re[lane],
                im: im[lane],
            };
            passed.put(4 * p + lane, four);
        }
    }
    passed
}

/// A pass in which four times `STRIDE` neighbours do the same.
fn pass<const N: usize, const M: usize, const STRIDE: usize>(
    values: &Complex<N>,
    turns: &Turns<M>,
) -> Complex<N> {
    const { assert!(N == 16 * M * STRIDE) };
    let mut passed = Complex::ZERO;
    let [one, two, three] = &turns.by;
    for p in 0..M {
        let turns = [one.same(p), two.same(p), three.same(p)];
        for q in 0..STRIDE {
            let [a, b, c, d] = butterfly(values.fours(q + STRIDE * p, STRIDE * M), turns);
            let to = q + 4 * STRIDE * p;
            passed.put(to, a);
            passed.put(to + STRIDE, b);
            passed.put(to + 2 * STRIDE, c);
            passed.put(to + 3 * STRIDE, d);
        }
    }
    passed
}

/// The last pass where the points are no power of four.
fn last_pass_by_twos<const N: usize>(values: &Complex<N>) -> Complex<N> {
    let mut passed = Complex::ZERO;
    for q in 0..N / 8 {
        let (one, other) = (values.four(q), values.four(q + N / 8));
        passed.put(q, one.plus(other));
        passed.put(q + N / 8, one.minus(other));
    }
    passed
}

/// A Hann window.
pub(crate) const fn hann<const N: usize>() -> [f32; N] {
    let mut window = [0.0; N];
    let mut index = 0;
    while index < N {
        window[index] = (0.5 - 0.5 * cosine((index as f64 + 0.5) / N as f64)) as f32;
        index += 1;
    }
    window
}

/// A window that rises over the first `N - fall` points and falls over the
/// last `fall`: it looks at what came last.
pub(crate) const fn late<const N: usize>(fall: usize) -> [f32; N] {
    let mut window = [0.0; N];
    let mut index = 0;
    while index < N {
        let rise = N - fall;
        let place = if index < rise {
            (index as f64 + 0.5) / rise as f64
        } else {
            (N as f64 - 0.5 - index as f64) / fall as f64
        };
        window[index] = (0.5 - 0.5 * cosine(0.5 * place)) as f32;
        index += 1;
    }
    window
}

/// exp(2 pi i k / 256) and exp(2 pi i k / 512).
static TURNS_256: Complex<BINS> = turns();
static TURNS_512: Complex<LONG_PAIRS> = turns();

const fn turns<const N: usize>() -> Complex<N> {
    let mut turns = Complex::ZERO;
    let mut k = 0;
    while k < N {
        let turn = k as f64 / (2 * N) as f64;
        turns.re[k] = cosine(turn) as f32;
        turns.im[k] = cosine(turn - 0.25) as f32;
        k += 1;
    }
    turns
}

/// The cosine of `turn` whole turns, -1 to 1: its series around 0, which
/// converges to f64 within 24 terms.
pub(crate) const fn cosine(turn: f64) -> f64 {
    let angle = turn * core::f64::consts::TAU;
    let square = angle * angle;
    let (mut sum, mut term, mut n) = (1.0, 1.0, 0.0);
    while n < 24.0 {
        term *= -square / ((2.0 * n + 1.0) * (2.0 * n + 2.0));
        sum += term;
        n += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::ComfortNoise;

    fn noise<const N: usize>() -> [f32; N] {
        let mut noise = ComfortNoise::new(6, 1);
        core::array::from_fn(|_| f32::from(noise.sample()) / 32_768.0)
    }

    /// The sums of which a transform is made, taken as they are written.
    fn assert_transform<const N: usize, const HALF: usize>(
        samples: &[f32; N],
        bins: &Complex<HALF>,
    ) {
        for k in 0..=HALF {
            let (mut re, mut im) = (0.0f64, 0.0f64);
            for (n, &sample) in samples.iter().enumerate() {
                let turn = (k * n % N) as f64 / N as f64;
                re += f64::from(sample) * cosine(turn);
                im -= f64::from(sample) * cosine(turn - 0.25);
            }
            let found = match k {
                0 => (bins.re[0], 0.0),
                _ if k == HALF => (bins.im[0], 0.0),
                _ => (bins.re[k], bins.im[k]),
            };
            let off = (f64::from(found.0) - re).abs() + (f64::from(found.1) - im).abs();
            assert!(off < 3e-5, "bin {k} of {N}: {found:?}, not {re} {im}");
        }
    }

    #[test]
    fn transforms_are_the_sums_that_define_them() {
        assert_transform(&noise::<POINTS>(), &forward(&noise()));
        assert_transform(&noise::<512>(), &forward_long(&noise()));
    }

    #[test]
    fn the_inverse_gives_the_samples_back() {
        let samples: [f32; POINTS] = noise();
        let back = inverse(&forward(&samples));
        for (one, other) in samples.iter().zip(&back) {
            assert!((one - other).abs() < 1e-6, "{one} {other}");
        }
    }

    #[test]
    fn windows_are_symmetric_or_late_as_they_say() {
        let hann = hann::<256>();
        assert!((hann[0] - hann[255]).abs() < 1e-6 && (hann[127] - 1.0).abs() < 1e-3);
        let late = late::<256>(64);
        assert!(late[191] > 0.99 && late[192] > 0.99 && late[255] < 0.01 && late[0] < 0.01);
    }
}
