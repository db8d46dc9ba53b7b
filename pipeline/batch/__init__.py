"""Many clips: what there is to do, who does it, what is done already, and what came of each.

discovery.py   which files are clips, by their content; what is refused, and why
task.py        one clip's task and its record (a row of the manifest)
store.py       the output folder: everything in it appears whole, or not at all
keys.py        what a result depends on, as one hash
people.py      whose clip each is, as a table or a folder says
queue.py       which task comes next: a person's clips wait for each other
codec.py       frozen dataclasses to JSON and back
stages.py      one clip: hash, extract, fuse, write; each stage kept apart, so that none runs twice
worker.py      a process that does tasks, and how it is talked to
local.py       the engine of this machine: worker processes
manifest.py    manifest.parquet and manifest.csv;  combined.py: one table of emotions over all clips
index.py       index.html, the manifest to look at
run.py         the whole batch
"""
