"""Draws dsp/accuracy.svg: how well detectors tell speech against what a frame costs.

    python3 dsp/train/picture.py

Accuracy: area under the ROC curve, mean of 14 telephone conditions. Cost:
instructions per 10 ms of 8 kHz sound (callgrind); where none could be counted, the
CPU time beside speexdsp's canceller, whose instructions are known. The rows are
those of dsp/README.md; change both together. Standard library only.
"""

import math
import os

PLACE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "accuracy.svg")
# Name, AUC, instructions, whether it is ours, where its name stands (dx, dy).
ROWS = [
    ("webrtc-vad", 0.696, 11_000, False, (10, 4)),
    ("earshot", 0.849, 138_000, False, (10, 14)),
    ("TEN VAD", 0.855, 647_000, False, (-66, 4)),
    ("Silero VAD 8 kHz (about)", 0.902, 300_000, False, (10, 4)),
    ("offhook-dsp: the whole ear, caller speaks", 0.911, 65_000, True, (-262, -10)),
]
WIDE, HIGH, LEFT, TOP, RIGHT, LOW = 760, 380, 70, 30, 30, 60
LEAST, MOST, BEST, WORST = 2_000, 1_000_000, 0.93, 0.67


def across(cost):
    share = math.log(cost / LEAST) / math.log(MOST / LEAST)
    return LEFT + share * (WIDE - LEFT - RIGHT)


def down(auc):
    return TOP + (BEST - auc) / (BEST - WORST) * (HIGH - TOP - LOW)


def main():
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" font-family="sans-serif" font-size="12">',
        "<title>Detectors of speech: accuracy against cost</title>",
        f'<rect width="{WIDE}" height="{HIGH}" fill="#ffffff"/>',
    ]
    for cost in (2_000, 10_000, 100_000, 1_000_000):
        x = across(cost)
        parts.append(f'<line x1="{x:.0f}" y1="{TOP}" x2="{x:.0f}" y2="{HIGH - LOW}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x:.0f}" y="{HIGH - LOW + 18}" text-anchor="middle" fill="#444444">{cost // 1000} k</text>')
    for step in range(7, 10):
        y = down(step / 10)
        parts.append(f'<line x1="{LEFT}" y1="{y:.0f}" x2="{WIDE - RIGHT}" y2="{y:.0f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.0f}" text-anchor="end" fill="#444444">0.{step}0</text>')
    for name, auc, cost, ours, (dx, dy) in ROWS:
        x, y, colour = across(cost), down(auc), "#c0392b" if ours else "#34608c"
        parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{6 if ours else 4.5}" fill="{colour}"/>')
        weight = ' font-weight="bold"' if ours else ""
        parts.append(f'<text x="{x + dx:.0f}" y="{y + dy:.0f}" fill="{colour}"{weight}>{name}</text>')
    middle = (LEFT + WIDE - RIGHT) // 2
    parts.append(f'<text x="{middle}" y="{HIGH - 16}" text-anchor="middle" fill="#222222">instructions per 10 ms, logarithmic</text>')
    parts.append(f'<text x="16" y="{TOP - 10}" fill="#222222">mean AUC of 14 telephone conditions</text>')
    with open(PLACE, "w") as file:
        file.write("\n".join(parts) + "\n</svg>\n")


if __name__ == "__main__":
    main()
