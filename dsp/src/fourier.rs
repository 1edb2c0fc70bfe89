//! Real transforms of 256 points, and window shapes, for the parts that need them.
//!
//! A spectrum is 128 bins 31.25 Hz apart; the real Nyquist bin is packed into
//! the imaginary part of the first, as microfft does. Everything is plain f32
//! arithmetic in a fixed order, so that all machines agree to the bit. Called
//! by `echo`, `voice` and `spectrum`.

use microfft::Complex32;

/// Points of a transform.
pub(crate) const POINTS: usize = 256;
/// Bins of its spectrum.
pub(crate) const BINS: usize = POINTS / 2;

pub(crate) type Bins = [Complex32; BINS];

pub(crate) const ZERO: Complex32 = Complex32::new(0.0, 0.0);

/// exp(2 pi i k / 256).
const TURNS: [(f32, f32); BINS] = turns();

/// The spectrum of `samples`.
pub(crate) fn forward(mut samples: [f32; POINTS]) -> Bins {
    *microfft::real::rfft_256(&mut samples)
}

/// The samples of a spectrum: undoes [`forward`].
pub(crate) fn inverse(bins: &Bins) -> [f32; POINTS] {
    let mut half = [ZERO; BINS];
    half[0] = Complex32::new(
        0.5 * (bins[0].re + bins[0].im),
        0.5 * (bins[0].re - bins[0].im),
    );
    for k in 1..BINS {
        let (one, other) = (bins[k], bins[BINS - k]);
        let even = (0.5 * (one.re + other.re), 0.5 * (one.im - other.im));
        let odd = (0.5 * (one.re - other.re), 0.5 * (one.im + other.im));
        let (cos, sin) = TURNS[k];
        let turned = (odd.0 * cos - odd.1 * sin, odd.0 * sin + odd.1 * cos);
        half[k] = Complex32::new(even.0 - turned.1, even.1 + turned.0);
    }
    let half = microfft::inverse::ifft_128(&mut half);
    let mut samples = [0.0; POINTS];
    for (pair, value) in samples.chunks_exact_mut(2).zip(half.iter()) {
        pair[0] = value.re;
        pair[1] = value.im;
    }
    samples
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

const fn turns() -> [(f32, f32); BINS] {
    let mut turns = [(0.0, 0.0); BINS];
    let mut k = 0;
    while k < BINS {
        let turn = k as f64 / POINTS as f64;
        turns[k] = (cosine(turn) as f32, cosine(turn - 0.25) as f32);
        k += 1;
    }
    turns
}

/// The cosine of `turn` whole turns, -1 to 1: its series around 0, which
/// converges to f64 within 24 terms.
const fn cosine(turn: f64) -> f64 {
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

    #[test]
    fn the_inverse_gives_the_samples_back() {
        let mut noise = ComfortNoise::new(6, 1);
        let samples: [f32; POINTS] = core::array::from_fn(|_| f32::from(noise.sample()) / 32_768.0);
        let back = inverse(&forward(samples));
        for (one, other) in samples.iter().zip(&back) {
            assert!((one - other).abs() < 1e-5, "{one} {other}");
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
