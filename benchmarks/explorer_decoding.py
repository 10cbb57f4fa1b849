"""Time one decoding in the explorer's page, in a real browser.

    python benchmarks/explorer_decoding.py

Needs Debian's chromium, found on the PATH, and playwright. Each model is trained briefly, which
writes its page; the page decodes one code again and again. The time is processor time of the page's
thread, as Chromium counts it. ``tables.py --write`` puts the table on docs/explorer.md.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from _harness import environment, percentiles, write_json
from _pages import ROOT, markdown_table

RECORD = ROOT / "benchmarks" / "results" / "explorer_decoding.json"
TRAINING = {
    "MLPVAE": ["mnist", "--limit", "500"],
    "ConvVAE, two latents": ["mnist", "--limit", "500", "--model", "conv", "--latent-dim", "2"],
}
DECODE = """async (n) => {
    const z = new Float64Array(explorer.run().latent_dim).fill(0.5);
    for (let i = 0; i < n; i++) await explorer.model().decode(z);
}"""


def page_of(options, folder):
    """The explorer's page that a short training writes."""
    command = [sys.executable, "-m", "minivae", "train", *options, "--epochs", "1", "--out", folder]
    subprocess.run(command, check=True, capture_output=True)
    return Path(folder) / "explorer.html"


def milliseconds(browser, page_file, repeats=20, decodings=10):
    """Percentiles of the milliseconds of one decoding."""
    page = browser.new_page()
    page.goto(page_file.as_uri())
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def seconds():
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in metrics if one["name"] == "TaskDuration")

    def spent():
        before = seconds()
        page.evaluate(DECODE, decodings)
        return 1000 * (seconds() - before) / decodings

    page.evaluate(DECODE, 20)  # until its code is compiled
    return percentiles([spent() for _ in range(repeats)])


def table(record):
    """A row for each model."""
    rows = [
        [name, f"{one['median']:.1f} ({one['p20']:.1f}-{one['p80']:.1f})"]
        for name, one in record["models"].items()
    ]
    text = markdown_table(["one decoding of", "ms, median (p20-p80)"], rows)
    return f"{text}\n\nChromium {record['chromium']} on {record['cpu']}."


def main(argv=None):
    """Time the models, write the record."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(argv)
    from playwright import sync_api  # here, because tables.py runs without playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        raise SystemExit("expected chromium on the PATH, found none")
    with sync_api.sync_playwright() as driver, tempfile.TemporaryDirectory() as scratch:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        version, models = browser.version, {}
        for name, options in TRAINING.items():
            models[name] = milliseconds(browser, page_of(options, f"{scratch}/{name.split()[0]}"))
            print(name, models[name], flush=True)
    write_json(RECORD, {**environment(), "chromium": version, "models": models})


if __name__ == "__main__":
    sys.exit(main())
