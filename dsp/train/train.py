"""Trains the network that hears speech, and writes it as the constants of the ear.

    pip install -r requirements.txt && pip install --no-deps silero-vad==6.2.3
    python3 train.py FOLDER [--rows 700] [--batches 1300] [--work DIR] [--exclude LIST]

FOLDER holds recordings at 8 kHz with a `manifest.csv` (columns `file`, `kind`:
speech or noise, `source`); `voices.py FOLDER` adds more to them. Four steps:
`scenes.py` makes rows of sound from them,
the ear's own front end (`cargo run --example features`) turns these into levels in
bands, `mix.py` mixes streams anew for each batch, and this program fits the network
and writes `network.bin` beside it. Every random number has a fixed seed. Which
sources went into the weights that ship: `CARD.md`.
"""
import argparse
import glob
import multiprocessing
import os
import subprocess
import sys
import time

# One thread, so that sums are in one order; mixing takes the second core.
os.environ.setdefault('XLA_FLAGS', '--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1')

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mix import BANDS, ROW, SILENT, Rows
from scenes import BEGINS, SAID

HERE = os.path.dirname(os.path.abspath(__file__))
INPUTS, DENSE, FIRST, SECOND = 8 * BANDS, 48, 80, 48
INPUT_ONE = 4096.0
WINDOW = 250
STREAMS = 24
# What the line without echo is judged against, per band, as `voice.rs` follows it: a
# floor that falls and rises by these shares a frame, and a mean of this pace.
FLOOR_FALL, FLOOR_RISE, MEAN_PACE = 0.1, 0.005, 0.005
# How it weighs log-odds against those of the last second.
USUAL_PACE, USUAL_SHARE, MOST_ODDS = 0.01, 0.5, 4.0
# Shares of streams over our prompt, of short scenes of one who goes on speaking, of
# scenes without speech among the others, of speech at 0 to 14 dB above noise, at -6 to 4.
MIX = {'echo': 0.28, 'dense': 0.5, 'hush': 0.25, 'middle': 0.5, 'low': 0.15}
OVER_PROMPT = 1.5  # a caller who is missed there is talked over
DROPPED = 0.1
PAIRS = 1.5  # what an ill-ordered pair of frames, of any two streams, weighs
DECAY = 1e-3
RATE = 4e-3


# --- the network; `network.rs` does the same in whole numbers ---------------


def tanh(x):
    x = jnp.clip(x, -3, 3)
    return x * (27 + x * x) / (27 + 9 * x * x)


def sigmoid(x):
    return 0.5 + 0.5 * tanh(0.5 * x)


def slope(x):
    """Of tanh."""
    square = jnp.minimum(x * x, 9)
    return jnp.square((9 - square) / (9 + 3 * square))


def start(seed):
    random = np.random.default_rng(seed)

    def matrix(rows, columns):
        return jnp.asarray(random.normal(0, 1 / np.sqrt(columns), (rows, columns)), jnp.float32)

    def gated(units, columns):
        bias = np.zeros(3 * units, np.float32)
        bias[units:2 * units] = 1
        return {'wx': matrix(3 * units, columns), 'bx': jnp.asarray(bias),
                'wh': matrix(3 * units, units), 'bh': jnp.zeros(3 * units)}

    return {'entry': {'w': matrix(DENSE, INPUTS) * 0.5, 'b': jnp.zeros(DENSE)},
            'lower': gated(FIRST, DENSE), 'upper': gated(SECOND, FIRST),
            'exit': {'w': matrix(1, SECOND), 'b': jnp.zeros(1)}}


def run(unit, new, state, keep):
    """The states of a GRU over time, and what it remembers at each step."""
    units = unit['wh'].shape[1]

    def step(state, now):
        new, keep = now
        state = state * keep
        old = state @ unit['wh'].T + unit['bh']
        gates = sigmoid(new[:, :2 * units] + old[:, :2 * units])
        candidate = tanh(new[:, 2 * units:] + gates[:, :units] * old[:, 2 * units:])
        state = candidate + gates[:, units:] * (state - candidate)
        return state, (state, old)

    return jax.lax.scan(step, state, (new, keep))


@jax.custom_vjp
def gated(unit, inputs, state, keep):
    """Runs a GRU over [time, batch, values]; where `keep` is 0 the state is cleared.
    Its slope is written out: derived by the framework it takes five times as long."""
    last, (states, _) = run(unit, inputs @ unit['wx'].T + unit['bx'], state, keep)
    return states, last


