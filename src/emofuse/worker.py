"""`python -m emofuse.worker OUT JOB`: one worker of a batch, started and talked to by `pipeline/batch/local.py` and by nothing else."""

from __future__ import annotations

import sys

from emofuse import __version__
from emofuse.pipeline.batch.worker import serve

if __name__ == "__main__":

    def make() -> object:
        from emofuse.batch import AssemblySetup, Job

        return AssemblySetup(Job.from_json(sys.argv[2]))

    serve(make, sys.argv[1], version=__version__)  # type: ignore[arg-type]
