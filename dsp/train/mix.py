"""Streams for the network, mixed anew for each step, from rows of band levels.

Sound mixes in the band domain nearly as it does on the line: powers add, and
beat. So every stream has its own voice, noise, levels, colour and throat, and no
two steps see the same. Everything is in the network's units: (dBov + 55) / 15.
Called by `train.py`.
"""
import glob
import os

import numpy as np

from scenes import BEGINS, KINDS, LOUDNESS, NOISE, SAID

BANDS = 24
ROW = 4000
SILENT = np.float32((-90 + 55) / 15)
POWER = np.float32(1.5 * np.log2(10))
PLACE = np.linspace(-1, 1, BANDS, dtype=np.float32)


def unit(decibels):
    return np.float32(decibels / 15)


class Rows:
    """The rows of a folder: levels as the ear sees them, and labels."""

    def __init__(self, folder):
        self.kinds = {kind: [] for kind in KINDS}
        for kind, rows in self.kinds.items():
            for name in sorted(glob.glob(os.path.join(folder, kind + '_*.npy'))):
                rows.append((np.load(name), np.fromfile(name[:-4] + '.lab', np.uint8)))
        # How levels beat where two sounds meet: broad bands hardly do.
        noise = np.random.default_rng(99).standard_normal((200_002, BANDS), dtype=np.float32)
        beats = (noise[:-2] + noise[1:-1] + noise[2:]) / 1.73 * np.linspace(0.45, 0.2, BANDS)
        self.beats = np.clip(beats, -0.9, 0.9).astype(np.float32)

    def part(self, kind, count, random):
        """So many frames from anywhere in a row, and their labels."""
        x, label = self.kinds[kind][random.integers(0, len(self.kinds[kind]))]
        place = (random.integers(0, ROW) + np.arange(count)) % ROW
        return levels(x[place]), label[place]

    def sum(self, one, other, random):
        if_silent = np.maximum(one, other)
        silent = np.minimum(one, other) <= SILENT + 0.01
        one, other = np.exp2(one * POWER), np.exp2(other * POWER)
        at = random.integers(0, len(self.beats) - len(one))
        beat = 2 * np.sqrt(one * other) * self.beats[at:at + len(one)]
        return np.where(silent, if_silent, np.log2(one + other + beat + 1e-30) / POWER)

    def crowd(self, count, random):
        """Babble of a few of the voices, none of them a caller."""
        x = self.part('talk', count, random)[0]
        for _ in range(random.integers(3, 8)):
            other = warped(self.part('talk', count, random)[0], random, 0.08)
            x = self.sum(x, other + colour(random, 3) + unit(random.uniform(-4, 4)), random)
        return levelled(x)

    def made_up(self, count, random):
        """Noise like none that was recorded: hiss of some colour whose bands swell
        and fade together, in two groups or on their own, at any pace."""
        x, _ = self.part('white', count, random)
        x = x + colour(random, 12) + unit(6) * random.standard_normal(BANDS).astype(np.float32) * random.random()
        group = 1 / (1 + np.exp(-(PLACE - random.uniform(-0.8, 0.8)) * random.uniform(2, 20)))
        for share in (1, group, 1 - group):
            x = x + swings(random, count, 1) * np.float32(share) * unit(random.uniform(0, 7))
        return levelled(x + swings(random, count, BANDS) * unit(random.uniform(0, 3)))

    def noise(self, count, random):
        """Noise of 0 dBov."""
        kind = random.random()
        if kind < 0.10:
            x = self.crowd(count, random)
        elif kind < 0.28:
            x = self.made_up(count, random)
        else:
            x, _ = self.part('hush', count, random)
        if random.random() < 0.15:
            x = x[::-1]
        if random.random() < 0.7:
            x = warped(x, random, 0.15)
        if random.random() < 0.5:
            x = x + colour(random, 5)
        if random.random() < 0.35:
            y, _ = self.part('hush', count, random)
            x = self.sum(x, warped(y, random, 0.15) + unit(random.uniform(-12, 3)), random)
        if random.random() < 0.12:  # sudden changes of the noise are no speech either
            for _ in range(random.integers(1, 5)):
                x[random.integers(0, count):] += unit(random.uniform(-10, 10))
        return x - unit(NOISE)

    def voice(self, count, random, dense=False):
        """Speech of 0 dBov, of another throat and telephone; and its label. `dense`:
        of five parts the one whose share of speech is closest to a speaker's who goes on."""
        pace = random.uniform(0.75, 1.35) if random.random() < 0.7 else 1
        parts = [self.part('talk', int(count * pace) + 1, random) for _ in range(5 if dense else 1)]
        x, label = min(parts, key=lambda part: abs(np.mean(part[1] & SAID) / SAID - 0.75))
        place = (np.arange(count) * pace).astype(int)
        x, label = x[place], label[place] & SAID
        x = spread(warped(x, random, 0.16), label, random.uniform(0.85, 1.2))
        return moved(x, colour(random, 7) - unit(LOUDNESS)), label

    def scene(self, count, random, mix):
        """A line without a prompt of ours: levels and label."""
        level = random.uniform(-28, -15) if random.random() < 0.7 else random.uniform(-40, -10)
        dense = count <= 1200 and random.random() < mix['dense']
        if not dense and random.random() < mix['hush']:
            x, label = np.full((count, BANDS), SILENT), np.zeros(count, np.uint8)
            if random.random() < 0.93:
                x = self.noise(count, random) + unit(random.uniform(-55, -11))
        else:
            x, label = self.voice(count, random, dense)
            x = moved(x, unit(level))
            if random.random() < 0.85:
                kind = random.random()
                if kind < mix['middle']:
                    ratio = random.uniform(0, 14)
                elif kind < mix['middle'] + mix['low']:
                    ratio = random.uniform(-6, 4)
                else:
                    ratio = random.uniform(10, 32)
                x = self.sum(x, self.noise(count, random) + unit(level - ratio), random)
        if random.random() < 0.75:
            idle, _ = self.part('white', count, random)
            idle = idle + colour(random, 3) + unit(random.uniform(-80, -50) - NOISE)
            x = self.sum(x, idle, random)
        return moved(x, colour(random, 3)), label

    def over_prompt(self, random):
        """A line with our prompt on it: levels of the line, without echo, of the prompt; label."""
        x, label = self.kinds['echo'][random.integers(0, len(self.kinds['echo']))]
        label = label.copy()
        near, rest, far = np.split(levels(x), 3, 1)
        line = colour(random, 4) + unit(random.uniform(-6, 6))
        near, rest = moved(near, line), moved(rest, line)
        far = moved(far, unit(random.uniform(-6, 6)))
        if random.random() < 0.5:
            noise = self.noise(ROW, random) + unit(random.uniform(-75, -38))
            near, rest = self.sum(near, noise, random), self.sum(rest, noise, random)
        begins = np.flatnonzero(label >= BEGINS)
        for begin, end in zip(begins, np.append(begins[1:], ROW)):
            if not np.any(label[begin:end] & SAID) and random.random() < 0.5:
                x, on = self.voice(end - begin, random)
                x = moved(x, unit(random.uniform(-30, -14)))
                for row in (near, rest):
                    row[begin:end] = self.sum(row[begin:end], x, random)
                label[begin:end] |= on
        return near, rest, far, label

    def stream(self, random, mix):
        """40 s of some line: [frame, 3 * BANDS] and labels."""
        if random.random() < mix['echo']:
            *shown, label = self.over_prompt(random)
            return np.concatenate(shown, 1), label
        label, parts, at = np.zeros(ROW, np.uint8), [], 0
        while at < ROW:
            count = min(ROW - at, int(random.choice([300, 500, 600, 800, 800, 1000, 1200, 2000, 4000])))
            if ROW - at - count < 200:
                count = ROW - at
            x, label[at:at + count] = self.scene(count, random, mix)
            if at == 0 or random.random() < 0.7:
                label[at] |= BEGINS
            parts.append(x)
            at += count
        x = np.concatenate(parts)
        return np.concatenate([x, x, np.full_like(x, SILENT)], 1), label

    def batch(self, random, streams, mix):
        x = np.empty((ROW, streams, 3 * BANDS), np.float32)
        label = np.empty((ROW, streams), np.uint8)
        for index in range(streams):
            x[:, index], label[:, index] = self.stream(random, mix)
        return np.clip(x, SILENT, 7.9, out=x), label


