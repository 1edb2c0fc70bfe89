"""Rows of sound the network learns from, and whether somebody speaks in them.

Kinds, of 40 s each: `talk` (callers on a line without noise), `hush` (noise, music,
tones; nobody speaks), `echo` (our prompt comes back, with or without a caller) and
one of `white` noise. `mix.py` makes streams of them. A row holds several scenes; the ear starts
afresh with each. Written as `NAME.pcm` (per 10 ms: 80 near and 80 far samples,
s16le) and `NAME.lab` (a byte per 10 ms: how likely it is speech, in 1/127; bit 7: a
scene begins).

    python3 scenes.py FOLDER OUT ROWS [--exclude LIST] [--seed N] [--jobs N]
"""
import argparse
import multiprocessing
import os

import numpy as np
from scipy import signal

from sound import (FRAME, RATE, Channel, Library, Voice, active, background, companded, convolved, gain, lossy,
                   music, perturbed, rms, room, tones)

ROW = 40 * RATE
SAID, BEGINS = 127, 128
# RMS of speech in a row of talk, of noise in a row of hush, dBov.
LOUDNESS, NOISE = -22.0, -26.0
# Whose utterances may last longer goes on speaking, s.
LONG = 12.0


def utterance(library, random, channel, most=8.0, word=0.35):
    """One utterance at RMS 1 of its active frames, and how likely each frame is speech.
    One of more than 12 s is drawn from the recordings of those who go on speaking."""
    if random.random() < word:
        voice = library.words[random.integers(0, len(library.words))] if random.random() < 0.5 else None
        if voice is None:
            voice = snippet(library.speech[random.integers(0, library.real)], random)
    elif most > LONG and library.long:
        voice = library.long[random.integers(0, len(library.long))]
    else:
        voice = library.speech[random.integers(0, len(library.speech) if random.random() < 0.15 else library.real)]
    x, said = perturbed(voice, random)
    longest = int(most * RATE / FRAME)
    if len(said) > longest:
        begin = int(random.integers(0, len(said) - longest))
        x, said = x[begin * FRAME:(begin + longest) * FRAME], said[begin:begin + longest]
    if random.random() < 0.25:
        x = convolved(x, room(random, random.uniform(0.1, 0.4)))
    x = channel(x)
    on = active(x)
    x = x[:len(on) * FRAME]
    if not on.any():
        return utterance(library, random, channel, most, word)
    mask = np.repeat(on, FRAME)
    if rms(x[mask]) < 1e-4:
        return utterance(library, random, channel, most, word)
    return x / rms(x[mask]), said[:len(on)]


def snippet(voice, random):
    """A word or two out of a recording: from one pause to another."""
    x, said = voice
    on = active(x)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], on, [False])).astype(np.int8)))
    spans = [(b, e) for b, e in zip(edges[::2], edges[1::2]) if 15 <= e - b <= 130]
    if not spans:
        return Voice(x[:150 * FRAME], said[:150])
    begin, end = spans[random.integers(0, len(spans))]
    begin, end = max(begin - 3, 0), min(end + 3, len(on))
    return Voice(x[begin * FRAME:end * FRAME], said[begin:end])


