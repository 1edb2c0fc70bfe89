"""Builds a set of callers whose turns have pauses, and learns when a turn is over.

    python3 dsp/train/turns.py build MANIFEST.csv OUT     make the set
    python3 dsp/train/turns.py learn OUT                  both curves; writes dsp/src/turn.rs

The manifest names clean speech with its speakers (columns file, kind, speaker). Each
caller is one voice; some are generated (flite, espeak-ng), who say digits, short answers
and sentences. Of a recorded voice a turn is made of runs of phrases, with the pauses they
were spoken with, of drawn pauses between the runs, and after every third run of a vowel
of theirs that is held before the pause ("um"); every fourth turn is a short answer, a
piece of less than a second, and nearly as many longer ones begin with such a piece and a
pause. After each turn there are 2.4 s of quiet and a prompt of
ours. A caller has a pace of their own (slowed or sped by a quarter) and a usual pause of
their own, 0.2 to 1.5 s. Everything goes through a telephone channel. Seeds are fixed. The
estimate is learnt and judged by caller, in five folds, beside fixed pauses. Needs sox,
flite, espeak-ng, numpy.
"""

import csv
import os
import re
import subprocess
import sys
import wave

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
CODE = os.path.join(HERE, "..", "src", "turn.rs")
RATE = 8000
CALLERS, TURNS = 36, 10
SEED = 20
FIXED = (0.5, 0.8, 1.2)
NAMES = ("BASE", "PAUSE", "LONG_PAUSE", "SHORT_TURN", "SLOW", "PITCH", "LEVEL", "HESITATION")
# By hand: between -0.1 and 0.02 it moves neither curve, and who speaks slowly is to be
# waited for longer.
SLOW, SLOW_BY_HAND = NAMES.index("SLOW"), -0.08
COMMON = 0.5
SHORTEST, LONGEST = 0.25, 2.2
# Quiet after a turn, our prompt, and quiet before the next, s.
QUIET, PROMPT, LATENCY = 2.4, 1.0, 0.6
GENERATED = ["flite:kal", "flite:slt", "flite:awb", "flite:rms", "en-us+m3", "en-us+f2", "en-gb+m7", "en-gb+f4"]
ANSWERS = ["yes", "no", "yes please", "I think so", "no thank you", "hello", "seven", "forty two", "that is right", "maybe"]
SENTENCES = [
    "my number is 4 1 5, 7 7 2", "it is 0 1 7, 3 9, 5 5 8", "1 2 3 4, 5 6 7 8", "the code is 9 0 2, 6 1",
    "I am calling about the invoice, the one from last month", "could you tell me when you are open, please",
    "well, I would like to change my appointment", "my name is Anna, and I have a question about my order",
]
# Quiet that may be a turn's end at all, s.
LEAST = 0.2


def sox(path, *effects):
    command = ["sox", "-D", "-v", "0.7", path, "-t", "raw", "-e", "signed", "-b", "16", "-c", "1", "-r", str(RATE), "-", *effects]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return np.frombuffer(raw, np.int16).astype(float)


