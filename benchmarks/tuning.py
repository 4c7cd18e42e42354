"""The gain from tuning: the default settings compared with those found by `landmarks tune`.

Run `python benchmarks/tuning.py DATA --method scratch|transfer`, DATA being an image folder such as landmarks10. A
study of `--trials` trials searches on validation images; then both settings train with each of the seeds (another
split, other views, other weights), and all are evaluated on the test split, which the study never read. Everything
is done by the commands `landmarks tune` and `landmarks train`; finished runs in `--out` are not repeated.
`--epochs` sets the number of epochs of every run, with both settings.

`--keep` leaves settings out of the search (`--keep backbone,crop-scale` embeds the images once for each seed).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from record import record, table
from scipy.stats import ttest_1samp

from landmarks.training.config.presets import differences, load_preset
from landmarks.training.runs.experiments import Pairs, compare_runs

TITLES = {"scratch": "Tuning from scratch", "transfer": "Tuning transfer learning"}

CALL = """
import sys
from landmarks.training.tuning import search_space
from landmarks.cli import main
keep = sys.argv.pop(1).split(",")
spaces = {kind: tuple(one for one in space if one.name not in keep) for kind, space in search_space.SPACES.items()}
search_space.SPACES = spaces
sys.exit(main(sys.argv[1:]))
"""
"""The command line with a smaller search space."""


def landmarks(*words: object, keep: str = "") -> None:
    command = [sys.executable, "-c", CALL, keep, *map(str, words)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def accuracy(run: Path, split: str) -> float:
    return float(json.loads((run / f"metrics_{split}.json").read_text())["top1"]["value"])


def notes(given: argparse.Namespace, gains: list[float], sums: list[int], preset: Path) -> str:
    """The table over all seeds, and the settings that were found."""
    interval = ttest_1samp(gains, 0).confidence_interval()
    half = (interval.high - interval.low) / 2
    summed = Pairs(*sums)
    sections = differences(load_preset(str(preset), given.data)).values()
    found = [
        f"`{key} = {value:.3g}`" if isinstance(value, float) else f"`{key} = {value}`"
        for section in sections
        for key, value in section.items()
    ]
    better = sum(gain > 0 for gain in gains)
    return (
        f"Mean gain on test {statistics.mean(gains):+.4f}, 95 % interval of the mean {half:.4f} to both sides "
        f"(Student's t over the seeds); tuned is better with {better} of {len(gains)} seeds. Over all seeds "
        f"{summed.second} answers are right in tuned alone and {summed.first} in usual alone (the same test "
        f"pictures each time, so no test is made of the sum).\n\nFound: {', '.join(found)}. {given.trials} trials "
        f"with seed 0, sought by validation {given.metric}."
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--method", choices=("scratch", "transfer"), default="transfer")
    parser.add_argument("--out", type=Path, default=Path("runs/tuning"))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limit", type=int, help="training pictures")
    parser.add_argument("--metric", default="accuracy")
    parser.add_argument("--keep", default="", help="settings that are not tuned")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    given = parse()
    common: list[object] = ["--threads", given.threads]
    common += ["--limit", given.limit] if given.limit else []
    common += ["--epochs", given.epochs] if given.epochs else []
    common += ["--cache", given.cache] if given.cache else []
    study = given.out / "study"
    words = ["--method", given.method, "--trials", given.trials, "--metric", given.metric, "--out", study]
    landmarks("tune", given.data, *words, *common, keep=given.keep)
    preset = study / "best.toml"
    ways: dict[str, list[object]] = {"usual": ["--method", given.method], "tuned": ["--preset", preset]}
    rows, sums, gains = [], [0, 0, 0, 0], []
    for seed in range(given.seeds):
        runs = {way: given.out / f"{way}-{seed}" for way in ways}
        for way, flags in ways.items():
            if not (runs[way] / "metrics_test.json").is_file():
                landmarks("train", given.data, "--out", runs[way], "--seed", seed, *flags, *common)
        pairs = compare_runs(runs["usual"], runs["tuned"]).pairs
        reached = [accuracy(run, split) for split in ("valid", "test") for run in runs.values()]
        gains.append(reached[3] - reached[2])
        counts = (pairs.both, pairs.first, pairs.second, pairs.neither)
        sums = [one + other for one, other in zip(sums, counts, strict=True)]
        shown = [f"{share:.4f}" for share in reached]
        rows.append([seed, *shown, f"{gains[-1]:+.4f}", pairs.first, pairs.second, f"{pairs.p_value:.2g}"])
    header = ["seed", "valid, usual", "valid, tuned", "test, usual", "test, tuned", "gain"]
    header += ["right in usual alone", "right in tuned alone", "p (McNemar, mid-p)"]
    flags_given = {
        "method": given.method,
        "epochs": given.epochs,
        "limit": given.limit,
        "trials": given.trials,
        "seeds": given.seeds,
        "keep": given.keep,
    }
    command = "python benchmarks/tuning.py DATA " + " ".join(f"--{k} {v}" for k, v in flags_given.items() if v)
    body = f"{given.data.name}.\n\n" + table(header, rows) + "\n\n" + notes(given, gains, sums, preset)
    record(f"tuning-{given.method}", TITLES[given.method], command, body, ["torch", "optuna", "onnxruntime"])


if __name__ == "__main__":
    main()
