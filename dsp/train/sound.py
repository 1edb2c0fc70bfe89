"""Sounds the training streams are made of: recordings, synthetic voices, tones,
music, babble, noise; and what a telephone line does to them.

Everything is float32 at 8 kHz, full scale 1.0. Called by `scenes.py`.
"""
import csv
import hashlib
import os
import shutil
import subprocess
import tempfile
import typing

import numpy as np
import soundfile
from scipy import signal

import teacher

RATE = 8000
FRAME = 80
# What loudness adds to the teacher's log-odds.
LOUD, SOFT = 0.5, -1.0
GOES_ON = 0.65  # recordings with a larger share of speech are of people who go on speaking


def db(power):
    return 10 * np.log10(np.maximum(power, 1e-12))


def gain(decibels):
    return np.float32(10 ** (decibels / 20))


def rms(x):
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64)) + 1e-12))


# --- recordings -------------------------------------------------------------


class Voice(typing.NamedTuple):
    """A clean recording, and per 10 ms how likely somebody speaks in it."""
    x: np.ndarray
    said: np.ndarray


class Library:
    """Recordings of a folder with its `manifest.csv` (file, kind, source), without those excluded.
    Noises stand by their collection, so that a large one does not outweigh the others."""

    def __init__(self, folder, excluded=frozenset()):
        rows = list(csv.DictReader(open(os.path.join(folder, 'manifest.csv'))))
        self.rows = [row for row in rows if row['file'] not in excluded]
        recorded, made, words, self.noise = [], [], [], {}
        for row in self.rows:
            samples, rate = soundfile.read(os.path.join(folder, row['file']), dtype='float32')
            assert rate == RATE, row['file']
            if row['kind'] != 'noise':
                recorded.append(samples)
            else:
                self.noise.setdefault(row['source'].split(':')[0], []).append(samples)
        self.noise = list(self.noise.values())
        for samples in voices():
            (words if len(samples) < 1.2 * RATE else made).append(samples)
        heard = taught(recorded, by_loudness=False)
        self.real = len(heard)
        self.speech, self.words = heard + taught(made), taught(words)
        self.long = [voice for voice in self.speech[:self.real] if np.mean(voice.said) > GOES_ON]


PHRASES = """hello|hello?|yes|yeah|no|nope|okay|sure|hi|hey|stop|wait|what|who is this|speaking|hang on
one|two|three|four|five|six|seven|eight|nine|zero|right|please|thanks|goodbye|operator|help|cancel|pardon
no thank you|yes please|I am not interested|can you repeat that|call me back tomorrow|who are you looking for
could you send me an email|sorry, wrong number|I will think about it|that would be great|how much does it cost
tomorrow at three in the afternoon|my name is Peter Johnson|let me check my calendar for a moment
wait, that is not what I said|I would like to speak to a person|the number is four seven one double nine
hold on a second|what is this about|Monday morning would be fine|could you speak up a little|no wait""".replace('\n', '|').split('|')


