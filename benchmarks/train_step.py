"""Time one whole training step of each model: batch selection, noise, forward, backward, Adam.

    python benchmarks/train_step.py --models mlp,conv,face --peers torch,jax,keras,numba --json FILE
    python benchmarks/train_step.py --avx2 ...
    python benchmarks/train_step.py --profile

Before anything is timed, one step from the same weights and noise must give the same loss in every
contender. Each runs in a process of its own, in turn, ``--repeats`` times. ``--profile`` prints
where the time of minivae's own step goes, operation by operation. ``--avx2`` keeps all libraries
from AVX-512, as on a machine that has none.
"""

import argparse
import json
import os
import sys
import time
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from _harness import environment, peak_memory_mib, percentiles, run_child, write_json
from _pages import markdown_table
from _step_contenders import AVX2_ONLY, CONTENDERS, PEERS, WORKLOADS

TOLERANCE = 1e-4  # relative, between first losses


def measure(contender, name):
    """Child process: milliseconds of each timed step, the first loss and the peak memory."""
    work = WORKLOADS[name]
    step = CONTENDERS[contender].make(work)
    first_loss = step(0)
    for i in range(1, 1 + max(2, work.steps // 10)):
        step(i)
    times = []
    for i in range(work.steps):
        start = time.perf_counter()
        step(100 + i)
        times.append(1e3 * (time.perf_counter() - start))
    return {"ms": times, "first_loss": first_loss, "peak_mib": peak_memory_mib()}


def compare(name, contenders, repeats):
    """Interleaved runs of every contender on one model."""
    contenders = [c for c in contenders if name in CONTENDERS[c].models]
    runs = {c: [] for c in contenders}
    for _ in range(repeats):
        for contender in contenders:
            environment = CONTENDERS[contender].environment
            runs[contender].append(run_child(__file__, "--child", contender, name, env=environment))
            first, expected = runs[contender][-1]["first_loss"], runs["minivae"][0]["first_loss"]
            if abs(first / expected - 1) > TOLERANCE:
                raise SystemExit(f"{name}: first loss of {contender} {first}, minivae {expected}")
    return {
        contender: {
            **percentiles(np.concatenate([run["ms"] for run in children])),
            "medians": [float(np.median(run["ms"])) for run in children],
            "peak_mib": max(run["peak_mib"] for run in children),
            "first_loss": children[0]["first_loss"],
        }
        for contender, children in runs.items()
    }


def table(record):
    """A record as a table."""
    rows = []
    for name, runs in record["models"].items():
        step = f"{WORKLOADS[name].model} b{WORKLOADS[name].batch}"
        for contender, r in runs.items():
            ratios = np.divide(runs["minivae"]["medians"], r["medians"])
            apart = f" ({ratios.min():.2f}-{ratios.max():.2f})" if len(ratios) > 1 else ""
            rows.append([
                step, contender, f"{r['median']:.1f} ({r['p20']:.1f}-{r['p80']:.1f})",
                f"{runs['minivae']['median'] / r['median']:.2f}{apart}"
                if contender != "minivae" else "",
                f"{r['peak_mib']:.0f}",
            ])  # fmt: skip
    header = ["step", "", "ms, median (p20-p80)", "minivae / this (runs)", "peak MiB"]
    env = record["environment"]
    versions = ", ".join(f"{k} {v}" for k, v in env.items() if k not in ("date", "cores", "cpu"))
    return markdown_table(header, rows) + f"\n\n{env['cpu']}, {env['cores']} cores, {versions}."


def plot(record, path):
    """Bars of milliseconds per step; a bar over four times minivae's is cut and shows its value."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    models = record["models"]
    figure, axes = plt.subplots(
        1, len(models), figsize=(3.4 * len(models), 3), layout="constrained", squeeze=False
    )
    for axis, (name, runs) in zip(axes[0], models.items(), strict=True):
        names = list(runs)
        medians = np.array([runs[c]["median"] for c in names])
        below, above = (
            abs(np.array([runs[c][p] for c in names]) - medians) for p in ("p20", "p80")
        )
        colours = ["C0" if c == "minivae" else "0.7" for c in names]
        axis.barh(names, medians, xerr=(below, above), color=colours, error_kw={"lw": 1})
        end = 1.2 * medians[medians <= 4 * runs["minivae"]["median"]].max()
        for y, ms in enumerate(medians):
            if ms < end:
                axis.text(ms, y, f" {ms:.3g}", va="bottom", fontsize=8)
            else:
                axis.text(end, y, f"{ms:.3g} → ", va="center", ha="right", fontsize=8)
        axis.invert_yaxis()
        axis.set_xlim(0, end)
        axis.set_title(f"{WORKLOADS[name].model}, batch {WORKLOADS[name].batch}", fontsize=10)
        axis.set_xlabel("ms per step")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def versions_of(peers):
    """The versions of the peers' packages; exits where one is not installed.

    Packages are looked up and not imported, because a child's peak memory starts at its parent's.
    """
    found = {}
    for peer in peers:
        try:
            found[peer] = version(peer)
        except PackageNotFoundError:
            raise SystemExit(f"--peers {peer}: not installed; pip install {peer}") from None
    return found


def main(argv=None):
    """Run the comparison, print the table, and write the requested files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="mlp,conv,face", help="models, comma-separated")
    parser.add_argument("--peers", default="torch", help="some of torch,jax,keras,numba, or empty")
    parser.add_argument("--repeats", type=int, default=3, help="processes of each contender")
    parser.add_argument("--avx2", action="store_true", help="let no library use AVX-512")
    parser.add_argument("--json", help="write the record here")
    parser.add_argument("--plot", help="draw the record here")
    parser.add_argument("--profile", action="store_true", help="print minivae's time by operation")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(measure(*args.child)))
        return
    if args.avx2:
        os.environ.update(AVX2_ONLY)
    models, peers = (list(filter(None, a.split(","))) for a in (args.models, args.peers))
    for option, given, known in (("models", models, WORKLOADS), ("peers", peers, PEERS)):
        if unknown := set(given) - set(known):
            parser.error(f"--{option}: expected some of {','.join(known)}, got {min(unknown)}")
    if args.profile:
        from _profile import profile

        for name in models:
            print(profile(WORKLOADS[name]), "\n")
        return
    record = {"environment": {**environment(), **versions_of(peers)}, "models": {}}
    record["environment"]["load"] = round(os.getloadavg()[0], 1)  # by others, before
    contenders = ["minivae", *(c for peer in peers for c in PEERS[peer])]
    for name in models:
        record["models"][name] = compare(name, contenders, args.repeats)
    print(table(record))
    if args.json:
        write_json(args.json, record)
    if args.plot:
        plot(record, args.plot)


if __name__ == "__main__":
    sys.exit(main())
