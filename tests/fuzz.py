"""Search for inputs that a reader of the service neither reads nor refuses, guided by coverage.

`make fuzz` gives each reader two minutes; `python tests/fuzz.py READER --seconds 600` one of them longer, READER
being picture, form, packet or archive. An input that is found is written to the current folder, and belongs into
`hostile_inputs.py`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["landmarks", "starlette", "python_multipart", "zipfile", "PIL"]):
    from hostile_inputs import CORPUS, READERS, REFUSALS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reader", choices=sorted(READERS))
    parser.add_argument("--seconds", type=int, default=120)
    given = parser.parse_args()
    read = READERS[given.reader]

    def one(content: bytes) -> None:
        with suppress(*REFUSALS):
            read(content)

    with tempfile.TemporaryDirectory() as folder:
        for number, content in enumerate(CORPUS[given.reader]().values()):
            (Path(folder) / str(number)).write_bytes(content)
        atheris.Setup([sys.argv[0], f"-max_total_time={given.seconds}", "-max_len=65536", folder], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
