"""Trains the network that hears speech, and writes it as the constants of the ear.

    pip install -r requirements.txt
    python3 train.py FOLDER [--rows 1600] [--epochs 12] [--work DIR] [--exclude LIST]

FOLDER holds recordings at 8 kHz with a `manifest.csv` (columns `file`, `kind`:
speech or noise). Three steps: `scenes.py` mixes streams from them, the ear itself
(`cargo run --example features`) turns these into the network's input, and this
program fits the network and writes `network.bin` beside it. Every random number
has a fixed seed. Which sources went into the weights that ship: `CARD.md`.
"""
import argparse
import glob
import os
import struct
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

HERE = os.path.dirname(os.path.abspath(__file__))
INPUTS, DENSE, FIRST, SECOND = 152, 48, 64, 48
BANDS = 24
INPUT_ONE = 4096.0
ROW = 4000
WINDOW = 250
BATCH = 48
SPEECH, UNJUDGED, BEGINS = 1, 2, 128


# --- the network; `network.rs` does the same in whole numbers ---------------


def tanh(x):
    x = jnp.clip(x, -3, 3)
    return x * (27 + x * x) / (27 + 9 * x * x)


def sigmoid(x):
    return 0.5 + 0.5 * tanh(0.5 * x)


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


def gated(unit, inputs, state, begins):
    """Runs a GRU over [time, batch, values]; `begins` clears the state."""
    units = unit['wh'].shape[1]
    new = inputs @ unit['wx'].T + unit['bx']

    @jax.checkpoint
    def step(state, now):
        new, begins = now
        state = state * (1 - begins)[:, None]
        old = state @ unit['wh'].T + unit['bh']
        reset = sigmoid(new[:, :units] + old[:, :units])
        update = sigmoid(new[:, units:2 * units] + old[:, units:2 * units])
        candidate = tanh(new[:, 2 * units:] + reset * old[:, 2 * units:])
        state = candidate + update * (state - candidate)
        return state, state

    return jax.lax.scan(step, state, (new, begins), unroll=10)


def forward(network, inputs, states, begins, kept=1.0):
    """Log-odds of speech for [time, batch, INPUTS], and the states after it.
    `kept`: factors on the dense layer's output, to drop some of it in training."""
    dense = tanh(inputs @ network['entry']['w'].T + network['entry']['b']) * kept
    lower, seen = gated(network['lower'], dense, states[0], begins)
    upper, seen = gated(network['upper'], seen, states[1], begins)
    return (seen @ network['exit']['w'].T + network['exit']['b'])[..., 0], (lower, upper)


def rest(batch):
    return jnp.zeros((batch, FIRST)), jnp.zeros((batch, SECOND))


# --- fitting ----------------------------------------------------------------


def varied(inputs, random):
    """Each stream louder or softer by up to 8 dB and of another colour."""
    batch = inputs.shape[1]
    shape = random.uniform(-0.25, 0.25, (batch, 3))
    place = np.linspace(-1, 1, BANDS)
    curve = random.uniform(-0.5, 0.5, (batch, 1)) + shape[:, :1] * place + shape[:, 1:2] * (place ** 2 - 0.3)
    curve += 0.5 * shape[:, 2:] * np.sin(3 * place)
    far = random.uniform(-0.4, 0.4, (batch, 1)) * np.ones(BANDS)
    idle = inputs[..., 3 * BANDS:4 * BANDS] < -2.3
    inputs = inputs + random.normal(0, 0.06, (1, batch, inputs.shape[2])).astype(np.float32)
    for row in (0, 1):
        inputs[..., row * BANDS:(row + 1) * BANDS] += curve
    inputs[..., 2 * BANDS:3 * BANDS] += np.where(inputs[..., 2 * BANDS:3 * BANDS] < -2.3, 0, curve)
    inputs[..., 3 * BANDS:4 * BANDS] += np.where(idle, 0, far)
    return inputs


def dropped(random):
    """A tenth of the dense layer is left out, another in each stream."""
    return ((random.random((BATCH, DENSE)) > 0.1) / 0.9).astype(np.float32)


class Streams:
    def __init__(self, folder):
        names = sorted(name[:-3] for name in glob.glob(os.path.join(folder, '*.in')))
        self.inputs = [np.memmap(name + '.in', '<i2', 'r').reshape(-1, INPUTS) for name in names]
        self.labels = [np.fromfile(name + '.lab', np.uint8) for name in names]

    def batches(self, random):
        order = random.permutation(len(self.inputs))
        for group in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[group:group + BATCH]
            for at in range(0, ROW, WINDOW):
                inputs = np.stack([self.inputs[row][at:at + WINDOW] for row in rows], 1)
                labels = np.stack([self.labels[row][at:at + WINDOW] for row in rows], 1)
                yield at == 0, inputs.astype(np.float32) / INPUT_ONE, labels


