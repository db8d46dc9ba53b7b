"""`--help` in sections: a command with thirty options lists them by what they are about."""

from __future__ import annotations

from collections.abc import Mapping

import click

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Streams": (
        "words",
        "text",
        "face",
        "voice",
        "speakers",
        "language",
        "acoustic_model",
        "tier",
        "audio_track",
        "face_id",
        "align",
        "baseline",
        "people",
    ),
    "Model": ("model", "prior", "device", "influence"),
    "Results": ("out", "report", "overlay", "formats", "as_json", "profile"),
    "Folders": ("workers", "retry_failed", "force", "dry_run", "limit", "shard", "follow_links", "engine", "address", "json_lines"),
    "Limits and network": ("offline", "timeout", "memory"),
}
"""Title -> parameters. An option that is in no section is listed under "Other options"."""


class SectionedCommand(click.Command):
    """A command whose help groups its options by `SECTIONS`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = {parameter.name or "": parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)}
        listed = {name for names in SECTIONS.values() for name in names}
        others = tuple(name for name in options if name not in listed)
        for title, names in (*SECTIONS.items(), ("Other options", others)):
            records = [options[name].get_help_record(ctx) for name in names if name in options]
            if shown := [record for record in records if record is not None]:
                with formatter.section(title):
                    formatter.write_dl(shown)
