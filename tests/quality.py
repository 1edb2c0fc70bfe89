"""quality.py CLEAN.wav HEARD.wav: narrowband PESQ (ITU-T P.862 with P.862.1) of what was
heard of the clean recording; one number.

Where it begins is told by pieces of it that came through whole. Who leaves out what was
lost hears the later ones too early, so they may disagree: the best for the listener
counts. What is missing at the end is silence: a part would be judged as if it were all."""

import sys
import wave

import numpy
from pesq import pesq

PIECE = 1_600  # samples: 200 ms
WHOLE = 0.95  # of its normalised cross-correlation


def read(path):
    with wave.open(path) as file:
        return numpy.frombuffer(file.readframes(file.getnframes()), dtype=numpy.int16)


def begins(clean, heard):
    """Where it may begin, by each loud piece that is found, the most alike first."""
    clean, heard = clean.astype(float), heard.astype(float)
    size = 1 << (len(heard) + PIECE).bit_length()
    spectrum = numpy.fft.rfft(heard, size)
    energy = numpy.cumsum(numpy.append(0, heard**2))
    energy = energy[PIECE:] - energy[:-PIECE]
    loud = numpy.mean(clean**2) * PIECE / 4
    found = []
    for at in range(0, len(clean) - PIECE, PIECE // 2):
        piece = clean[at:at + PIECE]
        if piece @ piece < loud:
            continue
        likeness = numpy.fft.irfft(spectrum * numpy.fft.rfft(piece, size).conj(), size)
        likeness = likeness[:len(energy)] / numpy.sqrt(energy * (piece @ piece) + 1)
        best = int(numpy.argmax(likeness))
        found.append((likeness[best], max(0, best - at)))
    found.sort(reverse=True)
    return dict.fromkeys(at for alike, at in found if alike > WHOLE or alike == found[0][0])


def score(clean, heard, begin):
    part = heard[begin:begin + len(clean)]
    return pesq(8000, clean, numpy.pad(part, (0, len(clean) - len(part))), "nb")


clean, heard = map(read, sys.argv[1:3])
print(f"{max(score(clean, heard, begin) for begin in begins(clean, heard)):.3f}")
