"""More voices to train on, out of Debian's archive: adds them to a folder for `train.py`.

    python3 voices.py FOLDER [--apart]

Fetches the packages below with `apt-get download` into FOLDER/debian, unpacks them there,
and writes what people say in them as recordings of a few seconds at 8 kHz, with a row each
in FOLDER/manifest.csv. Of no voice more than some minutes, so that many speak. `--apart`
writes only the voices that are never trained on: to score with. Every package stands in
Debian's main, under the licence named here, which is that of its `debian/copyright`.
"""
import argparse
import csv
import glob
import math
import os
import re
import subprocess

import numpy as np
import soundfile
from scipy import signal

RATE = 8000
SHORTEST, LONGEST = 4.0, 12.0  # of a recording, s
PAUSE = (0.15, 0.7)  # between two of the package's files, s
# Package, what its files are called (the groups name the voice), licence, minutes of a voice.
SOURCES = [
    ('asterisk-core-sounds-it-wav', r'sounds/(it)_.*\.wav', 'CC-BY-3.0', 8),
    ('asterisk-core-sounds-ru-wav', r'sounds/(ru)_.*\.wav', 'CC-BY-3.0', 8),
    ('asterisk-core-sounds-es-wav', r'sounds/(es)_.*\.wav', 'CC-BY-SA-3.0', 8),
    ('asterisk-prompt-es-co', r'sounds/(es)/.*\.gsm', 'GPL-2+', 8),
    ('asterisk-prompt-fr-armelle', r'sounds/(fr)/.*\.gsm', 'GPL-2+', 8),
    ('tuxpaint-stamps-default', r'_desc_(\w+)\.(?:ogg|wav)', 'GPL-2', 8),
    ('klettres-data', r'klettres/(\w+)/.*\.ogg', 'GPL-2+', 2),
    ('ktuberling-data', r'sounds/(\w+)/.*\.(?:ogg|wav)', 'GPL-2+', 2),
    ('hedgewars-data', r'voices/(?!Robot|Singer)(\w+)/.*\.ogg', 'GFDL-1.3', 3),
    ('fillets-ng-data-cs', r'/(cs)/\w+-(m|v)-.*\.ogg', 'GPL-2+', 10),
    ('fillets-ng-data-nl', r'/(nl)/\w+-(m|v)-.*\.ogg', 'GPL-2+', 10),
]
# Package and voice, never trained on.
APART = {('asterisk-prompt-es-co', 'es'), ('asterisk-prompt-fr-armelle', 'fr'), ('tuxpaint-stamps-default', 'ro'),
         ('ktuberling-data', 'lt'), ('klettres-data', 'hu')}


def unpacked(package, folder):
    """Where the package's files are; fetched when they are not there."""
    path = os.path.join(folder, 'debian', package)
    if not os.path.exists(path):
        os.makedirs(os.path.join(folder, 'debian'), exist_ok=True)
        subprocess.run(['apt-get', 'download', package], cwd=os.path.join(folder, 'debian'), check=True)
        archive, = glob.glob(path + '_*.deb')
        subprocess.run(['dpkg-deb', '-x', archive, path], check=True)
        os.remove(archive)
    return path


def samples(path):
    """A file at 8 kHz, one channel, at some level; nothing of one that cannot be read."""
    bare = {'samplerate': RATE, 'channels': 1, 'format': 'RAW', 'subtype': 'GSM610'} if path.endswith('.gsm') else {}
    try:
        x, rate = soundfile.read(path, dtype='float32', always_2d=True, **bare)
    except soundfile.LibsndfileError:
        return np.zeros(0, np.float32)
    step = math.gcd(rate, RATE)
    x = signal.resample_poly(x.mean(1), RATE // step, rate // step).astype(np.float32)
    loud = np.max(np.abs(x), initial=0)
    return x * np.float32(0.5 / loud) if loud > 0.01 and len(x) < 30 * RATE else x[:0]


def voices(path, pattern):
    """The files of each voice, by its name."""
    found = {}
    for file in sorted(glob.glob(os.path.join(path, '**', '*'), recursive=True)):
        named = re.search(pattern, file[len(path):])
        if named and os.path.isfile(file):
            found.setdefault('-'.join(named.groups()), []).append(file)
    return found


def recordings(files, most, random):
    """What a voice says, a few files in each, until so many seconds are full."""
    joined = []
    for file in random.permutation(files):
        x = samples(file)
        if not len(x):
            continue
        joined += [x, np.zeros(int(random.uniform(*PAUSE) * RATE), np.float32)]
        length = sum(map(len, joined)) / RATE
        if length >= SHORTEST:
            yield np.concatenate(joined)[:int(LONGEST * RATE)]
            joined, most = [], most - length
        if most <= 0:
            return
    if joined:
        yield np.concatenate(joined)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument('folder'), options.add_argument('--apart', action='store_true')
    options = options.parse_args()
    os.makedirs(os.path.join(options.folder, 'speech'), exist_ok=True)
    manifest = os.path.join(options.folder, 'manifest.csv')
    fresh = not os.path.exists(manifest)
    with open(manifest, 'a', newline='') as file:
        rows = csv.writer(file)
        if fresh:
            rows.writerow(['file', 'kind', 'source', 'speaker', 'licence', 'dur_s'])
        for package, pattern, licence, minutes in SOURCES:
            told = 0
            for voice, files in voices(unpacked(package, options.folder), pattern).items():
                if ((package, voice) in APART) != options.apart:
                    continue
                for number, x in enumerate(recordings(files, 60 * minutes, np.random.default_rng(7))):
                    name = f'speech/{package}_{voice}_{number:03}.flac'
                    soundfile.write(os.path.join(options.folder, name), x, RATE)
                    rows.writerow([name, 'speech', f'debian: {package}', voice, licence, f'{len(x) / RATE:.3f}'])
                    told += len(x)
            print(f'{package}: {told / RATE / 60:.0f} min', flush=True)


if __name__ == '__main__':
    main()
