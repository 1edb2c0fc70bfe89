//! The trained part: a small recurrent network with 8-bit weights.
//!
//! A dense layer, two gated recurrent units (GRU, Cho et al. 2014, reset after
//! the product) and one output. Weights are constants made by `train/train.py`;
//! `train/CARD.md` says from what. Products are whole numbers, the rest is f32
//! in a fixed order: every machine gets the same bits. Called by `voice`.

use crate::bands::BANDS;
use crate::voice::{INPUTS, SILENT_INPUT};

const DENSE: usize = 48;
const FIRST: usize = 80;
const SECOND: usize = 48;

/// Written by `train/train.py`: per layer the rows as i8, their scales as f32,
/// biases as f32, all little-endian.
const FILE: &[u8] = include_bytes!("../train/network.bin");

const DENSE_SIZE: usize = Layer::<DENSE, INPUTS>::SIZE;
const FIRST_SIZE: usize = Gated::<{ 3 * FIRST }, DENSE, FIRST>::SIZE;
const SECOND_SIZE: usize = Gated::<{ 3 * SECOND }, FIRST, SECOND>::SIZE;
const _: () = assert!(
    FILE.len() == DENSE_SIZE + FIRST_SIZE + SECOND_SIZE + Layer::<1, SECOND>::SIZE,
    "network.bin does not belong to these sizes"
);

static ENTRY: Layer<DENSE, INPUTS> = Layer::read(0);
static ALONE: Alone = Alone::of(&ENTRY);
static LOWER: Gated<{ 3 * FIRST }, DENSE, FIRST> = Gated::read(DENSE_SIZE);
static UPPER: Gated<{ 3 * SECOND }, FIRST, SECOND> = Gated::read(DENSE_SIZE + FIRST_SIZE);
static EXIT: Layer<1, SECOND> = Layer::read(DENSE_SIZE + FIRST_SIZE + SECOND_SIZE);

/// The network's memory of one line.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    lower: [f32; FIRST],
    upper: [f32; SECOND],
}

impl Network {
    pub(crate) const fn new() -> Self {
        Self {
            lower: [0.0; FIRST],
            upper: [0.0; SECOND],
        }
    }

    /// The log-odds of speech after this frame's input (in 1/4096).
    pub(crate) fn hear(&mut self, input: &[i16; INPUTS]) -> f32 {
        let entered =
            Alone::line(input).map_or_else(|| ENTRY.times(input), |line| ALONE.times(&line));
        let dense = entered.map(tanh);
        LOWER.step(&fixed(&dense), &mut self.lower);
        UPPER.step(&fixed(&self.lower), &mut self.upper);
        EXIT.times(&fixed(&self.upper))[0]
    }
}

/// A matrix of 8-bit weights, widened when compiled, with a scale and a bias a row.
struct Layer<const ROWS: usize, const COLUMNS: usize> {
    weights: [[i16; COLUMNS]; ROWS],
    scale: [f32; ROWS],
    bias: [f32; ROWS],
}

impl<const ROWS: usize, const COLUMNS: usize> Layer<ROWS, COLUMNS> {
    const SIZE: usize = ROWS * COLUMNS + 8 * ROWS;

    #[allow(
        long_running_const_eval,
        reason = "thousands of weights are widened here"
    )]
    const fn read(at: usize) -> Self {
        let mut layer = Self {
            weights: [[0; COLUMNS]; ROWS],
            scale: [0.0; ROWS],
            bias: [0.0; ROWS],
        };
        let mut row = 0;
        while row < ROWS {
            let mut column = 0;
            while column < COLUMNS {
                layer.weights[row][column] = FILE[at + row * COLUMNS + column] as i8 as i16;
                column += 1;
            }
            layer.scale[row] = float(at + ROWS * COLUMNS + 4 * row);
            layer.bias[row] = float(at + ROWS * COLUMNS + 4 * (ROWS + row));
            row += 1;
        }
        layer
    }

    /// Sums cannot overflow: 2^15 * 2^7 * columns < 2^31 up to 512 columns.
    fn times(&self, input: &[i16; COLUMNS]) -> [f32; ROWS] {
        const { assert!(COLUMNS <= 512) };
        let mut output = self.bias;
        for (row, output) in output.iter_mut().enumerate() {
            *output += product(&self.weights[row], input) as f32 * self.scale[row];
        }
        output
    }
}

