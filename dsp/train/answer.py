"""Learns the limits of the answer rule (dsp/src/answer_table.rs) from recordings.

    python3 dsp/train/answer.py MANIFEST.csv

The manifest has the columns file, label (human, machine), subtype, tier, group,
answer_s. The ear itself says where speech is (dsp/examples/trace.rs); run this
again when it hears better. A rule has five limits: the pauses that tell a person
after a short, a middling and a long turn, the span of speech that tells a
recording, and the time since the answer before which none is told: a greeting that
begins at once is not called early, and some answers of a sentence end meanwhile. For
each sensitivity the last two are given and the pauses are searched on a grid; figures are cross-validated by source: each source is judged by limits
learnt from the others. Only the standard library and numpy are needed.
"""

import csv
import itertools
import os
import subprocess
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
CODE = os.path.join(HERE, "..", "src", "answer_table.rs")
# Per sensitivity: span of speech that tells a recording, and the earliest time for it,
# ms; the weight of a lost person against an uncaught machine; whether answers of a sentence count. Where
# the span is shorter than they are, pauses cannot save them.
LEVELS = [
    (5000, 0, 4.0, True), (3500, 0, 2.0, True), (2600, 3200, 1.5, True), (2000, 2800, 1.5, False),
    (1300, 2350, 1.2, False), (1300, 2000, 0.8, False), (1100, 0, 0.5, False),
]
BOUNDS = (900, 1800)
# Shorter pauses than these are breaths; longer ones keep people waiting.
GRID = ((400, 500), (500, 600, 700), (700, 900))
LEAST_SPEECH = 0.2
FOLDS_SEED = 1


def trace(paths):
    """Frames of each file: whether somebody speaks, and since which second."""
    command = ["cargo", "run", "-q", "--release", "-p", "offhook-dsp", "--example", "trace"]
    out = subprocess.run(command, input="\n".join(paths), text=True, check=True, stdout=subprocess.PIPE)
    table = np.array([line.split(",")[:4] for line in out.stdout.splitlines()[1:]], dtype=float)
    return [table[table[:, 0] == number] for number in range(len(paths))]


class Call:
    """One file as the rule sees it, frame by frame after the answer."""

    def __init__(self, row, frames):
        self.row = row
        self.answer = max(float(row["answer_s"] or 0), 0.0)
        self.t = (frames[:, 1] + 1) * 0.01
        speaks = (frames[:, 2] > 0) & (self.t > self.answer)
        first = last = None
        spoken = 0.0
        shape = len(self.t)
        self.span, self.pause, self.spoken, self.speaks = np.zeros(shape), np.zeros(shape), np.zeros(shape), speaks
        for index, now in enumerate(self.t):
            since = frames[index, 3] / 8000
            if speaks[index]:
                if first is None:
                    first = max(since, self.answer)
                    spoken = now - first
                else:
                    spoken += 0.01
                last = now
            elif frames[index, 3] < 0 and spoken < LEAST_SPEECH:
                first, last, spoken = None, None, 0.0
            self.span[index] = last - first if first is not None else 0.0
            self.pause[index] = now - last if last is not None else 0.0
            self.spoken[index] = spoken

    def kind(self):
        subtype = self.row["subtype"]
        if self.row["label"] == "machine":
            return "machine"
        if self.row["tier"] == "synthetic":
            return "synthetic"
        return "short" if subtype in ("hello", "proxy_short") else "sentence"

    def verdict(self, pauses, machine_ms, earliest_ms):
        span_ms = self.span * 1000
        need = np.select([span_ms < BOUNDS[0], span_ms < BOUNDS[1]], pauses[:2], pauses[2]) / 1000
        human = (self.spoken >= LEAST_SPEECH) & (self.pause >= need - 1e-6)
        late = self.t - self.answer >= earliest_ms / 1000 - 1e-6
        machine = self.speaks & (span_ms >= machine_ms - 1e-6) & late
        at = [np.argmax(hit) if hit.any() else len(self.t) for hit in (human, machine)]
        if min(at) == len(self.t):
            return "none", None
        which = int(at[1] < at[0])
        return ("human", "machine")[which], self.t[at[which]] - self.answer