def talk(library, random, length, channel, level, gaps, most, word):
    """Utterances with pauses drawn from `gaps`, in one direction; and the label."""
    x = np.zeros(length, np.float32)
    on = np.zeros(length // FRAME, np.float32)
    at = int(random.uniform(*gaps) * random.random() * RATE) // FRAME
    while True:
        voice, frames = utterance(library, random, channel, most, word)
        if (at + len(frames)) * FRAME > length:
            keep = length // FRAME - at
            if keep < 30:
                return x, on
            voice, frames = voice[:keep * FRAME], frames[:keep]
        loud = gain(level + random.uniform(-3, 3))
        x[at * FRAME:at * FRAME + len(voice)] += voice * loud
        on[at:at + len(frames)] = np.maximum(on[at:at + len(frames)], frames)
        at += len(frames) + int(random.uniform(*gaps) * RATE / FRAME)
        if at * FRAME >= length:
            return x, on


def bed(library, random, length, channel, level):
    """The line behind the voice: silence, comfort noise, or a noise at some SNR."""
    kind = random.random()
    if kind < 0.08:
        return np.zeros(length, np.float32)
    idle = random.standard_normal(length).astype(np.float32) * gain(random.uniform(-75, -50))
    if kind < 0.30:
        return idle
    snr = random.uniform(-5, 12) if random.random() < 0.5 else random.uniform(5, 30)
    noise = channel(background(library, length, random))
    return idle + noise / rms(noise) * gain(level - snr)


def quiet_side(library, random, length):
    """Nobody speaks: noise, music, tones, far babble, idle line."""
    channel = Channel(random)
    kind = random.random()
    idle = random.standard_normal(length).astype(np.float32) * gain(random.uniform(-80, -50))
    if kind < 0.06:
        return idle
    if kind < 0.16:
        return idle + tones(length, random) * gain(random.uniform(-40, -12))
    if kind < 0.32:
        noise = music(length, random)
    elif kind < 0.42:
        noise = babble(library, length, random, int(random.integers(4, 12)))
    else:
        noise = background(library, length, random)
    noise = channel(noise)
    x = idle + noise / rms(noise) * gain(random.uniform(-55, -14))
    if random.random() < 0.2:  # sudden changes of the noise are no speech either
        for _ in range(random.integers(1, 5)):
            at = int(random.integers(0, length))
            x[at:] *= gain(random.uniform(-14, 14))
    return x


def echo_path(random):
    """Of the far samples what the line returns, by one of the three kinds."""
    kind = random.random()
    if kind < 0.34:
        delay, loss = random.uniform(0.002, 0.065), random.uniform(6, 24)
        response = random.standard_normal(int(random.uniform(2, 64)))
        response *= np.exp(-np.arange(len(response)) / random.uniform(2, 16))
        response[0] += 1
        drift = 0.0
    elif kind < 0.67:
        delay, loss, drift = random.uniform(0.03, 0.32), random.uniform(3, 18), 0.0
        response = room(random, random.uniform(0.12, 0.55), random.uniform(0.4, 1.2))
    else:
        delay, loss = random.uniform(0.15, 0.45), random.uniform(6, 20)
        response = random.standard_normal(int(random.uniform(2, 40)))
        response *= np.exp(-np.arange(len(response)) / random.uniform(1, 10))
        response[0] += 1
        drift = random.choice([-1, 1]) * random.uniform(10, 60) * 1e-6
    return kind, delay, loss, response / np.sqrt(np.sum(response ** 2)), drift


def echo_of(far, random):
    kind, delay, loss, response, drift = echo_path(random)
    if random.random() < 0.08:
        loss += 25
    channel = Channel(random)
    x = channel(convolved(far, response))
    if 0.34 <= kind < 0.67 and random.random() < 0.6:
        drive = random.uniform(1, 4)
        peak = max(np.max(np.abs(x)), 1e-3)
        x = np.tanh(drive * x / peak) * peak / drive
    if kind >= 0.67:
        x = companded(x, random)
    place = np.arange(len(x)) * (1 + drift) - delay * RATE
    x = np.interp(place, np.arange(len(x)), x, left=0, right=0)
    loudness = rms(x[x != 0]) if np.any(x) else 1.0
    spoken = rms(far[np.abs(far) > 1e-4]) if np.any(np.abs(far) > 1e-4) else 1.0
    return (x / max(loudness, 1e-6) * spoken * gain(-loss)).astype(np.float32)


def prompt(library, random, length):
    """Our side: prompts back to back, or with rests in between."""
    channel = Channel(random)
    level = random.uniform(-26, -14)
    gaps = (0.05, 0.5) if random.random() < 0.7 else (0.5, 6)
    x, _ = talk(library, random, length, channel, level, gaps, 12.0, 0.1)
    if random.random() < 0.15:
        x = x + music(length, random) * gain(level - random.uniform(0, 20))
    return x


def talk_row(library, random):
    """Callers with a line each, in sentences, turns or single words."""
    def scene(length):
        channel = Channel(random)
        kind = random.random()
        if kind < 0.3:
            style = (0.02, 0.7), 15.0, 0.05
        elif kind < 0.65:
            style = (0.05, 0.7), LONG, 0.15
        elif kind < 0.9:
            style = (0.5, 5), 6.0, 0.45
        else:
            style = (3, 12), 1.2, 1.0
        x, on = talk(library, random, length, channel, LOUDNESS, *style)
        if random.random() < 0.15:
            x = lossy(x, random, random.uniform(0.005, 0.06))
        return companded(x, random), None, on
    return row(random, [8, 12, 20], scene)


def hush_row(library, random):
    """Nobody speaks."""
    def scene(length):
        x = tones(length, random) if random.random() < 0.1 else background(library, length, random)
        x = Channel(random)(x)
        x = x / rms(x) * gain(NOISE)
        if random.random() < 0.1:
            x = lossy(x, random, random.uniform(0.005, 0.06))
        return companded(x, random), None, np.zeros(length // FRAME)
    return row(random, [10, 20, 40], scene)


def echo_row(library, random):
    """Our prompt comes back; in three of five scenes somebody talks over it. One line in
    five is digitally silent beside that, and on some of these it does not come back."""
    def scene(length):
        channel = Channel(random)
        level = random.uniform(-28, -16) if random.random() < 0.8 else random.uniform(-38, -12)
        far = prompt(library, random, length)
        near, on = np.zeros(length, np.float32), np.zeros(length // FRAME, np.float32)
        if random.random() < 0.6:
            gaps, most = ((2, 8), 4.0) if random.random() < 0.7 else ((5, 15), 3.0)
            near, on = talk(library, random, length, channel, level, gaps, most, 0.5)
        silent = random.random() < 0.2
        if not silent or random.random() < 0.75:
            near = near + echo_of(far, random)
        if not silent:
            near = near + random.standard_normal(length).astype(np.float32) * gain(random.uniform(-78, -52))
        if not silent and random.random() < 0.35:
            noise = channel(background(library, length, random))
            near = near + noise / rms(noise) * gain(level - random.uniform(3, 28))
        if random.random() < 0.12:
            near = lossy(near, random, random.uniform(0.005, 0.05))
        return companded(near, random), companded(far, random), on
    return row(random, [12, 16, 20, 40], scene)


def white_row(_library, random):
    """A line's own hiss."""
    x = random.standard_normal(ROW) * gain(NOISE)
    return x, np.zeros(ROW), np.zeros(ROW // FRAME, np.uint8)


def row(random, lengths, scene):
    """Scenes of some of these lengths, in seconds, to fill a row."""
    near, far, label, left = [], [], [], ROW
    while left > 0:
        length = min(left, int(random.choice(lengths)) * RATE)
        if left - length < 6 * RATE:
            length = left
        line, ours, on = scene(length)
        marks = np.round(on * SAID).astype(np.uint8)
        marks[0] |= BEGINS
        near.append(line), label.append(marks)
        far.append(np.zeros_like(line) if ours is None else ours)
        left -= length
    return np.concatenate(near), np.concatenate(far), np.concatenate(label)


KINDS = {'talk': talk_row, 'hush': hush_row, 'echo': echo_row, 'white': white_row}


def write(path, near, far, label):
    both = np.stack([near.reshape(-1, FRAME), far.reshape(-1, FRAME)], axis=1)
    np.clip(np.round(both * 32768), -32768, 32767).astype('<i2').tofile(path + '.pcm')
    label.tofile(path + '.lab')


LIBRARY = None


def make(job):
    path, kind, seed = job
    write(path, *KINDS[kind](LIBRARY, np.random.default_rng(seed)))


def main():
    global LIBRARY
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument('folder'), options.add_argument('out'), options.add_argument('rows', type=int)
    options.add_argument('--exclude'), options.add_argument('--seed', type=int, default=1)
    options.add_argument('--jobs', type=int, default=2)
    options = options.parse_args()
    excluded = set(open(options.exclude).read().split()) if options.exclude else set()
    LIBRARY = Library(options.folder, excluded)
    os.makedirs(options.out, exist_ok=True)
    jobs = [(os.path.join(options.out, f'{kind}_{n:05}'), kind, [options.seed, n, index])
            for index, kind in enumerate(KINDS) for n in range(1 if kind == 'white' else options.rows)]
    with multiprocessing.get_context('fork').Pool(options.jobs) as pool:
        for count, _ in enumerate(pool.imap_unordered(make, jobs, 4)):
            if count % 50 == 49:
                print(count + 1, 'rows', flush=True)


if __name__ == '__main__':
    main()
