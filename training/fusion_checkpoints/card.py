"""What a shipped checkpoint says of itself to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCORES = ("utterances", "accuracy", "uar", "macro_f1", "weighted_f1", "majority", "ece", "ece_of_luck")


def paper_of(recipe: Mapping[str, Any]) -> str:
    """Which part of which paper a checkpoint holds."""
    config, stages = recipe["config"], recipe.get("stages")
    layers, deep = config.get("layers", 1), config.get("layers", 1) > 1
    match recipe["model"]:
        case "mult":
            memory = config["memory_layers"]
            return f"Tsai et al. 2019: crossmodal attention between every two streams ({layers} layers), then memory attention ({memory})"
        case "pmr":
            return "Lv et al. 2021: " + (
                f"{layers} rounds in which streams read the hub and the hub reads the streams; branch attention is pooled"
                if deep
                else "one round: the hub is written once and no stream reads it again (the paper has several); branch attention is pooled"
            )
        case "mcr":
            return "Yang et al. 2023: " + (
                f"CMU and SCU in {layers} layers, with SUM (equations 12 to 16) between them"
                if deep
                else "CMU and SCU in one layer; SUM (equations 12 to 16), which stands between layers, is not in it"
            )
        case "rrnn":
            gates = "without gates" if config.get("gates") is False else "with its gates"
            return f"Beard et al. 2018: BiLSTMs and {config['hops']} recursive attention hops, {gates}"
        case _:
            return "Panchal 2020: delta-attention of each stream and one attention over all; " + (
                f"trained in stages: streams alone ({stages['streams']} steps), encoders by DCCA ({stages['encoders']}), then all weights"
                if stages
                else "trained as a whole, without its stages and without DCCA"
            )


def card(facts: Mapping[str, Any], numbers: Mapping[str, Any]) -> dict[str, Any]:
    """`facts`: of the training; `numbers`: split -> set -> scores."""
    voices, photographs, texts = facts["voices"], facts["photographs"], facts["texts"]
    clips, actors = voices["train"] // voices["copies"], ", ".join(map(str, facts["recipe"]["valid"]))
    second = facts.get("emodb_clips", 0)
    return {
        "training_data": {
            "RAVDESS speech, EmoDB" if second else "RAVDESS speech, 16 of 20 actors": (
                f"{clips} clips{f' ({second} of EmoDB, free for research)' if second else ''} and "
                f"{voices['train'] - clips} distorted copies, calm counted as neutral; {voices['valid']} clips of actors {actors} "
                "validate; CC BY-NC-SA 4.0"
            ),
            "FER2013 train split and web photographs": (
                f"{photographs['train']} photographs, {facts['photographs_new_to_the_face_network']} of them new to the face network; made "
                "to move; research use"
            ),
            "GoEmotions (Ekman grouping), train split": f"{texts['goemotions']} comments with one label, as evenly as it goes; Apache-2.0",
            "MELD, train split, transcripts only": f"{texts['meld']} utterances, as evenly as it goes; GPL-3.0",
            "CMU-MOSI, train split, transcripts only": f"{texts['mosi']} sentences, for sentiment; research use; nothing else is read",
            "text embeddings": facts.get("text_encoder", "all-MiniLM-L6-v2 (Apache-2.0); not part of this file"),
        },
        "paper": paper_of(facts["recipe"]),
        "licence": "weights: CC BY-NC-SA 4.0, following the strictest of the data (RAVDESS, FER2013: no commercial use)",
        "splits": "voices by actor; photographs by the hash of their pixels, as the face network's; texts as published",
        "prior": "labels were drawn evenly: the probabilities take each of the seven emotions to be as likely as another",
        "numbers": {**numbers, **facts},
        "intended_use": "research and demonstration on clips of one person speaking to a camera, with the person's consent",
        "must_not_be_used_for": [
            "inferring emotions at work or in education (forbidden in the EU by the AI Act, article 5(1)(f))",
            "hiring, policing, border control, insurance, diagnosis, or any decision about a person",
            "claims about what somebody feels: it says what actors and labellers meant, on average",
        ],
        "limits": [
            "utterances were composed of one person's voice, another's face and a third's words: how they go together in time was not "
            "learned from nature, and calibration holds for composed utterances",
            "voice: acted; two English and ten German sentences, two studios; other microphones were only imitated",
            "face: labelled photographs made to move; talking faces often look neutral to the face network",
            "text: English comments and television dialogue; words that the recogniser is unsure of do not count",
            "sentiment without words rests on a composition by sign and was not measured on real speech",
            "children, old age, accents, other languages, telephones: not measured",
        ],
    }


def markdown(name: str, description: Mapping[str, Any]) -> str:
    """The card of a checkpoint's description (its JSON) as a page."""
    about = description["card"]
    numbers = about["numbers"]
    recipe = numbers.get("recipe", {})
    lines = [
        f"# `{name}`: model card",
        "",
        "Written by `python -m training.fusion_checkpoints --cards`; the same is in the checkpoint's JSON.",
        "",
    ]
    lines += [
        *([f"What of the paper is in it: {about['paper']}.", ""] if "paper" in about else []),
        f"Licence: {about['licence']}.",
        "",
        f"Model: {description['model']}, {numbers.get('step')} of {recipe.get('steps')} steps of {recipe.get('batch')} utterances, seed "
        f"{recipe.get('seed')}, {numbers.get('cpu_seconds')} seconds of one core. Prior: {about['prior']}.",
    ]
    lines += ["", f"Weights' SHA-256: `{description['safetensors_sha256']}`.", "", "## Data", "", "| data | what; terms |", "|---|---|"]
    lines += [f"| {source} | {what} |" for source, what in about["training_data"].items()]
    lines += ["", f"Splits: {about['splits']}.", ""]
    for split in ("validation", "test"):
        if split in numbers:
            lines += [f"## Numbers, {split}", "", *table(numbers[split]), ""]
    temperatures = ", ".join(f"{subset} {t:.2f}" for subset, t in description["temperatures"].items())
    lines += [f"Temperatures, fitted on validation: {temperatures}.", "", "## Intended use", "", about["intended_use"] + ".", ""]
    lines += ["## Must not be used for", "", *(f"* {what}" for what in about["must_not_be_used_for"]), ""]
    return "\n".join([*lines, "## Known failures and limits", "", *(f"* {what}" for what in about["limits"]), ""])


