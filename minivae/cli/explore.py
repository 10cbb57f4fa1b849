"""``minivae explore``: write or serve an HTML page that shows a run interactively."""

import sys
import webbrowser
from pathlib import Path

from .. import explore
from ..errors import DataError, OutputError
from ..evaluation import TrainedModel
from ..training import loaded_run, metrics
from ..training.loaded_run import Config
from ..training.run_files import CHECKPOINT, PREVIOUS
from .options import DATA_OF_RUN, Parser, checkpoint_of, reported, whole_number, write_result

PAGE = "explorer.html"


def parser() -> Parser:
    """The command line."""
    p = Parser(prog="minivae explore", description="Play with a trained model: drag "
               "latents, draw a digit, edit a face, see the loss move.")  # fmt: skip
    add = p.add_argument
    add("run", metavar="RUN", help=f"output folder of a training run, or its {CHECKPOINT}")
    add("--out", metavar="FILE",
        help=f"the page; if not given, {PAGE} in the run's folder, or NAME.html beside another "
        "checkpoint NAME.safetensors")  # fmt: skip
    add("--images", type=whole_number(0, 10_000), metavar="N",
        help=f"test pictures to embed; if not given, {explore.DIGITS} of MNIST, {explore.FACES} "
        "drawn faces, and none of a set of your own")  # fmt: skip
    add("--data", metavar="DIR", help=DATA_OF_RUN)
    add("--serve", nargs="?", type=whole_number(0, 65535), const=0, metavar="PORT",
        help="serve the page to this machine, to see a training run live; any free port if none "
        "is given")  # fmt: skip
    add("--no-browser", action="store_true", help="do not open the page")
    return p


@reported
def main(argv: list[str] | None = None) -> None:
    """Write the page, then open or serve it."""
    args = parser().parse_args(argv)
    path = checkpoint_of(args.run)
    no_metrics: set[str] = set()

    def read() -> tuple[TrainedModel, explore.Contents]:
        """(subject, contents) from the current files of the run."""
        subject, config = loaded(path, args.data)
        explore.require_explorable(subject.model)
        try:
            if path.name == PREVIOUS:
                raise DataError(f"{path}: of an earlier run than {metrics.METRICS}")
            rows = metrics.read(path.parent)
        except DataError as error:
            rows = []
            if str(error) not in no_metrics:  # printed once, though a served run is read often
                print(f"{error}; the page has no curves", file=sys.stderr)
                no_metrics.add(str(error))
        return subject, explore.contents(subject, config, rows, images=args.images)

    live = explore.LiveRun([path, path.with_name(metrics.METRICS)], read)
    page = path.with_name(PAGE) if path.name == CHECKPOINT else path.with_suffix(".html")
    out = Path(args.out or page)
    # A symbolic link in the run's folder is replaced; one named by --out is followed.
    write_result(out, explore.page(live.contents), follow_link=bool(args.out))
    print(f"wrote {out}")
    parameters = live.contents["about"]["parameters"]
    if live.contents["model"] is None and args.serve is None:
        print(f"{parameters:,} parameters are more than the {explore.MOST_PARAMETERS:,} that a "
              "page holds; serving it, so that its pictures are decoded here")  # fmt: skip
        args.serve = 0
    if args.serve is not None:
        serve(live, args.serve, browser=not args.no_browser)
    elif not args.no_browser:
        webbrowser.open(out.resolve().as_uri())


def loaded(path: Path, data: str | None = None) -> tuple[TrainedModel, Config]:
    """(subject, configuration) of the checkpoint ``path``, with the images of its run."""
    _, config = loaded_run.load_model(path)
    return loaded_run.load(path, data), config


def serve(live: explore.LiveRun, port: int, *, browser: bool) -> None:
    """Serve until Ctrl-C.

    Raises:
        OutputError: the port is taken.
    """
    try:
        server = explore.RunServer(live, port)
    except OSError as error:
        raise OutputError(f"port {port}: {error.strerror}") from error
    with server:
        print(f"serving {server.url}\nstop with Ctrl-C", flush=True)
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")
