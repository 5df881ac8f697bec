"""How quickly a tarball is unpacked, as ratios of one interleaved run.

    python benchmarks/unpack.py [TARBALL.tar.gz] [--rounds N] [--directory DIR]

Without a tarball one is made of this machine's /usr/lib and /usr/share (about 150 MB).
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kokon.image.unpack import unpack

SAMPLE = 150 << 20


def make_sample(path: Path) -> None:
    """A tarball of what any Linux machine has, up to SAMPLE bytes."""
    size = 0
    with tarfile.open(path, "w:gz", compresslevel=6, format=tarfile.GNU_FORMAT) as archive:
        for top in ("/usr/lib/python3", "/usr/share", "/usr/lib"):
            for folder, _, names in sorted(os.walk(top)):
                archive.add(folder, recursive=False)
                for name in sorted(names):
                    file = Path(folder, name)
                    if size < SAMPLE and file.is_file() and os.access(file, os.R_OK):
                        archive.add(file, recursive=False)
                        size += file.lstat().st_size
                if size >= SAMPLE:
                    return


def by_kokon(tarball: Path, target: Path) -> None:
    archive_fd = os.open(tarball, os.O_RDONLY)
    root_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    unpack(archive_fd, root_fd, str(tarball))
    os.close(root_fd)
    os.close(archive_fd)


def by_pipe(decompressor: list[str]) -> Callable[[Path, Path], None]:
    def run(tarball: Path, target: Path) -> None:
        with subprocess.Popen([*decompressor, str(tarball)], stdout=subprocess.PIPE) as first:
            subprocess.run(["tar", "-xp", "-C", str(target)], stdin=first.stdout, check=True)

    return run


def by_tarfile(tarball: Path, target: Path) -> None:
    with tarfile.open(tarball) as archive:
        archive.extractall(target, filter="tar")


ISAL = """
import os, sys
from isal import igzip
with igzip.open(sys.argv[1]) as f:
    while chunk := f.read(1 << 18):
        os.write(1, chunk)
"""


def candidates() -> dict[str, Callable[[Path, Path], None]]:
    found = {"kokon": by_kokon}
    try:
        import isal  # noqa: F401

        found["isal | tar x"] = by_pipe([sys.executable, "-I", "-c", ISAL])
    except ImportError:
        pass
    if shutil.which("gzip") and shutil.which("tar"):
        found["gzip -dc | tar x"] = by_pipe(["gzip", "-dc"])
    found["tarfile"] = by_tarfile
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tarball", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="where to unpack")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as work:
        tarball = options.tarball or Path(work, "sample.tar.gz")
        if not options.tarball:
            make_sample(tarball)
        with gzip.open(tarball) as file:
            size = sum(len(chunk) for chunk in iter(lambda: file.read(1 << 20), b""))
        times: dict[str, list[float]] = {name: [] for name in candidates()}
        cpu: dict[str, list[float]] = {name: [] for name in candidates()}
        for _ in range(options.rounds):
            for name, run in candidates().items():
                target = Path(work, "target")
                target.mkdir()
                start, worked = time.perf_counter(), sum(os.times()[:4])
                run(tarball, target)
                times[name].append(time.perf_counter() - start)
                cpu[name].append(sum(os.times()[:4]) - worked)
                shutil.rmtree(target)
    best, least = min(times["kokon"]), min(cpu["kokon"])
    print(f"{size / 1e6:.0f} MB unpacked, {options.rounds} rounds")
    print(f"{'':18} {'min ms':>7} {'median':>7} {'MB/s':>5} {'cpu ms':>7}   kokon: time, cpu")
    for name, taken in times.items():
        low, middle = min(taken), statistics.median(taken)
        speed = size / low / 1e6
        work = min(cpu[name])
        print(
            f"{name:18} {low * 1e3:7.0f} {middle * 1e3:7.0f} {speed:5.0f} {work * 1e3:7.0f}"
            f"   {best / low:5.2f} x {least / work:5.2f} x"
        )


if __name__ == "__main__":
    main()
