"""Draws the box diagrams of docs/models/: `python docs/pictures/models.py` writes model_NAME.svg beside itself.

Streams are sand, blocks blue, and what hands out an attention map or a gate is green. Coordinates are pixels; nothing is laid out for you.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

FILLS = {"stream": ("#7a4b00", "#fdf3e1"), "block": ("#1b4965", "#e8f1f5"), "map": ("#1f6b3a", "#e3f4e8"), "answer": ("#444444", "#f3f3f3")}
ARROW = (
    '<marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L10 5L0 10z" fill="#444"/></marker>'
)


@dataclass
class Picture:
    """Boxes by name, arrows between their sides ("l", "r", "t", "b"), and loose words."""

    title: str
    about: str
    width: int
    height: int
    boxes: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    shapes: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def box(self, name: str, kind: str, x: int, y: int, w: int, h: int, *text: str) -> None:
        """The first line is bold."""
        stroke, fill = FILLS[kind]
        self.boxes[name] = (x, y, w, h)
        self.shapes.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" stroke="{stroke}" stroke-width="1.5" fill="{fill}"/>')
        top = y + h / 2 - 8.5 * (len(text) - 1) + 5
        for i, line in enumerate(text):
            bold = ' font-weight="bold"' if i == 0 else ' font-size="12"'
            self.words.append(f'<text x="{x + w / 2:g}" y="{top + 17 * i:g}"{bold}>{escape(line)}</text>')

    def at(self, place: str) -> tuple[float, float, str]:
        """ "text.r" is the middle of the right side of the box text; "text.r+8" 8 pixels along that side from its middle."""
        name, side = place.split(".")
        x, y, w, h = self.boxes[name]
        along = int(side[1:] or 0)
        ends = {"l": (x, y + h / 2 + along), "r": (x + w, y + h / 2 + along), "t": (x + w / 2 + along, y), "b": (x + w / 2 + along, y + h)}
        return (*ends[side[0]], side[0])

    def arrow(self, start: str, end: str, dashed: bool = False) -> None:
        """A straight line, or a curve that leaves and enters at right angles to the sides."""
        (x1, y1, s1), (x2, y2, s2) = self.at(start), self.at(end)
        pull = max(24.0, (abs(x2 - x1) + abs(y2 - y1)) * 0.35)
        out = {"l": (-pull, 0.0), "r": (pull, 0.0), "t": (0.0, -pull), "b": (0.0, pull)}
        if (x1 == x2 and s1 in "tb") or (y1 == y2 and s1 in "lr" and s1 != s2):
            path = f"M{x1:g} {y1:g} L{x2:g} {y2:g}"
        else:
            (a, b), (c, d) = out[s1], out[s2]
            path = f"M{x1:g} {y1:g} C{x1 + a:g} {y1 + b:g} {x2 + c:g} {y2 + d:g} {x2:g} {y2:g}"
        self.lines.append(f'<path d="{path}"' + (' stroke-dasharray="5 4"' if dashed else "") + "/>")

    def note(self, x: int, y: int, text: str, anchor: str = "middle") -> None:
        self.words.append(f'<text x="{x}" y="{y}" font-size="12" fill="#555" text-anchor="{anchor}">{escape(text)}</text>')

    def svg(self) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" font-family="Helvetica, Arial, sans-serif"'
        )
        return "\n".join(
            [
                f'{head} font-size="14" role="img" aria-labelledby="t d">',
                f'  <title id="t">{escape(self.title)}</title>',
                f'  <desc id="d">{escape(self.about)}</desc>',
                f"  <defs>{ARROW}</defs>",
                f'  <rect width="{self.width}" height="{self.height}" fill="#ffffff"/>',
                *(f"  {shape}" for shape in self.shapes),
                '  <g fill="none" stroke="#444" stroke-width="1.5" marker-end="url(#a)">',
                *(f"    {line}" for line in self.lines),
                "  </g>",
                '  <g text-anchor="middle" fill="#111">',
                *(f"    {word}" for word in self.words),
                "  </g>",
                "</svg>",
                "",
            ]
        )


STREAMS = (("text", "one row per word"), ("face", "one row per frame"), ("voice", "100 rows a s"))


def mult() -> Picture:
    p = Picture(
        "MulT",
        "Each stream passes a convolution. For each target stream one stack of crossmodal layers looks at each other stream; the results "
        "are joined along features, pass a self-attention stack, and their means are joined into the head.",
        920,
        400,
    )
    others = {"text": ("face", "voice"), "face": ("text", "voice"), "voice": ("text", "face")}
    for i, (name, rate) in enumerate(STREAMS):
        y = 30 + 125 * i
        p.box(name, "stream", 20, y + 10, 120, 60, name, rate)
        p.box(f"conv{i}", "block", 170, y + 15, 90, 50, "conv", "+ seconds")
        for k, other in enumerate(others[name]):
            p.box(f"cross{i}{k}", "map", 340, y + 44 * k, 190, 36, f"{name} ← {other}")
        p.box(f"self{i}", "block", 580, y + 10, 160, 60, "self-attention", "of both, side by side")
        p.arrow(f"{name}.r", f"conv{i}.l")
        for k in range(2):
            p.arrow(f"conv{i}.r", f"cross{i}{k}.l")
            p.arrow(f"cross{i}{k}.r", f"self{i}.l")
    p.box("head", "answer", 795, 165, 100, 60, "head", "logits")
    for i in range(3):
        p.arrow(f"self{i}.r", "head.l")
    p.note(435, 392, "crossmodal layers: queries from the target, keys and values from the source's conv rows, at every depth")
    p.note(845, 250, "of means over rows")
    return p


def pmr() -> Picture:
    p = Picture(
        "PMR",
        "A hub holds all streams joined in time. In each layer every stream is reinforced by the hub, then every stream reinforces its own "
        "version of the hub, and the versions are weighed into the next hub. At the end an encoder reads hub and streams.",
        920,
        420,
    )
    p.box("hub", "block", 40, 115, 590, 44, "hub: text, face, voice joined in time")
    p.box("weigh", "map", 40, 360, 590, 44, "branch weights: one number a version; their sum is the next hub")
    for i, (name, rate) in enumerate(STREAMS):
        x = 40 + 210 * i
        p.box(name, "stream", x, 20, 170, 56, name, rate)
        p.box(f"into{i}", "map", x, 195, 170, 56, f"{name} ← hub", "gate: own or hub's")
        p.box(f"back{i}", "map", x, 285, 170, 56, f"hub ← {name}", "gate: own or stream's")
        p.lines.append(f'<path d="M{x + 85} 76 V115"/>')
        p.lines.append(f'<path d="M{x + 85} 159 V195"/>')
        p.arrow(f"into{i}.b", f"back{i}.t")
        p.lines.append(f'<path d="M{x + 85} 341 V360"/>')
    p.lines.append('<path d="M630 382 H672 V137 H630" stroke-dasharray="5 4"/>')
    p.note(680, 180, "next layer", "start")
    p.note(760, 50, "queries come from the target:")
    p.note(760, 67, "the stream, then the hub")
    p.box("end", "block", 745, 330, 155, 60, "encoder", "hub and streams")
    p.box("head", "answer", 745, 215, 155, 60, "mean, head", "logits")
    p.lines.append('<path d="M672 370 H745"/>')
    p.arrow("end.t", "head.b")
    return p


def mcr() -> Picture:
    p = Picture(
        "MCR",
        "For each target stream a mutual unit looks at both other streams, each source's keys helped by the other's; a source unit looks "
        "at both sources joined in time and at the target itself; their sum is the next target. The sources are updated by gates from the "
        "target rows of the same stream. At the end an encoder reads the three targets.",
        920,
        370,
    )
    p.box("target", "stream", 20, 150, 130, 60, "target", "text, say")
    p.box("s1", "stream", 20, 30, 130, 60, "source 1", "face")
    p.box("s2", "stream", 20, 270, 130, 60, "source 2", "voice")
    p.box(
        "mutual",
        "map",
        270,
        50,
        230,
        84,
        "mutual unit",
        "target ← source 1, helped by 2",
        "target ← source 2, helped by 1",
        "alpha: which source rows",
    )
    p.box(
        "source", "map", 270, 220, 230, 84, "source unit", "target ← sources joined in time", "target ← itself", "gamma: sources or itself"
    )
    p.arrow("target.r", "mutual.l")
    p.arrow("target.r", "source.l")
    p.arrow("s1.r", "mutual.l-20")
    p.arrow("s1.r+10", "source.l-20")
    p.arrow("s2.r-10", "mutual.l+20")
    p.arrow("s2.r", "source.l+20")
    p.box("sum", "block", 550, 155, 100, 50, "sum", "next target")
    p.arrow("mutual.r", "sum.t")
    p.arrow("source.r", "sum.b")
    p.box("update", "map", 540, 272, 200, 54, "update of the sources", "gates mu and phi")
    p.arrow("sum.b+40", "update.t")
    p.lines.append('<path d="M640 326 V352 H85 V330" stroke-dasharray="5 4"/>')
    p.box("end", "block", 680, 150, 110, 60, "encoder", "of all targets")
    p.box("head", "answer", 808, 150, 102, 60, "mean, head", "logits")
    p.arrow("sum.r", "end.l")
    p.arrow("end.r", "head.l")
    p.note(400, 20, "one layer, one target; the two other targets are made in the same way")
    p.note(335, 346, "the next layer's sources")
    return p


def delta() -> Picture:
    p = Picture(
        "Hierarchical delta-attention",
        "Each stream passes a convolution and attends to itself with a bias by change; a small encoder, trained by DCCA, brings it to a "
        "common width, with a skip past it; the streams are joined in time and one attention reads them all.",
        920,
        360,
    )
    for i, (name, rate) in enumerate(STREAMS):
        y = 30 + 105 * i
        p.box(name, "stream", 20, y, 120, 60, name, rate)
        p.box(f"self{i}", "map", 190, y, 180, 60, f"{name} ← {name}", "conv, then attention with", "a bias by change")
        p.box(f"encode{i}", "block", 425, y + 4, 130, 52, "encoder", "two convolutions")
        p.arrow(f"{name}.r", f"self{i}.l")
        p.arrow(f"self{i}.r", f"encode{i}.l")
    p.box("join", "map", 610, 125, 160, 80, "all ← all", "streams joined in time,", "one attention")
    p.box("head", "answer", 795, 135, 112, 60, "mean, linear", "logits")
    for i in range(3):
        p.arrow(f"encode{i}.r", "join.l")
    p.arrow("join.r", "head.l")
    p.note(490, 112, "skip past each encoder")
    p.note(490, 345, "DCCA: the three streams' encodings should correlate")
    return p


def rrnn() -> Picture:
    p = Picture(
        "RRNN",
        "Each stream passes its own bidirectional LSTM. A memory, at first the sum of the streams' means, looks at each stream: one "
        "softmax over time and one context each. Gates decide what enters the memory. This is repeated, hop after hop; the last memory is "
        "decoded.",
        920,
        360,
    )
    for i, (name, rate) in enumerate(STREAMS):
        y = 30 + 105 * i
        p.box(name, "stream", 20, y, 120, 60, name, rate)
        p.box(f"lstm{i}", "block", 180, y + 5, 90, 50, "BiLSTM")
        p.box(f"look{i}", "map", 330, y, 170, 60, f"memory ← {name}", "a softmax over time,", "a gated context")
        p.arrow(f"{name}.r", f"lstm{i}.l")
        p.arrow(f"lstm{i}.r", f"look{i}.l")
    p.box("update", "map", 550, 125, 156, 80, "update", "gates: how much of", "each context, how", "much of the memory")
    p.box("memory", "block", 563, 262, 130, 56, "memory", "hop 1, 2, 3")
    p.box("head", "answer", 780, 135, 120, 60, "decoder", "logits")
    for i in range(3):
        p.arrow(f"look{i}.r", "update.l")
    p.arrow("update.b", "memory.t")
    for way in ("M563 290 H525 V315 H305 V75 H330", "M305 180 H330", "M305 283 H330"):
        p.lines.append(f'<path d="{way}" stroke-dasharray="5 4"/>')
    p.arrow("update.r", "head.l")
    p.note(415, 335, "the memory looks again: the next hop")
    return p


PICTURES = {"mult": mult, "pmr": pmr, "mcr": mcr, "delta": delta, "rrnn": rrnn}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        Path(__file__).with_name(f"model_{name}.svg").write_text(draw().svg(), encoding="utf-8")