def fit(streams, epochs, seed, begin=None, rate=2.5e-3):
    network = begin or start(seed)
    steps = epochs * (len(streams.inputs) // BATCH) * (ROW // WINDOW)
    schedule = optax.warmup_cosine_decay_schedule(1e-4, rate, min(200, steps // 5), steps, rate / 50)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-4))
    memory = optimiser.init(network)

    def loss_of(network, inputs, states, labels, kept):
        begins = (labels >= BEGINS).astype(jnp.float32)
        odds, states = forward(network, inputs, states, begins, kept)
        truth = (labels & SPEECH).astype(jnp.float32)
        judged = 1.0 - ((labels & UNJUDGED) / UNJUDGED).astype(jnp.float32)
        over_prompt = inputs[..., INPUTS - 2] > 0.5  # a caller who is missed there is talked over
        judged = judged * jnp.where(over_prompt & (truth > 0), 1.8, 1.0)
        loss = optax.sigmoid_binary_cross_entropy(odds, truth) * judged
        return jnp.sum(loss) / (jnp.sum(judged) + 1), states

    @jax.jit
    def step(network, memory, inputs, states, labels, kept):
        value = jax.value_and_grad(loss_of, has_aux=True)
        (loss, states), slope = value(network, inputs, states, labels, kept)
        change, memory = optimiser.update(slope, memory, network)
        return optax.apply_updates(network, change), memory, states, loss

    random = np.random.default_rng(seed)
    for epoch in range(epochs):
        begun, losses, states = time.time(), [], rest(BATCH)
        for fresh, inputs, labels in streams.batches(random):
            if fresh:
                states = rest(BATCH)
            inputs, kept = varied(inputs, random), dropped(random)
            network, memory, states, loss = step(network, memory, inputs, states, labels, kept)
            losses.append(float(loss))
        print(f'epoch {epoch + 1}: loss {np.mean(losses):.4f}, {time.time() - begun:.0f} s', flush=True)
        export(network, os.path.join(streams_folder(streams), 'network.bin'))
        np.savez(os.path.join(streams_folder(streams), 'network.npz'), **flat(network))
    return network


def streams_folder(streams):
    return os.path.dirname(streams.inputs[0].filename)


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
                      jnp.zeros((frames, 1)))
    probability = np.asarray(jax.nn.sigmoid(odds[:, 0])).astype('<f4')
    with open(path, 'wb') as file:
        for frame in range(frames):
            file.write(whole[frame].tobytes() + probability[frame].tobytes())


def listen(folder):
    """The ear's own front end makes the network's input of the streams."""
    root = os.path.dirname(os.path.dirname(HERE))
    subprocess.run(['cargo', 'build', '--release', '-p', 'offhook-dsp', '--example', 'features'], cwd=root, check=True)
    target = os.environ.get('CARGO_TARGET_DIR', os.path.join(root, 'target'))
    names = sorted(name[:-4] for name in glob.glob(os.path.join(folder, '*.pcm')))
    for group in range(0, len(names), 50):
        subprocess.run([os.path.join(target, 'release/examples/features'), *names[group:group + 50]], check=True)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('folder')
    options.add_argument('--rows', type=int, default=1600, help='streams of 40 s')
    options.add_argument('--epochs', type=int, default=12)
    options.add_argument('--seed', type=int, default=1)
    options.add_argument('--work', default='/tmp/offhook-train')
    options.add_argument('--exclude', help='a list of files of FOLDER that are kept apart')
    options.add_argument('--out', default=os.path.join(HERE, 'network.bin'))
    options.add_argument('--begin', help='an .npz to go on from')
    options.add_argument('--rate', type=float, default=2.5e-3)
    options.add_argument('--fit-only', action='store_true', help='the streams in --work are ready')
    options = options.parse_args()
    if not options.fit_only:
        scenes = [sys.executable, os.path.join(HERE, 'scenes.py'), options.folder, options.work, str(options.rows)]
        scenes += ['--seed', str(options.seed)] + (['--exclude', options.exclude] if options.exclude else [])
        subprocess.run(scenes, check=True)
        listen(options.work)
    begin = unflat(np.load(options.begin)) if options.begin else None
    network = fit(Streams(options.work), options.epochs, options.seed, begin, options.rate)
    data = export(network, options.out)
    golden(data, os.path.join(os.path.dirname(options.out), 'golden.bin'))


if __name__ == '__main__':
    main()
