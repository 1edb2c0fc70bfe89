"""What a larger network hears in a clean voice: the labels of the training rows.

Silero VAD (MIT licence) has the quiet of a recording of its own and hears 50 ms of what
follows, so that it agrees with people's labels as no causal ear on a noisy line can; the
ear's network learns to say the same of the noisy line at once. Called by `sound.py`.
"""
import importlib.util
import os

import numpy as np
import onnxruntime
from scipy import signal

RATE, FRAME = 8000, 80
# Samples of one step at 8 kHz, and of the step before that are shown with it.
STEP, BEFORE = 256, 32
LAG = 0.050  # after which its answer is most like people's
QUIET = 0.3  # before and after a recording
LOUDNESS = 0.08  # RMS it hears a recording with
GROUP = 64  # recordings at once
SMOOTH = np.hanning(9)[1:-1] / np.sum(np.hanning(9))


def network():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    folder = importlib.util.find_spec('silero_vad').submodule_search_locations[0]
    return onnxruntime.InferenceSession(os.path.join(folder, 'data', 'silero_vad.onnx'), options,
                                        providers=['CPUExecutionProvider'])


def odds(teacher, batch, times):
    """Log-odds of speech around each of the times, of both its rates together."""
    total = 0
    for rate in (8000, 16000):
        factor = rate // RATE
        sound = signal.resample_poly(batch, factor, 1, axis=1) if factor > 1 else batch
        step, before = STEP * factor, BEFORE * factor
        known, said = [], []
        for shift in (0, step // 2):
            count = (sound.shape[1] - shift) // step
            shown = np.pad(sound[:, shift:], ((0, 0), (before, 0))).astype(np.float32)
            state = np.zeros((2, len(batch), 128), np.float32)
            for index in range(count):
                piece = np.ascontiguousarray(shown[:, index * step:(index + 1) * step + before])
                chance, state = teacher.run(None, {'input': piece, 'state': state, 'sr': np.array(rate, np.int64)})
                known.append((shift + (index + 1) * step) / rate)
                said.append(np.clip(chance[:, 0], 1e-4, 1 - 1e-4))
        order = np.argsort(known)
        said = np.log(np.array(said) / (1 - np.array(said)))[order]
        total = total + np.stack([np.interp(times, np.array(known)[order], row) for row in said.T])
    return total / 2


def listen(recordings):
    """Per 10 ms of each recording, how likely somebody speaks."""
    teacher, found = network(), [None] * len(recordings)
    order = sorted(range(len(recordings)), key=lambda index: len(recordings[index]))
    quiet = int(QUIET * RATE)
    for first in range(0, len(order), GROUP):
        group = order[first:first + GROUP]
        longest = max(len(recordings[index]) for index in group)
        batch = np.zeros((len(group), longest + 2 * quiet), np.float32)
        for row, index in zip(batch, group):
            x = recordings[index]
            loud = np.sqrt(np.mean(np.square(x[np.abs(x) > 0.1 * np.max(np.abs(x))], dtype=np.float64)))
            row[quiet:quiet + len(x)] = x / max(loud, 1e-6) * LOUDNESS * 2
        times = QUIET + LAG + (np.arange(longest // FRAME) + 0.5) * FRAME / RATE
        for row, index in zip(odds(teacher, batch, times), group):
            row = np.convolve(row, SMOOTH, 'same')[:len(recordings[index]) // FRAME]
            found[index] = (1 / (1 + np.exp(-row))).astype(np.float32)
    return found