def gated_forward(unit, inputs, state, keep):
    new = inputs @ unit['wx'].T + unit['bx']
    last, (states, old) = run(unit, new, state, keep)
    return (states, last), (unit, inputs, state, keep, new, states, old)


def gated_backward(kept, slopes):
    unit, inputs, state, keep, new, states, old = kept
    units = unit['wh'].shape[1]
    before = jnp.concatenate([state[None], states[:-1]]) * keep
    sums = new[..., :2 * units] + old[..., :2 * units]
    gates, bent = sigmoid(sums), 0.25 * slope(0.5 * sums)
    reset, update = gates[..., :units], gates[..., units:]
    inner = new[..., 2 * units:] + reset * old[..., 2 * units:]
    to_update = (before - tanh(inner)) * bent[..., units:]
    to_inner = (1 - update) * slope(inner)
    to_reset = to_inner * old[..., 2 * units:] * bent[..., :units]
    factors = jnp.concatenate([to_reset, to_update, to_inner * reset], -1)

    def step(late, now):
        own, factors, update, keep = now
        late = late + own
        old = jnp.concatenate([late, late, late], -1) * factors
        return (late * update + old @ unit['wh']) * keep, (old, late)

    first, (old, late) = jax.lax.scan(step, slopes[1], (slopes[0], factors, update, keep), reverse=True)
    new = jnp.concatenate([old[..., :2 * units], late * to_inner], -1)
    flat = lambda x: x.reshape(-1, x.shape[-1])
    unit_slope = {'wx': flat(new).T @ flat(inputs), 'bx': flat(new).sum(0),
                  'wh': flat(old).T @ flat(before), 'bh': flat(old).sum(0)}
    return unit_slope, new @ unit['wx'], first, jnp.zeros_like(keep)


gated.defvjp(gated_forward, gated_backward)


def forward(network, inputs, states, keep, kept=1.0):
    """Log-odds of speech for [time, batch, INPUTS], and the states after it.
    `kept`: factors on the dense layer's output, to drop some of it in training."""
    dense = tanh(inputs @ network['entry']['w'].T + network['entry']['b']) * kept
    seen, lower = gated(network['lower'], dense, states[0], keep)
    seen, upper = gated(network['upper'], seen, states[1], keep)
    return (seen @ network['exit']['w'].T + network['exit']['b'])[..., 0], (lower, upper)


@jax.jit
def backgrounds(rest, keep):
    """Floor and mean of each band of the line without echo, [time, batch, 2 * BANDS]."""

    def follow(known, now):
        level, keep = now
        floor, mean, count = known
        floor = jnp.where(keep > 0, floor, level)
        count = jnp.where(keep > 0, count, 0) + 1
        above = level - floor
        floor = floor + jnp.where(above > 0, FLOOR_RISE, FLOOR_FALL) * above
        mean = mean + jnp.maximum(1 / count, MEAN_PACE) * (level - mean)
        return (floor, mean, count), jnp.concatenate([floor, mean], -1)

    first = jnp.full_like(rest[0], SILENT), jnp.full_like(rest[0], SILENT), jnp.zeros_like(keep[0])
    return jax.lax.scan(follow, first, (rest, keep))[1]


def rest(batch):
    return jnp.zeros((batch, FIRST)), jnp.zeros((batch, SECOND))


# --- fitting ----------------------------------------------------------------


def weighed(odds, usual, keep):
    """Log-odds beside the usual ones of the last second, as `voice.rs` weighs them; and the usual."""

    def follow(usual, now):
        odds, keep = now
        usual = usual * keep
        usual = usual + USUAL_PACE * (jnp.clip(odds, -MOST_ODDS, MOST_ODDS) - usual)
        return usual, odds - USUAL_SHARE * usual

    usual, odds = jax.lax.scan(follow, usual, (odds, keep[..., 0]))
    return odds, usual


def loss_of(network, shown, before, behind, states, keep, truth, weight, kept, others):
    """Cross entropy, and how much frames of speech are behind others without."""
    inputs = jnp.concatenate([shown, jnp.where(keep > 0, before, shown), behind], -1)
    odds, layers = forward(network, inputs, states[:2], keep, kept)
    beside, usual = weighed(odds, states[2], keep)
    states = *layers, usual
    loss = jnp.sum(optax.sigmoid_binary_cross_entropy(odds, truth) * weight) / jnp.sum(weight)
    odds, truth = beside.reshape(-1), truth.reshape(-1)
    order = truth - truth[others]
    pairs = jnp.abs(order) * jax.nn.softplus(-jnp.sign(order) * (odds - odds[others]))
    return loss + PAIRS * jnp.sum(pairs) / (jnp.sum(jnp.abs(order)) + 1), states


