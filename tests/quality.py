"""quality.py CLEAN.wav HEARD.wav: narrowband PESQ (ITU-T P.862 with P.862.1) of that part
of what was heard which is most like the clean recording; one number."""

import sys
import wave

import numpy
from pesq import pesq


def read(path):
    with wave.open(path) as file:
        return numpy.frombuffer(file.readframes(file.getnframes()), dtype=numpy.int16)


def part(clean, heard):
    """By the greatest cross-correlation, over all of both: a window of it may lie."""
    size = 1 << (len(clean) + len(heard)).bit_length()
    spectra = [numpy.fft.rfft(sound.astype(float), size) for sound in (heard, clean)]
    likeness = numpy.fft.irfft(spectra[0] * spectra[1].conj(), size)
    begin = int(numpy.argmax(likeness[:len(heard)]))
    return heard[begin:begin + len(clean)]


clean, heard = map(read, sys.argv[1:3])
print(f"{pesq(8000, clean, part(clean, heard), 'nb'):.3f}")
