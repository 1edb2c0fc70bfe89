"""quality.py CLEAN.wav HEARD.wav: narrowband PESQ (ITU-T P.862 with P.862.1), one number."""

import sys
import wave

import numpy
from pesq import pesq


def read(path):
    with wave.open(path) as file:
        return numpy.frombuffer(file.readframes(file.getnframes()), dtype=numpy.int16)


print(f"{pesq(8000, read(sys.argv[1]), read(sys.argv[2]), 'nb'):.3f}")