/// Which of the rows of input tell of the line alone: now, before, floor and mean.
const LINE: [usize; 4] = [0, 3, 6, 7];

/// The first layer on a line without a prompt of ours, where half of its input
/// is known: what is shown of the line twice has its weights summed, and
/// the silent prompt is a sum of its own. To the bit what the whole layer finds.
struct Alone {
    weights: [[i16; 4 * BANDS]; DENSE],
    prompt: [i32; DENSE],
}

impl Alone {
    const fn of(layer: &Layer<DENSE, INPUTS>) -> Self {
        let mut alone = Self {
            weights: [[0; 4 * BANDS]; DENSE],
            prompt: [0; DENSE],
        };
        let mut place = 0;
        while place < DENSE * 4 * BANDS {
            let (row, column) = (place / (4 * BANDS), place % (4 * BANDS));
            let weights = &layer.weights[row];
            let first = LINE[column / BANDS] * BANDS + column % BANDS;
            if column < 2 * BANDS {
                alone.weights[row][column] = weights[first] + weights[first + BANDS];
                alone.prompt[row] += weights[first + 2 * BANDS] as i32 * SILENT_INPUT as i32;
            } else {
                alone.weights[row][column] = weights[first];
            }
            place += 1;
        }
        alone
    }

    /// The line now and before and its background, if nothing of ours is about.
    fn line(input: &[i16; INPUTS]) -> Option<[i16; 4 * BANDS]> {
        let (rows, _) = input.as_chunks::<BANDS>();
        let is_alone =
            |row: usize| rows[row] == rows[row + 1] && rows[row + 2] == [SILENT_INPUT; BANDS];
        (is_alone(0) && is_alone(3))
            .then(|| core::array::from_fn(|column| rows[LINE[column / BANDS]][column % BANDS]))
    }

    fn times(&self, line: &[i16; 4 * BANDS]) -> [f32; DENSE] {
        let mut output = ENTRY.bias;
        for (row, output) in output.iter_mut().enumerate() {
            let sum = product(&self.weights[row], line) + self.prompt[row];
            *output += sum as f32 * ENTRY.scale[row];
        }
        output
    }
}

/// A gated recurrent unit; `GATES` is three times `UNITS`: reset, update, candidate.
struct Gated<const GATES: usize, const COLUMNS: usize, const UNITS: usize> {
    input: Layer<GATES, COLUMNS>,
    state: Layer<GATES, UNITS>,
}

impl<const GATES: usize, const COLUMNS: usize, const UNITS: usize> Gated<GATES, COLUMNS, UNITS> {
    const SIZE: usize = Layer::<GATES, COLUMNS>::SIZE + Layer::<GATES, UNITS>::SIZE;

    const fn read(at: usize) -> Self {
        assert!(GATES == 3 * UNITS);
        Self {
            input: Layer::read(at),
            state: Layer::read(at + Layer::<GATES, COLUMNS>::SIZE),
        }
    }

    fn step(&self, input: &[i16; COLUMNS], state: &mut [f32; UNITS]) {
        let new = self.input.times(input);
        let old = self.state.times(&fixed(state));
        for unit in 0..UNITS {
            let reset = sigmoid(new[unit] + old[unit]);
            let update = sigmoid(new[UNITS + unit] + old[UNITS + unit]);
            let candidate = tanh(new[2 * UNITS + unit] + reset * old[2 * UNITS + unit]);
            state[unit] = candidate + update * (state[unit] - candidate);
        }
    }
}

const fn float(at: usize) -> f32 {
    f32::from_le_bytes([FILE[at], FILE[at + 1], FILE[at + 2], FILE[at + 3]])
}