def spans_of(samples, quiet_ms, least_ms):
    """Stretches between quiet of so long, in samples."""
    frames = samples[: len(samples) // 80 * 80].reshape(-1, 80)
    level = 10 * np.log10((frames**2).mean(1) + 1)
    loud = level > np.percentile(level, 95) - 28
    found, start, quiet = [], None, 0
    for index, on in enumerate(list(loud) + [False] * 100):
        if on:
            start, quiet = (index if start is None else start), 0
        elif start is not None:
            quiet += 1
            if quiet >= quiet_ms // 10:
                end = index - quiet + 1
                if end - start >= least_ms // 10:
                    found.append((max(0, start * 80 - 160), end * 80 + 160))
                start = None
    return found


class Voice:
    """What one caller can say: phrases in a row, and short pieces."""

    def __init__(self, name, recordings, answers=()):
        self.name, self.runs, self.short = name, [], list(answers)
        self.recordings = recordings
        for number, samples in enumerate(recordings):
            spans = spans_of(samples, 150, 150)
            self.runs += [(number, spans[i : i + n]) for n in (1, 2, 3) for i in range(len(spans) - n + 1)]
            if not answers:
                pieces = spans_of(samples, 50, 220)
                self.short += [samples[a:b] for a, b in pieces if b - a < 0.9 * RATE]
        self.level = np.sqrt(np.mean(np.concatenate([r[r != 0] for r in recordings]) ** 2))

    def run(self, rng):
        number, spans = self.runs[rng.integers(len(self.runs))]
        return self.recordings[number][spans[0][0] : spans[-1][1]]

    def held(self, rng):
        """A voiced period of theirs, repeated for a third to half a second."""
        samples = self.recordings[rng.integers(len(self.recordings))]
        best = (0.0, 0, 80)
        for at in range(400, len(samples) - 400, 160):
            piece = samples[at - 200 : at + 200]
            energy = (piece**2).sum()
            if energy < 400 * self.level**2:
                continue
            for lag in range(25, 130):
                later = samples[at - 200 + lag : at + 200 + lag]
                if len(later) == 400:
                    likeness = (piece * later).sum() / np.sqrt(energy * (later**2).sum() + 1)
                    if likeness > best[0] + 0.01:
                        best = (likeness, at, lag)
        _, at, lag = best
        length = int(rng.uniform(0.33, 0.55) * RATE)
        period = samples[at : at + lag] - samples[at : at + lag].mean()
        sound = np.resize(period, length) * np.linspace(1, 0.8, length)
        sound[-400:] *= np.linspace(1, 0, 400)
        return sound * self.level / np.sqrt(np.mean(sound**2))


def generated(name, folder, pace):
    """A voice of a synthesiser, saying answers and sentences."""
    sounds = []
    for text in ANSWERS + SENTENCES:
        path = os.path.join(folder, "said.wav")
        if name.startswith("flite:"):
            subprocess.run(["flite", "-voice", name[6:], "-t", text, "-o", path], check=True)
        else:
            subprocess.run(["espeak-ng", "-v", name, "-w", path, text], check=True)
        samples = sox(path, *tempo(pace), "highpass", "250", "lowpass", "3400")
        spans = spans_of(samples, 150, 100)
        if spans:
            sounds.append(samples[spans[0][0] : spans[-1][1]])
    os.remove(path)
    return Voice(name, sounds[len(ANSWERS) :], sounds[: len(ANSWERS)])


def tempo(pace):
    return [] if pace == 1.0 else ["tempo", "-s", str(pace)]


def build(manifest, out):
    rng = np.random.default_rng(SEED)
    folder = os.path.dirname(manifest)
    os.makedirs(out, exist_ok=True)
    with open(manifest, newline="") as file:
        voices = [row for row in csv.DictReader(file) if row["kind"] == "speech" and row["speaker"]]
    voices.sort(key=lambda row: row["file"])
    rows = []
    for name in GENERATED:
        pace = (0.8, 1.0, 1.25)[len(rows) % 3]
        rows.append(caller(out, len(rows), generated(name, out, pace), pace, rng))
    for row in voices:
        if len(rows) == CALLERS + len(GENERATED):
            break
        pace = (0.8, 1.0, 1.25)[len(rows) % 3]
        samples = sox(os.path.join(folder, row["file"]), *tempo(pace), "highpass", "250", "lowpass", "3400")
        voice = Voice(row["file"], [samples])
        if len(spans_of(samples, 150, 400)) >= 4 and len(voice.short) >= 4:
            rows.append(caller(out, len(rows), voice, pace, rng))
    with open(os.path.join(out, "manifest.csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "set", "condition", "source", "speech"])
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} callers, {len(rows) * TURNS} turns in {out}")


def turn(voice, usual, rng):
    """One turn: a short answer, or runs with pauses between them."""
    if rng.random() < 0.25:
        return [voice.short[rng.integers(len(voice.short))]]
    parts = []
    if rng.random() < 0.3:
        # "Well …": what begins short does not always end there.
        pause = np.clip(usual * np.exp(rng.normal(0, 0.35)), 0.2, 1.5)
        parts += [voice.short[rng.integers(len(voice.short))], np.zeros(int(pause * RATE))]
    for index in range(int(rng.choice([1, 2, 2, 3]))):
        if index:
            hesitates = rng.random() < 0.33
            if hesitates:
                parts.append(voice.held(rng))
            pause = usual * np.exp(rng.normal(0, 0.35)) * (1.3 if hesitates else 1.0)
            parts.append(np.zeros(int(np.clip(pause, 0.2, 1.5) * RATE)))
        parts.append(voice.run(rng))
    return parts


def caller(out, number, voice, pace, rng):
    usual = np.exp(rng.uniform(np.log(0.25), np.log(1.1))) / pace**0.5
    ours = 1200 * np.resize(np.sign(np.sin(np.arange(RATE) * 2 * np.pi * 150 / RATE)), int(PROMPT * RATE))
    near, far, spans, at = [np.zeros(RATE)], [np.zeros(RATE)], [], RATE
    for _ in range(TURNS):
        said = np.concatenate(turn(voice, usual, rng)) * 1800 / voice.level
        spans.append(f"{at / RATE:.4f}-{(at + len(said)) / RATE:.4f}")
        quiet, later = np.zeros(int(QUIET * RATE)), np.zeros(int(LATENCY * RATE))
        near += [said, quiet, np.zeros(len(ours)), later]
        far += [np.zeros(len(said)), quiet, ours, later]
        at += len(said) + len(quiet) + len(ours) + len(later)
    samples = np.concatenate(near)
    samples += rng.normal(0, 32768 * 10 ** (-62 / 20), len(samples))
    name = f"caller_{number:02}.wav"
    write(os.path.join(out, name), mu_law(samples))
    write(os.path.join(out, name + ".far"), np.concatenate(far))
    condition = {0.8: "slowed", 1.0: "as spoken", 1.25: "sped"}[pace]
    return {"file": name, "set": "turn_ends", "condition": condition, "source": voice.name, "speech": ";".join(spans)}


def write(path, samples):
    with wave.open(path, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


def mu_law(samples):
    """Through G.711 and back, near enough: 255-fold compression in 256 steps."""
    x = np.clip(samples / 32768, -1, 1)
    y = np.sign(x) * np.log1p(255 * abs(x)) / np.log(256)
    y = np.round(y * 127) / 127
    return np.sign(y) * (256 ** abs(y) - 1) / 255 * 32767


class Pause:
    """Quiet after speech: within a turn, or its end."""

    def __init__(self, caller, turn, late, length, cues):
        self.caller, self.turn, self.late, self.length, self.cues = caller, turn, late, length, cues


def pauses(out):
    with open(os.path.join(out, "manifest.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    command = ["cargo", "run", "-q", "-p", "offhook-dsp", "--example", "trace"]
    paths = "\n".join(os.path.join(out, row["file"]) for row in rows)
    text = subprocess.run(command, input=paths, text=True, check=True, stdout=subprocess.PIPE).stdout
    table = np.array([line.split(",") for line in text.splitlines()[1:]], dtype=float)
    found = []
    for number, row in enumerate(rows):
        frames = table[table[:, 0] == number]
        spans = [tuple(map(float, span.split("-"))) for span in row["speech"].split(";")]
        for turn, (start, end) in enumerate(spans):
            # Then we speak, and what is said is another turn.
            following = end + QUIET
            found += of_turn(number, turn, frames, start, end, following)
    return found


def of_turn(caller, turn, frames, start, end, following):
    speaks = frames[:, 2] > 0
    index, last, found = int(start * 100), None, []
    while index < min(len(frames), int(following * 100)):
        if speaks[index]:
            last = index
        elif last is not None and index == last + 1:
            resumed = next((i for i in range(index, min(len(frames), int(following * 100))) if speaks[i]), None)
            length = (resumed - index) / 100 if resumed is not None else np.inf
            quiet_from = index / 100
            if length >= LEAST:
                # A sound after the labelled end is the line's, not the caller's.
                final = resumed is None or resumed / 100 > end + 0.05
                late = quiet_from - end if final else None
                found.append(Pause(caller, turn, late, np.inf if final else length, frames[index, 4:]))
                if final:
                    break
        index += 1
    return found


def features(items):
    cues = np.array([item.cues for item in items])
    spoken, pause, long_pause, count, rate, pitch, level, hesitating = cues.T
    against = lambda pause: np.log(np.maximum(pause, 0.1) / COMMON)
    return np.stack(
        [
            np.ones(len(cues)),
            np.where(count > 0, against(pause), 0),
            against(long_pause),
            np.maximum(1 - spoken, 0),
            np.where(rate > 0, np.clip(rate - 4, -2, 2), 0),
            pitch,
            level,
            hesitating,
        ],
        1,
    )


def curve(items, waits):
    """Cut-ins per 100 turns and mean delay after the true end, s."""
    length = np.array([item.length for item in items])
    turns = np.array([item.caller * 1000 + item.turn for item in items])
    cut = np.unique(turns[(length < np.inf) & (length > waits)])
    ends = np.array([item.late is not None for item in items])
    late = np.array([item.late if item.late is not None else 0.0 for item in items])
    whole = ends & ~np.isin(turns, cut)
    delay = (late + waits)[whole]
    return 100 * len(cut) / len(np.unique(turns)), delay.mean() if len(delay) else np.nan


def waits(x, weights, scale=1.0):
    return np.clip(np.exp(x @ weights) * scale, SHORTEST, LONGEST)


SCALES = np.exp(np.linspace(np.log(0.4), np.log(3.0), 40))


def delay_at(items, x, weights, cuts):
    """Mean delay where the curve has this many cut-ins, between its points."""
    points = np.array([curve(items, waits(x, weights, scale)) for scale in SCALES])
    order = np.argsort(points[:, 0], kind="stable")
    return np.interp(cuts, points[order, 0], points[order, 1])


def learn_weights(items, x, rng):
    targets = [curve(items, np.full(len(items), wait))[0] for wait in FIXED]
    best = np.array([-0.2, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0])
    cost = np.mean(delay_at(items, x, best, targets))
    step = np.array([0.0, 0.3, 0.3, 0.2, 0.06, 0.03, 0.02, 0.3])
    best[SLOW] = SLOW_BY_HAND
    for turn in range(260):
        tried = best + step * rng.normal(size=8) * (rng.random(8) < 0.4) * (1 if turn < 130 else 0.4)
        tried[SLOW] = SLOW_BY_HAND
        # Ties and small gains are not worth a weight.
        found = np.mean(delay_at(items, x, tried, targets)) + 0.004 * np.abs(tried[1:] / step[1:]).mean()
        if found < cost:
            best, cost = tried, found
    # As many cut-ins as a fixed pause of 0.8 s, by the scale alone.
    scales = [(abs(curve(items, waits(x, best, scale))[0] - targets[1]), scale) for scale in SCALES]
    best[0] += np.log(min(scales)[1])
    return best


def learn(out):
    items = pauses(out)
    callers = sorted({item.caller for item in items})
    x = features(items)
    whose = np.array([item.caller for item in items])
    judged = np.zeros((len(SCALES), len(items)))
    for fold in range(5):
        held = np.isin(whose, callers[fold::5])
        some = [item for item, out_of in zip(items, held) if not out_of]
        weights = learn_weights(some, x[~held], np.random.default_rng(fold))
        for row, scale in enumerate(SCALES):
            judged[row, held] = waits(x[held], weights, scale)
    inside = sum(item.length < np.inf for item in items)
    print(f"{len(callers)} callers, {len(np.unique(whose * 1000 + [i.turn for i in items]))} turns, {inside} pauses inside")
    points = np.array([curve(items, row) for row in judged])
    order = np.argsort(points[:, 0], kind="stable")
    print("fixed pause ms | cut-ins per 100 turns | mean delay ms | ours at as many cut-ins ms, by caller left out")
    for wait in FIXED:
        cuts, delay = curve(items, np.full(len(items), wait))
        ours = np.interp(cuts, points[order, 0], points[order, 1])
        print(f"{wait * 1000:.0f} | {cuts:.1f} | {delay * 1000:.0f} | {ours * 1000:.0f}")
    print("ours, whole curve: " + "; ".join(f"{c:.1f}: {1000 * d:.0f}" for c, d in points[::4]))
    print("fixed, whole curve: " + "; ".join(
        f"{c:.1f}: {1000 * d:.0f}" for c, d in (curve(items, np.full(len(items), w)) for w in np.arange(0.3, 1.6, 0.1))))
    weights = learn_weights(items, x, np.random.default_rng(9))
    with open(CODE) as file:
        code = file.read()
    for name, weight in zip(NAMES, weights):
        code = re.sub(rf"const {name}: f32 = [-0-9.]+;", f"const {name}: f32 = {weight:.3f};", code)
    with open(CODE, "w") as file:
        file.write(code)
    print(dict(zip(NAMES, weights.round(3))))


if __name__ == "__main__":
    if sys.argv[1] == "build":
        build(sys.argv[2], sys.argv[3])
    else:
        learn(sys.argv[2])
