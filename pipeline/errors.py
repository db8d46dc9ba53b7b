"""Everything that emofuse raises on purpose.

    EmofuseError
    ├── UsageError          an invalid option or argument
    ├── ClipError           a clip that cannot be read as asked
    │   ├── NotMedia        no container that we accept (also: playlists, URLs, devices)
    │   ├── ClipChanged     the file was replaced or written to while it was read
    │   ├── ClipLimit       larger than a limit allows
    │   ├── NoStream        the stream asked for (audio, video) is not in the clip
    │   ├── DecodeCrashed   the decoding process died
    │   └── DecodeTimeout   the decoding process overran its time budget
    ├── StreamError         a stream that breaks the rules of TimedSequence
    ├── TranscriptError     a transcript file that cannot be read or aligned
    ├── FormatError         a file of another program that cannot be read, or cannot hold what is to be written
    ├── OutOfMemory         one item alone does not fit into memory (of a GPU, or of a worker)
    ├── OutputError         a place for results that cannot be written: no room, no right
    ├── WeightsError        weights that are missing, wrong, or not allowed to be fetched
    ├── CheckpointError     a checkpoint that does not fit the streams or its own description
    ├── DatasetError        data to train or test on that cannot be read as asked
    └── MetricError         truth and answers that cannot be compared

Each message is one line: what was expected, what came, where.
"""


class EmofuseError(Exception):
    """Root of all deliberate errors; the command line prints its message as one line and exits with 1."""


class UsageError(EmofuseError):
    """An invalid option or argument; the command line exits with 2."""


class ClipError(EmofuseError):
    """A clip that cannot be read as asked."""


class NotMedia(ClipError):
    """The file is not a local media container of a kind that emofuse accepts."""


class ClipChanged(ClipError):
    """The clip was replaced, or written to, while it was read."""


class ClipLimit(ClipError):
    """The clip is larger than one of its limits allows."""


class NoStream(ClipError):
    """The clip has no stream of the kind asked for."""


class DecodeCrashed(ClipError):
    """The decoding process died: a broken file met a bug in a codec, or its memory limit."""


class DecodeTimeout(ClipError):
    """The decoding process overran its time budget."""


class StreamError(EmofuseError):
    """A stream that breaks the rules of `TimedSequence`, or lacks what was asked of it."""


class TranscriptError(EmofuseError):
    """A transcript that cannot be read or cannot be aligned to the audio."""


class OutOfMemory(EmofuseError):
    """A piece of work that cannot be halved any more does not fit into memory."""


class FormatError(EmofuseError):
    """A file of another program that cannot be read, or a format that cannot hold what it is given."""


class OutputError(EmofuseError):
    """Results cannot be written where they are to go: no room on the disk, no right to write. No clip is to blame."""


class WeightsError(EmofuseError):
    """Model weights that are missing, wrong, or not allowed to be fetched."""


class CheckpointError(EmofuseError):
    """A fusion checkpoint that does not fit the streams, or its own description."""


class DatasetError(EmofuseError):
    """Data that cannot be read as asked: a missing key, a wrong dimension, an unknown label. One line naming it."""


class MetricError(EmofuseError):
    """Truth and answers that cannot be compared."""
