"""The property tests of tests/hostile/test_fuzz.py, led by coverage for as long as you like.

    .venv/bin/pip install atheris
    .venv/bin/python bench/fuzz.py [--seconds 60]

Atheris looks for inputs that reach new lines of fossilrepo; hypothesis makes of them what the tests
take. Each test runs in a process of its own. Ends with 1 when one of them found something.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
MODULE = "tests.hostile.test_fuzz"


def names() -> list[str]:
    """Those that hypothesis can be led through: the ones that are no coroutines."""
    import asyncio
    import importlib

    module = importlib.import_module(MODULE)
    return [
        name
        for name, test in vars(module).items()
        if hasattr(test, "hypothesis") and not asyncio.iscoroutinefunction(test)
    ]


def one(name: str, seconds: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["fossilrepo"]):
        import importlib

        module = importlib.import_module(MODULE)
    words = [sys.argv[0], f"-max_total_time={seconds}", "-max_len=2048", "-print_final_stats=1"]
    words.append(f"-artifact_prefix={tempfile.gettempdir()}/fuzz-")
    atheris.Setup(words, getattr(module, name).hypothesis.fuzz_one_input)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.one, given.seconds)
        return 0
    failed = []
    for name in names():
        words = [sys.executable, __file__, "--one", name, "--seconds", str(given.seconds)]
        done = subprocess.run(words, capture_output=True, text=True)
        runs = re.search(r"executed_units: (\d+)", done.stderr)
        what = "found something" if done.returncode else "nothing"
        print(f"{name}: {what} in {runs[1] if runs else 'some'} inputs", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout[-3000:], done.stderr[-3000:])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