OPTIMISER = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.add_decayed_weights(DECAY))


@jax.jit
def step(network, memory, mean, rate, pace, data):
    """One step, and the running mean of the weights, which is what ships."""
    (loss, states), slopes = jax.value_and_grad(loss_of, has_aux=True)(network, *data)
    change, memory = OPTIMISER.update(slopes, memory, network)
    network = jax.tree.map(lambda value, change: value - rate * change, network, change)
    mean = jax.tree.map(lambda mean, value: mean * pace + value * (1 - pace), mean, network)
    return network, memory, mean, states, loss


def windows(shown, labels, random):
    """A batch of streams in pieces of 2.5 s."""
    over_prompt = shown[..., 2 * BANDS:].max(-1) > SILENT + 0.05
    truth = (labels & SAID).astype(np.float32) / SAID
    weight = np.where(over_prompt & (truth > 0.5), OVER_PROMPT, 1).astype(np.float32)
    keep = (labels < BEGINS)[..., None].astype(np.float32)
    before = np.concatenate([shown[:1], shown[:-1]])
    behind = np.asarray(backgrounds(shown[..., BANDS:2 * BANDS], keep))
    for at in range(0, ROW, WINDOW):
        kept = ((random.random((STREAMS, DENSE)) > DROPPED) / (1 - DROPPED)).astype(np.float32)
        now = slice(at, at + WINDOW)
        yield shown[now], before[now], behind[now], keep[now], truth[now], weight[now], kept, random.permutation(WINDOW * STREAMS)


def mixed(folder, batches, seed, streams):
    """Puts batches into a queue, in a process of its own: mixing takes a quarter of the time."""
    rows = Rows(folder)
    for batch in range(batches):
        streams.put(rows.batch(np.random.default_rng([seed, batch]), STREAMS, MIX))


def fit(folder, batches, seed, begin, top, save):
    fork = multiprocessing.get_context('fork')
    streams = fork.Queue(2)
    fork.Process(target=mixed, args=(folder, batches, seed, streams), daemon=True).start()
    network = mean = begin() if begin else start(seed)
    memory = OPTIMISER.init(network)
    random = np.random.default_rng(seed)
    begun, losses, count = time.time(), [], 0
    for batch in range(batches):
        states = *rest(STREAMS), jnp.zeros(STREAMS)
        for shown, before, behind, *other in windows(*streams.get(), random):
            count += 1
            rate = top * min(1, count / 200) * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * batch / batches)))
            pace = 1 - 1 / (count / 2 + 1)
            network, memory, mean, states, loss = step(
                network, memory, mean, np.float32(rate), np.float32(pace), (shown, before, behind, states, *other))
            losses.append(loss)
        if batch % 25 == 24:
            print(f'batch {batch + 1}: loss {np.mean(losses):.4f}, {time.time() - begun:.0f} s', flush=True)
            losses = []
            save(mean)
    return mean


def flat(network):
    return {f'{part}.{name}': np.asarray(value) for part, values in network.items() for name, value in values.items()}


def unflat(values):
    network = {}
    for name, value in values.items():
        part, name = name.split('.')
        network.setdefault(part, {})[name] = jnp.asarray(value)
    return network


# --- export -----------------------------------------------------------------


def layer(weights, bias, unit):
    """Rows as i8 with a scale each; inputs are whole numbers, `unit` to one."""
    weights, bias = np.asarray(weights), np.asarray(bias)
    scale = np.maximum(np.abs(weights).max(1), 1e-6) / 127
    rows = np.clip(np.round(weights / scale[:, None]), -127, 127).astype(np.int8)
    return rows.tobytes() + (scale / unit).astype('<f4').tobytes() + bias.astype('<f4').tobytes()


def export(network, path):
    data = layer(network['entry']['w'], network['entry']['b'], INPUT_ONE)
    for part in ('lower', 'upper'):
        data += layer(network[part]['wx'], network[part]['bx'], 32767.0)
        data += layer(network[part]['wh'], network[part]['bh'], 32767.0)
    data += layer(network['exit']['w'], network['exit']['b'], 32767.0)
    open(path, 'wb').write(data)
    return data


