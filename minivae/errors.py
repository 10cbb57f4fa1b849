"""The errors minivae raises by name. Wrong arguments raise TypeError or ValueError as usual."""


class MinivaeError(Exception):
    """Base class of all errors that this package defines."""


class GradientError(MinivaeError):
    """backward() cannot run, or a gradient failed its check."""


class DataError(MinivaeError):
    """A data file or folder cannot be used; the message says what was expected and got."""


class CheckpointError(MinivaeError):
    """A checkpoint cannot be read or written; the model and the optimiser are unchanged."""


class KernelUnavailable(MinivaeError):  # noqa: N818  the public contract
    """A kernel variant was asked for that cannot run here; the message says why."""


class NonFiniteError(MinivaeError):
    """A loss, weight, gradient or activation is NaN or infinite; the message names the first."""


class DeviceMemoryError(MinivaeError):
    """A GPU has no memory left; the message names the allocation, its size and what to reduce."""


class ParallelError(MinivaeError):
    """Processes cannot work together, or a batch cannot be cut into as many parts as asked."""


class OutputError(MinivaeError):
    """An output folder is in use by another process, or cannot be written to."""