def levels(x):
    return x.astype(np.float32) / 4096


def moved(x, by):
    """Louder by so much; what is digitally silent stays so."""
    return np.where(x > SILENT + 0.01, x + by, SILENT).astype(np.float32)


def spread(x, label, by):
    """A voice with loud and soft so much farther apart."""
    said = label > SAID / 2
    if not said.any():
        return x
    middle = x[said].mean(0)
    return np.where(x > SILENT + 0.01, middle + (x - middle) * np.float32(by), SILENT)


def levelled(x):
    """At the level of a row of noise."""
    power = np.mean(np.sum(np.exp2(x * POWER), 1))
    return x + unit(NOISE + 55) - np.float32(np.log2(power) / POWER)


def swings(random, count, columns):
    """Curves of unit variance that wander at a pace of 20 ms to 1 s, now and then beating."""
    pace = np.exp(random.uniform(np.log(2), np.log(100)))
    window = np.hanning(max(int(4 * pace), 3))
    x = random.standard_normal((count + len(window) - 1, columns))
    if random.random() < 0.3:
        x = np.maximum(x, random.uniform(-1, 2))  # bursts
    x = np.stack([np.convolve(column, window, 'valid') for column in x.T], 1)
    if random.random() < 0.25:
        x = x + x.std() * 2 * np.sign(np.sin(np.arange(count) * 2 * np.pi / random.uniform(20, 150)))[:, None]
    return ((x - x.mean()) / (x.std() + 1e-6)).astype(np.float32)


def colour(random, most):
    """A smooth curve over the bands, within some dB."""
    tilt, bow, wave = random.uniform(-most, most, 3)
    curve = tilt * PLACE + bow * (PLACE ** 2 - 0.3) + wave * np.sin(3 * PLACE + random.uniform(0, 6))
    return (curve / 15).astype(np.float32)


def warped(x, random, most):
    """The bands moved, as a longer or shorter throat moves them."""
    place = np.arange(BANDS) * random.uniform(1 - most, 1 + most) + random.uniform(-0.5, 0.5)
    place = np.clip(place, 0, BANDS - 1)
    low = np.minimum(place.astype(int), BANDS - 2)
    share = (place - low).astype(np.float32)
    return x[:, low] * (1 - share) + x[:, low + 1] * share