def voices():
    """Phrases by espeak-ng and flite, as far as these are installed (both are in Debian)."""
    cache = os.path.join(tempfile.gettempdir(), 'offhook-voices')
    os.makedirs(cache, exist_ok=True)
    jobs = []
    random = np.random.default_rng(5)
    if shutil.which('espeak-ng'):
        accents = ['en-us', 'en-gb', 'en-gb-scotland', 'en-029', 'de', 'fr', 'es', 'it', 'nl', 'pl']
        kinds = ['', '+m1', '+m3', '+m5', '+m7', '+f1', '+f2', '+f4', '+f5', '+klatt', '+klatt3']
        for phrase in PHRASES:
            for _ in range(5):
                voice = str(random.choice(accents)) + str(random.choice(kinds))
                pace, pitch = str(random.integers(130, 210)), str(random.integers(20, 80))
                jobs.append(['espeak-ng', '-v', voice, '-s', pace, '-p', pitch, '-w', None, phrase])
    if shutil.which('flite'):
        for phrase in PHRASES:
            for voice in ['slt', 'rms', 'awb', 'kal16']:
                jobs.append(['flite', '-voice', voice, '-t', phrase, '-o', None])
    found = []
    for job in jobs:
        name = hashlib.sha256(repr(job).encode()).hexdigest()[:16] + '.wav'
        path = os.path.join(cache, name)
        if not os.path.exists(path):
            subprocess.run([path if part is None else part for part in job], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        samples, rate = soundfile.read(path, dtype='float32')
        step = np.gcd(rate, RATE)
        samples = signal.resample_poly(samples, RATE // step, rate // step).astype(np.float32)
        found.append(samples)
    return found


# --- labels -----------------------------------------------------------------


def taught(recordings, by_loudness=True):
    """With the teacher's labels, a little surer where it is loud: people mark words so.
    Where the teacher hears nobody, as in some synthetic voices, by loudness or left out."""
    found = []
    for x, said in zip(recordings, teacher.listen(recordings)):
        on = active(x)
        deaf = on.any() and np.mean(said[on]) < 0.4
        if deaf and not by_loudness:
            continue
        said = np.clip(said, 1e-4, 1 - 1e-4)
        odds = np.log(said / (1 - said)) + np.where(on, LOUD, SOFT)
        found.append(Voice(x, on.astype(np.float32) if deaf else (1 / (1 + np.exp(-odds))).astype(np.float32)))
    return found


def active(speech):
    """Which 10 ms frames of a clean recording are speech: energy, with gaps under 120 ms filled."""
    count = len(speech) // FRAME
    level = db(np.mean(np.square(speech[:count * FRAME].reshape(count, FRAME)), axis=1) + 1e-10)
    smooth = np.convolve(level, [0.25, 0.5, 0.25], mode='same')
    loud, quiet = np.percentile(smooth, 95), np.percentile(smooth, 5)
    on = smooth > max(loud - 32, min(quiet + 9, loud - 12))
    on = fill(on, 12)
    return ~fill(~on, 4)


def fill(on, shortest):
    """Fills gaps shorter than so many frames."""
    on = on.copy()
    edges = np.flatnonzero(np.diff(np.concatenate(([True], on, [True])).astype(np.int8)))
    for begin, end in zip(edges[::2], edges[1::2]):
        if end - begin < shortest and begin > 0 and end < len(on):
            on[begin:end] = True
    return on


# --- the line ---------------------------------------------------------------


def companded(x, random):
    """One G.711 round trip, mu-law or A-law (continuous form of the curves)."""
    x = np.clip(x, -1, 1)
    if random.random() < 0.75:
        law = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
        law = np.round(law * 127) / 127
        return (np.sign(law) * np.expm1(np.abs(law) * np.log(256)) / 255).astype(np.float32)
    big = 1 + np.log(87.6)
    size = np.abs(x)
    law = np.where(size < 1 / 87.6, 87.6 * size / big, (1 + np.log(np.maximum(87.6 * size, 1))) / big)
    law = (np.floor(law * 127.999) + 0.5) / 128
    size = np.where(law < 1 / big, law * big / 87.6, np.exp(law * big - 1) / 87.6)
    return (np.sign(x) * size).astype(np.float32)


class Channel:
    """The band of one telephone and its tilt."""

    def __init__(self, random):
        low, high = random.uniform(120, 350), random.uniform(3100, 3850)
        order = int(random.integers(2, 5))
        self.band = signal.butter(order, [low, high], 'bandpass', fs=RATE, output='sos')
        self.tilt = random.uniform(-0.4, 0.4)

    def __call__(self, x):
        x = signal.sosfilt(self.band, x)
        return signal.lfilter([1, self.tilt], [1], x).astype(np.float32)


def lossy(x, random, rate):
    """Packets of 20 ms are lost and concealed as cheap endpoints do: repeated softer, or silence."""
    x = x.copy()
    repeated = random.random() < 0.8
    lost = 0
    for begin in range(160, len(x) - 160, 160):
        if random.random() < (rate if lost == 0 else 0.3):
            lost += 1
            x[begin:begin + 160] = x[begin - 160:begin] * (0.7 if repeated and lost < 4 else 0.0)
        else:
            lost = 0
    return x


def room(random, rt60, direct=1.0):
    """A room response: a direct path, and decaying noise behind it."""
    length = int(rt60 * RATE * 0.8) + 20
    time = np.arange(length) / RATE
    tail = random.standard_normal(length) * 10 ** (-3 * time / rt60)
    tail = signal.lfilter([1, random.uniform(-0.2, 0.5)], [1], tail)
    tail[:int(random.uniform(0.001, 0.006) * RATE)] = 0
    tail *= random.uniform(0.15, 0.8) / max(np.sqrt(np.sum(tail ** 2)), 1e-6)
    tail[0] = direct
    return (tail / np.sqrt(np.sum(tail ** 2))).astype(np.float32)


def convolved(x, response):
    return signal.fftconvolve(x, response)[:len(x)].astype(np.float32)


def perturbed(voice, random):
    """The same words by another throat: played 15 % slower to 20 % faster."""
    speed = random.choice([85, 90, 95, 100, 100, 105, 110, 115, 120])
    if speed == 100:
        return voice
    x = signal.resample_poly(voice.x, 100, int(speed)).astype(np.float32)
    place = (np.arange(len(x) // FRAME) + 0.5) * speed / 100 - 0.5
    return Voice(x, np.interp(place, np.arange(len(voice.said)), voice.said).astype(np.float32))


# --- what is not speech -----------------------------------------------------


def looped(x, length, random):
    begin = int(random.integers(0, len(x)))
    return np.resize(np.roll(x, -begin), length).astype(np.float32)


def coloured(length, random):
    """Steady noise of some colour, sometimes gusty, sometimes with hum."""
    x = random.standard_normal(length)
    kind = random.integers(0, 4)
    if kind == 0:
        x = signal.lfilter([1], [1, -random.uniform(0.7, 0.98)], x)
    elif kind == 1:
        x = signal.lfilter([1, 0.5], [1], x)
    elif kind == 2:
        centre = random.uniform(200, 2500)
        sos = signal.butter(1, [centre * 0.6, min(centre * 1.7, 3900)], 'bandpass', fs=RATE, output='sos')
        x = signal.sosfilt(sos, x)
    x = x / rms(x)
    if random.random() < 0.3:
        time = np.arange(length) / RATE
        hum = sum(np.sin(2 * np.pi * random.choice([50, 60]) * n * time + n) / n for n in (1, 2, 3, 5, 7))
        x = x + hum * random.uniform(0.2, 3)
    if random.random() < 0.35:
        slow = np.interp(np.arange(length), np.linspace(0, length, 2 + length // 4000),
                         random.uniform(-12, 6, 2 + length // 4000))
        x = x * 10 ** (slow / 20)
    return (x / rms(x)).astype(np.float32)


def babble(library, length, random, talkers):
    """So many voices at once, some farther away than others."""
    x = np.zeros(length, np.float32)
    for _ in range(talkers):
        voices = [perturbed(library.speech[random.integers(0, library.real)], random).x for _ in range(3)]
        voice = looped(np.concatenate(voices), length, random)
        x += voice / rms(voice) * gain(random.uniform(-4, 2))
    if random.random() < 0.6:
        x = convolved(x, room(random, random.uniform(0.3, 0.9), random.uniform(0.3, 1)))
    return x / rms(x)


CADENCES = [  # Hz, then on and off in seconds (ITU-T E.180 supplement 2, Bellcore GR-506)
    ([350, 440], [9, 0]), ([425], [9, 0]), ([440, 480], [2, 4]), ([425], [1, 4]),
    ([400, 450], [0.4, 0.2, 0.4, 2]), ([480, 620], [0.5, 0.5]), ([425], [0.5, 0.5]),
    ([480, 620], [0.25, 0.25]), ([400], [0.375, 0.375]), ([1100], [0.5, 3]), ([2100], [3.3, 1]),
    ([400, 25], [1, 2]), ([440], [0.3, 9.7]), ([913.8], [0.33, 0]), ([1400], [0.5, 15]),
]
KEYS = [(low, high) for low in (697, 770, 852, 941) for high in (1209, 1336, 1477, 1633)]


def tones(length, random):
    """Signalling tones, keys, beeps, sweeps, a modem."""
    x = np.zeros(length, np.float32)
    at = int(random.uniform(0, 2) * RATE)
    kind = random.integers(0, 4)
    hertz, rhythm = CADENCES[random.integers(0, len(CADENCES))]
    swing, depth = random.uniform(12, 28) if random.random() < 0.2 else 0, random.uniform(0.3, 1)
    while at < length:
        if kind == 0:
            hertz, on, off = KEYS[random.integers(0, 16)], random.uniform(0.05, 0.3), random.uniform(0.05, 0.8)
        elif kind == 1:
            count = random.integers(1, 3)
            hertz = list(random.uniform(300, 2400, count))
            on, off = random.uniform(0.05, 1.2), random.uniform(0.05, 3)
        else:
            on, off = rhythm[0], rhythm[1]
            rhythm = rhythm[2:] + rhythm[:2]
        count = min(int(on * RATE), length - at)
        time = np.arange(count) / RATE
        tone = sum(np.sin(2 * np.pi * f * time + random.uniform(0, 6)) * gain(random.uniform(-3, 0)) for f in hertz)
        if kind == 3 and random.random() < 0.3:
            bits = np.repeat(random.choice([980, 1180, 1650, 1850], 1 + count // 27), 27)[:count]
            tone = np.sin(2 * np.pi * np.cumsum(bits) / RATE)
        ramp = np.minimum(1, np.minimum(np.arange(count), np.arange(count)[::-1]) / 20)
        if swing:  # as ringing does in Japan and Australia
            tone = tone * (1 + depth * np.sin(2 * np.pi * swing * time))
        x[at:at + count] = tone * ramp
        at += count + int(off * RATE) + 1
    return x / max(rms(x[x != 0]) if np.any(x) else 1, 1e-3)


def music(length, random):
    """Chords, bass, a melody (now and then sung), drums: hold music of no talent."""
    x = np.zeros(length + 4 * RATE, np.float32)
    beat = 60 / random.uniform(65, 150)
    root = random.uniform(110, 330)
    scale = [0, 2, 4, 5, 7, 9, 11] if random.random() < 0.6 else [0, 2, 3, 5, 7, 8, 10]
    partials = 1 / np.arange(1, 9) ** random.uniform(0.6, 2.5) * (random.random(8) > 0.25)
    partials[0] = 1
    decay = random.uniform(0.15, 3)
    sung, drums, chords = random.random() < 0.3, random.random() < 0.6, random.random() < 0.8
    at = 0.0
    step = 0
    while at * RATE < length:
        span = beat * random.choice([0.5, 1, 1, 2])
        if chords and step % 4 == 0:
            base = scale[random.integers(0, 7)]
            for third in (0, 2, 4):
                note(x, at, beat * 4, root * 2 ** ((base + scale[third] - 12) / 12), partials, decay * 2, 0.35)
        if random.random() < 0.85:
            pitch = root * 2 ** ((scale[random.integers(0, 7)] + 12 * random.integers(0, 2)) / 12)
            note(x, at, span, pitch, partials, 9 if sung else decay, 0.7, vibrato=0.012 if sung else 0)
        if drums:
            hit(x, at, random, 0.8)
        at += span
        step += 1
    x = x[:length]
    if sung:
        for formant in random.choice([[700, 1200], [350, 2000], [450, 900]], 1)[0]:
            b, a = signal.iirpeak(formant, 5, fs=RATE)
            x = x + 2 * signal.lfilter(b, a, x)
    return (x / rms(x)).astype(np.float32)


def note(x, at, span, pitch, partials, decay, loudness, vibrato=0.0):
    begin, count = int(at * RATE), int(span * 1.2 * RATE)
    time = np.arange(count) / RATE
    phase = 2 * np.pi * pitch * (time + vibrato * np.sin(2 * np.pi * 5.5 * time) / 5.5)
    wave = np.zeros(count)
    for index, part in enumerate(partials):
        if part > 0 and pitch * (index + 1) < 3900:
            wave += part * np.sin((index + 1) * phase)
    wave *= np.exp(-time / decay) * np.minimum(1, time / 0.01) * np.minimum(1, time[::-1] / 0.03)
    end = min(begin + count, len(x))
    x[begin:end] += (loudness * wave[:end - begin]).astype(np.float32)


def hit(x, at, random, loudness):
    begin, count = int(at * RATE), int(0.15 * RATE)
    time = np.arange(count) / RATE
    if random.random() < 0.5:
        wave = random.standard_normal(count) * np.exp(-time / random.uniform(0.01, 0.06))
    else:
        wave = 2 * np.sin(2 * np.pi * 80 * time * np.exp(-3 * time)) * np.exp(-time / 0.06)
    end = min(begin + count, len(x))
    x[begin:end] += (loudness * wave[:end - begin]).astype(np.float32)


def clatter(length, random):
    """Clicks, knocks and scrapes at random times."""
    x = np.zeros(length, np.float32)
    pace = random.uniform(0.05, 1.5)
    at = 0.0
    while True:
        at += random.exponential(pace) + 0.02
        begin = int(at * RATE)
        if begin >= length - 10:
            return x / max(rms(x), 1e-3)
        count = min(int(random.uniform(0.003, 0.25) * RATE), length - begin)
        wave = random.standard_normal(count) * np.exp(-np.arange(count) / (count / random.uniform(2, 8)))
        if random.random() < 0.6:
            b, a = signal.iirpeak(random.uniform(200, 3500), random.uniform(1, 20), fs=RATE)
            wave = signal.lfilter(b, a, wave)
        x[begin:begin + count] += (wave / max(rms(wave), 1e-6) * gain(random.uniform(-20, 0))).astype(np.float32)


def recoloured(x, random):
    """Another room, another microphone: up to three resonances or notches, perhaps backwards."""
    if random.random() < 0.3:
        x = x[::-1]
    for _ in range(random.integers(0, 4)):
        centre = random.uniform(120, 3600)
        width = max(random.uniform(0.4, 3), centre / 1500)
        b, a = signal.iirpeak(centre, width, fs=RATE)
        x = x + (10 ** (random.uniform(-12, 12) / 20) - 1) * signal.lfilter(b, a, x)
    return x.astype(np.float32)


def respeeded(x, random):
    speed = int(random.integers(65, 150))
    return signal.resample_poly(x, 100, speed).astype(np.float32)


def slowly(length, random, pace, low, high):
    """A line through random values between two limits, `pace` of them a second."""
    points = 2 + int(length / RATE * pace)
    return np.interp(np.arange(length), np.linspace(0, length, points), random.uniform(low, high, points))


def engine(length, random):
    """A motor: harmonics of a pitch that wanders, and its noise."""
    wander = slowly(length, random, random.uniform(0.1, 3), -1, 1) * random.uniform(0.02, 0.5)
    hertz = np.exp(wander) * random.uniform(25, 400)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    tilt, odd = random.uniform(0.3, 1.5), random.random() < 0.3
    x = np.zeros(length)
    for number in range(1, 25, 2 if odd else 1):
        if np.max(hertz) * number < 3900:
            x += np.sin(number * phase + random.uniform(0, 6)) * number ** -tilt * random.uniform(0.2, 1)
    x = x / rms(x) + coloured(length, random) * gain(random.uniform(-20, 5))
    return x * 10 ** (slowly(length, random, random.uniform(0.3, 6), -random.uniform(0, 18), 0) / 20)


def rhythm(length, random, rate=None):
    """Noise that comes and goes in time, `rate` times a second: wipers, wheels on rails, a saw."""
    x = coloured(length, random)
    if random.random() < 0.5:
        b, a = signal.iirpeak(random.uniform(150, 3000), random.uniform(0.7, 12), fs=RATE)
        x = signal.lfilter(b, a, x)
    rate = rate or np.exp(random.uniform(np.log(0.3), np.log(9)))
    turns = np.cumsum(rate * np.exp(slowly(length, random, 1, -0.1, 0.1) * random.random())) / RATE
    place, share = turns % 1, random.uniform(0.08, 0.7)
    rise = np.minimum(1, place / (share * random.uniform(0.02, 0.5)))
    fall = np.exp(-(place - share) / random.uniform(0.02, 0.3))
    loudness = np.where(place < share, rise, np.minimum(fall, 1))
    if random.random() < 0.3:
        loudness = loudness * (0.4 + 0.6 * (np.floor(turns) % 2))
    return x * (10 ** (-random.uniform(3, 40) / 20) + loudness)


def rumble(length, random):
    """What shakes a car or a machine: deep noise that swells and thuds, in time or not."""
    centre = random.uniform(120, 480)
    sos = signal.butter(int(random.integers(1, 4)), centre * random.uniform(1.1, 1.8), fs=RATE, output='sos')
    x = signal.sosfilt(sos, random.standard_normal(length))
    if random.random() < 0.6:
        x = signal.lfilter(*signal.iirpeak(centre, random.uniform(1, 12), fs=RATE), x)
    x = x / rms(x)
    depth, pace = random.uniform(4, 22), np.exp(random.uniform(np.log(0.7), np.log(8)))
    swell = slowly(length, random, pace, -1, 0)
    if random.random() < 0.5:
        turns = np.cumsum(random.uniform(0.4, 3) * np.exp(slowly(length, random, 1, -0.1, 0.1))) / RATE
        swell = 0.5 * swell + 0.5 * (np.abs(np.sin(np.pi * turns)) ** random.uniform(0.5, 6) - 1)
    return x * 10 ** (depth * swell / 10)


def vehicle(length, random):
    """Inside a car: the road, which rises and falls with speed, a motor, wipers, what rattles."""
    road = signal.lfilter([1], [1, -random.uniform(0.8, 0.985)], random.standard_normal(length))
    x = road / rms(road) * 10 ** (slowly(length, random, random.uniform(0.2, 2), -random.uniform(0, 10), 0) / 20)
    if random.random() < 0.5:
        x = x + engine(length, random) * gain(random.uniform(-22, 0))
    if random.random() < 0.7:
        shaking = rumble(length, random)
        x = x + shaking / rms(shaking) * gain(random.uniform(0, 28))
    if random.random() < 0.5:
        wipers = rhythm(length, random, random.uniform(0.5, 2.5))
        x = x + wipers / rms(wipers) * gain(random.uniform(-12, 8))
    return x


def chirps(length, random):
    """Birds, squeaks, electronic toys."""
    x = np.zeros(length)
    at = 0
    while True:
        at += int(random.exponential(random.uniform(0.1, 1.2)) * RATE) + 200
        count = int(random.uniform(0.03, 0.6) * RATE)
        if at + count >= length:
            return x + coloured(length, random) * gain(random.uniform(-45, -15))
        time = np.arange(count) / RATE
        bend = np.linspace(0, random.uniform(-1, 1), count) + 0.1 * np.sin(2 * np.pi * random.uniform(2, 30) * time)
        phase = 2 * np.pi * np.cumsum(random.uniform(300, 3000) * np.exp(bend)) / RATE
        wave = np.sin(phase)
        if random.random() < 0.5:
            wave = wave + 0.5 * np.sin(2 * phase) + 0.3 * random.random() * random.standard_normal(count)
        x[at:at + count] += wave * np.hanning(count) ** random.uniform(0.2, 1) * gain(random.uniform(-15, 0))


VOWELS = [(700, 1200, 2600), (350, 2000, 2700), (450, 900, 2500), (300, 800, 2300), (550, 1700, 2500)]


def song(length, random):
    """Music with a voice that sings vowels on a scale: no caller's."""
    x = np.zeros(length)
    root, beat, at = random.uniform(100, 330), random.uniform(0.3, 0.8), 0
    while at < length - 800:
        count = min(int(beat * random.choice([0.5, 1, 1, 2, 4]) * RATE), length - at)
        time = np.arange(count) / RATE
        if random.random() < 0.85:
            pitch = root * 2 ** ([0, 2, 4, 5, 7, 9, 11, 12][random.integers(0, 8)] / 12)
            vibrato = 0.01 * np.sin(2 * np.pi * 5.5 * time) / 5.5 * random.uniform(0, 1.5)
            phase = 2 * np.pi * pitch * (time + vibrato)
            wave = sum(np.sin(n * phase) / n for n in range(1, int(3800 / pitch) + 1))
            for formant in VOWELS[random.integers(0, len(VOWELS))]:
                b, a = signal.iirpeak(formant, 6, fs=RATE)
                wave = wave + 3 * signal.lfilter(b, a, wave)
            x[at:at + count] += wave / max(rms(wave), 1e-6) * np.minimum(1, time / 0.04) * np.minimum(1, time[::-1] / 0.06)
        at += count
    return x / max(rms(x), 1e-6) + music(length, random) * gain(random.uniform(-8, 10))


def recorded(library, length, random):
    """One or two recordings of noise, at other speeds."""

    def one():
        source = library.noise[random.integers(0, len(library.noise))]
        x = looped(source[random.integers(0, len(source))], length, random)
        return np.resize(respeeded(x, random), length)
    x = one()
    x = x / rms(x)
    if random.random() < 0.4:
        y = one()
        x = x + y / rms(y) * gain(random.uniform(-12, 4))
    return x


def background(library, length, random, made=0.35):
    """Some noise of RMS 1, none of it speech; a share of it wholly `made` up."""
    kind = random.random()
    if random.random() < made:
        x = random.choice([engine, rhythm, chirps, song, vehicle, vehicle, vehicle])(length, random)
        if random.random() < 0.4:
            x = x / rms(x) + background(library, length, random, 0) * gain(random.uniform(-15, 5))
    elif kind < 0.58:
        x = recorded(library, length, random)
    elif kind < 0.70:
        x = coloured(length, random)
    elif kind < 0.82:
        x = babble(library, length, random, int(random.integers(6, 14)))
    elif kind < 0.95:
        x = music(length, random)
    else:
        x = clatter(length, random) + coloured(length, random) * gain(random.uniform(-30, -5))
    x = recoloured(np.asarray(x, np.float32), random)
    return (x / rms(x)).astype(np.float32)
