"""The path of the user's cache folder."""

import os
import sys
from pathlib import Path

from ..errors import DataError


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/minivae``, or ``~/.cache/minivae``.

    Raises:
        DataError: there is no home folder, as for a user that the system does not know.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # the XDG specification says to ignore relative paths
        return Path(base) / "minivae"
    home = os.path.expanduser("~") if sys.platform == "win32" else os.environ.get("HOME", "")
    if sys.platform != "win32" and not os.path.isabs(home):
        import pwd

        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            home = ""
    if not os.path.isabs(home):
        raise DataError("no cache folder: this user has no home; set XDG_CACHE_HOME to a folder")
    return Path(home) / ".cache" / "minivae"