/// The sum of products.
#[cfg(not(target_arch = "x86_64"))]
fn product<const N: usize>(weights: &[i16; N], input: &[i16; N]) -> i32 {
    let products = weights
        .iter()
        .zip(input)
        .map(|(&one, &other)| i32::from(one) * i32::from(other));
    products.fold(0, i32::wrapping_add)
}

/// The sum of products, eight at a time: compilers do not find this instruction,
/// which every x86-64 has, by themselves.
#[cfg(target_arch = "x86_64")]
fn product<const N: usize>(weights: &[i16; N], input: &[i16; N]) -> i32 {
    use core::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_loadu_si128, _mm_madd_epi16, _mm_setzero_si128,
    };
    const { assert!(N.is_multiple_of(8)) };
    let (weights, _) = weights.as_chunks::<8>();
    let (input, _) = input.as_chunks::<8>();
    // SAFETY: SSE2 is part of x86-64; each load reads the 16 bytes of eight
    // values and needs no alignment.
    let lanes: [i32; 4] = unsafe {
        let load = |values: &[i16; 8]| _mm_loadu_si128(values.as_ptr().cast::<__m128i>());
        let add = |sum, (one, other)| _mm_add_epi32(sum, _mm_madd_epi16(load(one), load(other)));
        core::mem::transmute(weights.iter().zip(input).fold(_mm_setzero_si128(), add))
    };
    lanes.into_iter().fold(0, i32::wrapping_add)
}

/// Values of -1 to 1 in 1/32767.
fn fixed<const N: usize>(values: &[f32; N]) -> [i16; N] {
    values.map(|value| (value * 32_767.0) as i16)
}

/// Close to the hyperbolic tangent (within 0.024), exactly ±1 from ±3 on; the
/// network is trained with this very curve.
fn tanh(value: f32) -> f32 {
    let value = value.clamp(-3.0, 3.0);
    let square = value * value;
    value * (27.0 + square) / (27.0 + 9.0 * square)
}

fn sigmoid(value: f32) -> f32 {
    0.5 + 0.5 * tanh(0.5 * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `train.py`: input and the probability its framework found.
    const GOLDEN: &[u8] = include_bytes!("../train/golden.bin");
    const RECORD: usize = 2 * INPUTS + 4;

    #[test]
    fn probabilities_are_those_of_the_training_framework_within_a_hundredth() {
        let mut network = Network::new();
        let (mut lowest, mut highest) = (1.0f32, 0.0f32);
        for record in GOLDEN.chunks_exact(RECORD) {
            let (input, expected) = record.split_at(2 * INPUTS);
            let (input, _) = input.as_chunks::<2>();
            let input = core::array::from_fn(|index| i16::from_le_bytes(input[index]));
            let expected = f32::from_le_bytes(expected.try_into().expect("four bytes"));
            let found = 1.0 / (1.0 + libm::expf(-network.hear(&input)));
            assert!((found - expected).abs() < 0.01, "{found} {expected}");
            (lowest, highest) = (lowest.min(found), highest.max(found));
        }
        assert_eq!(GOLDEN.len() % RECORD, 0);
        assert!(
            highest - lowest > 0.3,
            "{lowest} to {highest} tells nothing"
        );
    }

    #[test]
    fn a_line_without_a_prompt_is_heard_as_the_whole_layer_hears_it() {
        let mut noise = crate::noise::ComfortNoise::new(10, 3);
        for _ in 0..20 {
            let line: [i16; 4 * BANDS] = core::array::from_fn(|_| noise.sample());
            let input = core::array::from_fn(|index| match index / BANDS {
                0 | 1 => line[index % BANDS],
                3 | 4 => line[BANDS + index % BANDS],
                2 | 5 => SILENT_INPUT,
                _ => line[index - 4 * BANDS],
            });
            assert_eq!(Alone::line(&input), Some(line));
            assert_eq!(ALONE.times(&line), ENTRY.times(&input));
        }
    }

    #[test]
    fn the_product_of_the_extremes_does_not_overflow() {
        let sum = product(&[-127; INPUTS], &[i16::MIN; INPUTS]);
        assert_eq!(i64::from(sum), 127 * 32_768 * INPUTS as i64);
    }
}