def learn(table, calls, grid, weight, sentences):
    """The pauses of least weighted error; ties go to the longer ones, which wait for a
    recording that only breathes."""
    calls = [call for call in calls if sentences or call.kind() != "sentence"]
    people = np.array([call.row["label"] == "human" for call in calls])
    errors = table[:, [call.index for call in calls]]
    lost = errors[:, people].sum(1) / max(people.sum(), 1)
    uncaught = errors[:, ~people].sum(1) / max((~people).sum(), 1)
    quick = np.array([sum(pauses) for pauses in grid]) * -1e-7
    return int(np.argmin(weight * lost + uncaught + quick))


def share(k, n):
    if n == 0:
        return "-"
    z, p = 1.96, k / n
    middle, reach = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    low, high = (middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)
    return f"{k}/{n} {p:.2f} [{max(low, 0):.2f}, {min(high, 1):.2f}]"


def main():
    folder = os.path.dirname(sys.argv[1])
    with open(sys.argv[1], newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in ("human", "machine")]
    frames = trace([os.path.join(folder, row["file"]) for row in rows])
    calls = [Call(row, frames) for row, frames in zip(rows, frames)]
    for index, call in enumerate(calls):
        call.index = index
    groups = sorted({call.row["group"] for call in calls})
    grid = [pauses for pauses in itertools.product(*GRID) if pauses[0] <= pauses[1] <= pauses[2]]
    lines = []
    print("level  short kept | sentence | synthetic | machines | balanced, real | machine p50, p95 s")
    for level, (machine_ms, earliest_ms, weight, sentences) in enumerate(LEVELS):
        said = [[call.verdict(pauses, machine_ms, earliest_ms) for call in calls] for pauses in grid]
        wrong = np.array([[v[0] != c.row["label"] for v, c in zip(line, calls)] for line in said], float)
        best = learn(wrong, calls, grid, weight, sentences)
        tally, times = {}, []
        for group in groups:
            chosen = learn(wrong, [c for c in calls if c.row["group"] != group], grid, weight, sentences)
            for call in (c for c in calls if c.row["group"] == group):
                tally.setdefault(call.kind(), []).append(wrong[chosen][call.index] == 0)
                if call.kind() == "machine" and said[chosen][call.index][1] is not None:
                    times.append(said[chosen][call.index][1])
        right = {kind: (sum(hits), len(hits)) for kind, hits in tally.items()}
        people = [right.get(kind, (0, 0)) for kind in ("short", "sentence")]
        human = sum(k for k, _ in people) / max(sum(n for _, n in people), 1)
        balanced = (human + right["machine"][0] / right["machine"][1]) / 2
        cells = [share(*right.get(kind, (0, 0))) for kind in ("short", "sentence", "synthetic", "machine")]
        p50, p95 = np.percentile(times, [50, 95])
        print(f"{level}  " + " | ".join(cells) + f" | {balanced:.3f} | {p50:.2f}, {p95:.2f}  {grid[best]} {machine_ms} {earliest_ms}")
        (one, two, three) = grid[best]
        lines.append(
            "    Limits {\n"
            f"        pauses: [({BOUNDS[0]}, {one}), ({BOUNDS[1]:_}, {two}), (END, {three:_})],\n"
            f"        machine_ms: {machine_ms:_},\n        earliest_ms: {earliest_ms:_},\n    }},\n"
        )
    with open(CODE) as file:
        code = file.read()
    head = code[: code.index("pub(crate) const SENSITIVITIES")]
    table = f"pub(crate) const SENSITIVITIES: [Limits; {len(LEVELS)}] = [\n" + "".join(lines) + "];\n"
    with open(CODE, "w") as file:
        file.write(head + table)
    subprocess.run(["cargo", "fmt", "-p", "offhook-dsp"], check=False)


if __name__ == "__main__":
    main()
