"""TensorBoardWriter: a run's losses as a TensorBoard event file, written without TensorBoard.

A file is a sequence of records: length (uint64), its checksum, the body, its checksum;
little-endian, each checksum a masked CRC-32C (RFC 3720, appendix B.4). A body is an ``Event`` in
the encoding of protocol buffers: key = field number * 8 + type, then a varint, 8 bytes, a length
and bytes, or 4 bytes for types 0, 1, 2 and 5.

    Event    wall_time = 1 (double), step = 2 (int64), file_version = 3 (string), summary = 5
    Summary  value = 1 (repeated)
    Value    tag = 1 (string), simple_value = 2 (float)
"""

import struct
import time

from ..atomic_write import open_no_link
from ..errors import OutputError
from . import metrics
from .metrics import Row
from .output_folder import OutputFolder

EVENTS = "events.out.tfevents.minivae"


class TensorBoardWriter:
    """A callback of ``Trainer`` that appends each row of metrics.csv as scalars of its step.

    ``tensorboard --logdir runs`` then shows every run below ``runs`` by its folder's name.

    Args:
        out: the run's ``OutputFolder``. The first epoch overwrites the file, later ones append. If
            a resumed run has no file, it begins with the rows of metrics.csv, without their times.
    """

    def __init__(self, out: OutputFolder):
        self.path, self.folder = out / EVENTS, out.path

    def __call__(self, row: Row) -> None:
        """Append a row.

        Raises:
            OutputError: the file cannot be written, or is a symbolic link.
        """
        now, rows = time.time(), [row]
        try:
            with open_no_link(self.path, create=True) as file:
                if row["epoch"] == 1:
                    file.truncate(0)
                elif not file.seek(0, 2):
                    rows = [*metrics.read(self.folder)[: row["epoch"] - 1], row]
                records = [event(now, r["step"], _scalars(r)) for r in rows]
                if not file.seek(0, 2):
                    records.insert(0, event(now, version="brain.Event:2"))
                file.write(b"".join(map(record, records)))
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{self.path}: cannot be written: {reason}") from error


def _scalars(row: Row) -> dict[str, float]:
    """The values of a row by their tags."""
    return {_tag(name): row[name] for name in row if name not in ("epoch", "step")}


def _tag(name: str) -> str:
    """ "train_loss" -> "loss/train", so that training and test share a diagram."""
    part, _, term = name.partition("_")
    return f"{term}/{part}" if part in ("train", "test") else name


def event(
    wall_time: float, step: int = 0, scalars: dict[str, float] | None = None, version: str = ""
) -> bytes:
    """The bytes of an ``Event``: the file's ``version``, or the ``scalars`` of a step.

    >>> event(1.0, version="brain.Event:2").hex(" ", 1)
    '09 00 00 00 00 00 00 f0 3f 1a 0d 62 72 61 69 6e 2e 45 76 65 6e 74 3a 32'
    """
    body = b"\x09" + struct.pack("<d", wall_time)
    if version:
        return body + _field(3, version.encode())
    values = (
        _field(1, name.encode()) + b"\x15" + struct.pack("<f", value)
        for name, value in (scalars or {}).items()
    )
    return body + b"\x10" + _varint(step) + _field(5, b"".join(_field(1, v) for v in values))


def record(body: bytes) -> bytes:
    """The bytes of one record of a file."""
    length = struct.pack("<Q", len(body))
    checksums = (struct.pack("<I", masked_crc32c(part)) for part in (length, body))
    return length + next(checksums) + body + next(checksums)


def _field(number: int, body: bytes) -> bytes:
    return bytes([number * 8 + 2]) + _varint(len(body)) + body


def _varint(n: int) -> bytes:
    """A varint: seven bits in each byte, the lowest first; the eighth is set if more follow."""
    found = []
    while n > 127:
        found.append(n % 128 + 128)
        n //= 128
    return bytes([*found, n])


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _crc_table()


def crc32c(body: bytes) -> int:
    """The CRC-32C of some bytes.

    >>> f"{crc32c(bytes(32)):08x}"
    '8a9136aa'
    """
    crc = 0xFFFFFFFF
    for byte in body:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def masked_crc32c(body: bytes) -> int:
    """The CRC-32C rotated right by 15 bits, plus a constant: the checksum in event files."""
    crc = crc32c(body)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