def read(data):
    """The network as it is in the file: weights rounded to 8 bits."""
    at = 0

    def take(rows, columns, unit):
        nonlocal at
        whole = np.frombuffer(data, np.int8, rows * columns, at).reshape(rows, columns)
        scale = np.frombuffer(data, '<f4', rows, at + rows * columns)
        bias = np.frombuffer(data, '<f4', rows, at + rows * columns + 4 * rows)
        at += rows * columns + 8 * rows
        return jnp.asarray(whole * scale[:, None] * unit), jnp.asarray(bias)

    network = {'entry': dict(zip('wb', take(DENSE, INPUTS, INPUT_ONE)))}
    for part, units, columns in (('lower', FIRST, DENSE), ('upper', SECOND, FIRST)):
        wx, bx = take(3 * units, columns, 32767.0)
        wh, bh = take(3 * units, units, 32767.0)
        network[part] = {'wx': wx, 'bx': bx, 'wh': wh, 'bh': bh}
    network['exit'] = dict(zip('wb', take(1, SECOND, 32767.0)))
    return network


def golden(data, path, frames=300):
    """Generated input and what the training framework makes of it, for a test in Rust:
    per frame INPUTS of i16 and the probability as f32, little-endian."""
    random = np.random.default_rng(11)
    level = np.repeat(random.normal(-0.5, 1.0, (frames // 10, 1)), 10, 0)
    values = np.clip(level + random.normal(0, 0.7, (frames, INPUTS)), -7, 7)
    whole = (values * INPUT_ONE).astype('<i2')
    odds, _ = forward(read(data), jnp.asarray(whole[:, None, :].astype(np.float32) / INPUT_ONE), rest(1),
                      jnp.ones((frames, 1, 1)))
    probability = np.asarray(jax.nn.sigmoid(odds[:, 0])).astype('<f4')
    with open(path, 'wb') as file:
        for frame in range(frames):
            file.write(whole[frame].tobytes() + probability[frame].tobytes())


def listen(folder):
    """The ear's own front end tells the levels of the rows."""
    root = os.path.dirname(os.path.dirname(HERE))
    subprocess.run(['cargo', 'build', '--release', '-p', 'offhook-dsp', '--example', 'features'], cwd=root, check=True)
    target = os.environ.get('CARGO_TARGET_DIR', os.path.join(root, 'target'))
    names = sorted(name[:-4] for name in glob.glob(os.path.join(folder, '*.pcm')))
    for group in range(0, len(names), 50):
        group = names[group:group + 50]
        subprocess.run([os.path.join(target, 'release/examples/features'), *group], check=True)
        for name in group:
            shown = 3 * BANDS if os.path.basename(name).startswith('echo') else BANDS
            np.save(name + '.npy', np.fromfile(name + '.in', '<i2').reshape(-1, INPUTS)[:, :shown])
            for ending in ('.pcm', '.in', '.out', '.events'):
                os.remove(name + ending)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('folder')
    options.add_argument('--rows', type=int, default=700, help='rows of 40 s, of each kind')
    options.add_argument('--batches', type=int, default=1300, help='of 24 streams of 40 s')
    options.add_argument('--seed', type=int, default=1)
    options.add_argument('--work', default='/tmp/offhook-train')
    options.add_argument('--exclude', help='a list of files of FOLDER that are kept apart')
    options.add_argument('--out', default=os.path.join(HERE, 'network.bin'))
    options.add_argument('--begin', help='an .npz to go on from')
    options.add_argument('--rate', type=float, default=RATE)
    options.add_argument('--fit-only', action='store_true', help='the rows in --work are ready')
    options = options.parse_args()
    if not options.fit_only:
        scenes = [sys.executable, os.path.join(HERE, 'scenes.py'), options.folder, options.work, str(options.rows)]
        scenes += ['--seed', str(options.seed)] + (['--exclude', options.exclude] if options.exclude else [])
        subprocess.run(scenes, check=True)
        listen(options.work)
    begin = (lambda: unflat(np.load(options.begin))) if options.begin else None
    save = lambda network: np.savez(os.path.join(os.path.dirname(options.out), 'network.npz'), **flat(network))
    network = fit(options.work, options.batches, options.seed, begin, options.rate, save)
    data = export(network, options.out)
    golden(data, os.path.join(os.path.dirname(options.out), 'golden.bin'))


if __name__ == '__main__':
    main()