def table(sets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Scores of sets, in per cent; UAR with its 95 % interval."""
    lines = ["| streams | " + " | ".join(SCORES) + " |", "|---" * (len(SCORES) + 1) + "|"]
    for name, scores in sets.items():
        if "uar" not in scores:
            continue
        shown = [str(scores["utterances"])]
        for key in SCORES[1:]:
            between = f" ({100 * scores['uar_low']:.1f} to {100 * scores['uar_high']:.1f})" if key == "uar" else ""
            shown.append(f"{100 * scores[key]:.1f}{between}")
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    if looks := sets.get("attention"):
        lines += ["", "Attention on evidence whose place is known, in composed utterances of three streams (evidence.py):", ""]
        lines += ["| stream | utterances | times its even share | brief | longer | among the two highest | perplexity | border |"]
        lines += ["|---" * 8 + "|"]
        keys = ("utterances", "times_even", "brief", "longer", "top_two", "perplexity", "border")
        lines += [f"| {stream} | " + " | ".join(f"{scores[key]:g}" for key in keys) + " |" for stream, scores in looks.items()]
    if rests := sets.get("influence"):
        lines += [
            "",
            "Influence in the same utterances (occlusion.py): how often a part on the evidence has the highest of its stream, how far the",
            "answer's probability falls without the 20 % most influential rows, and without 20 % drawn at random:",
            "",
        ]
        lines += ["| stream | utterances | highest on the evidence | fall without the top 20 % | without a random 20 % |", "|---" * 5 + "|"]
        lines += [
            f"| {stream} | {rest['utterances']} | {_or_blank(rest['highest'])} | {rest['top']:g} | {rest['random']:g} |"
            for stream, rest in rests.items()
        ]
    if mosi := sets.get("sentiment, mosi"):
        shown = [f"Acc2 (non-zero) {100 * mosi['acc2_non_zero']:.1f}", f"Acc7 {100 * mosi['acc7']:.1f}", f"MAE {mosi['mae']:.3f}"]
        lines += ["", f"Sentiment, CMU-MOSI, words alone: {', '.join(shown)}, r {mosi['corr']:.3f}."]
    return lines


def _or_blank(value: object) -> str:
    return "" if value is None else str(value)
