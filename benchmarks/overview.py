"""README's two tables: every system with what was measured of it, and the measured peers beside it."""

from __future__ import annotations

from typing import Any

from cells import MODELS, RESULTS, count_of, machine, results, table

DASH = "-"


def ships(name: str) -> bool:
    """Whether weights of that name are in models/."""
    return (MODELS / name / "model.safetensors").is_file()


def found(name: str) -> dict[str, Any] | None:
    """The results of a benchmark, None where it has not been run."""
    return results(name) if (RESULTS / f"{name}.json").is_file() else None


def times(rtf: float, threads: int) -> str:
    """A real-time factor as a speed."""
    return f"{1 / rtf:.0f}x ({threads} thread{'s' * (threads > 1)})"


def summary(source: dict[str, Any], condition: str) -> dict[str, Any]:
    """Summary of the condition of that name. Raises KeyError."""
    by_name = {entry["condition"]: entry["summary"] for entry in source["conditions"]}
    return by_name[condition]


def voice(quality: str, speed: str, condition: str) -> tuple[str, str]:
    """Quality and speed of a voice."""
    heldout, warm = results(quality)["heldout"], results(speed)
    said, recorded = (summary(heldout, name)["cer"]["value"] for name in (condition, "recording"))
    cer = f"CER {said:.3f} on held-out prompts (recordings {recorded:.3f})"
    return cer, times(warm["warm"]["audiogen"]["rtf"], warm["context"]["threads"])


def enhancer() -> tuple[str, str]:
    """Quality and speed of the shipped enhancer at its default."""
    source = results("quality_enhance")
    before, after = (summary(source, name) for name in ("noisy", "StoRM, 8 steps"))
    parts = [
        f"{label} {before[key]['value']:{form}} to {after[key]['value']:{form}}"
        for key, label, form in (("pesq_wb", "PESQ", ".2f"), ("si_sdr_db", "SI-SDR", ".1f"))
    ]
    return f"{', '.join(parts)} dB", times(after["rtf"]["value"], source["context"]["threads"])


def vocoders() -> tuple[str, str]:
    """Quality and speed of the vocoder of speech."""
    pesq = results("quality_vocoder")["speech"]["vocos-16k"]["all"]["pesq_wb"]
    speed = results("speed_vocoder")
    return f"PESQ {pesq:.2f} on copies of held-out recordings", times(
        speed["vocoders"]["vocos-16k, whole"]["rtf"], speed["context"]["threads"]
    )


def converter() -> tuple[str, str]:
    """Quality and speed of the converter at its default, dashes before it was measured."""
    source = found("quality_convert")
    if source is None:
        return DASH, DASH
    told = {entry["condition"]: entry["summary"] for entry in source["conditions"]}[
        source["context"]["default"]
    ]
    rtf = told["rtf"]["value"] if isinstance(told["rtf"], dict) else told["rtf"]
    likeness = f"{100 * told['nearer']['value']:.0f} % nearer to the target's voice than to the source's"
    return likeness, times(rtf, source["context"]["threads"])


def composer() -> tuple[str, str]:
    """How music follows its caption, and its speed, at the most steps of both; dashes before that."""
    quality, speed = found("quality_music"), found("speed_music")
    if quality is None or speed is None:
        return DASH, DASH
    steps = max({row["steps"] for row in speed["speeds"]} & set(measured_steps(quality)))
    row = next(row for row in speed["speeds"] if row["steps"] == steps)
    music = quality["sources"][count_of(steps, "step")]
    fits, chance = (
        ", ".join(f"{100 * music[kind][measure]['value']:.0f}" for measure in ("family", "tempo", "key"))
        for kind in ("fits", "chance")
    )
    told = f"the caption's instruments, tempo, key in {fits} % (by chance {chance} %), "
    return told + count_of(steps, "step"), times(row["rtf"], speed["context"]["threads"])


def measured_steps(quality: dict[str, Any]) -> list[int]:
    """Numbers of steps at which music was measured."""
    return [int(name.split()[0]) for name in quality["sources"] if name.endswith(("step", "steps"))]


def steered() -> tuple[str, str]:
    """What steering by DITTO-2 gains in loudness and melody, dashes before that was measured."""
    source = found("quality_ditto")
    if source is None:
        return DASH, DASH
    parts = []
    for name, what in (("intensity", "dB^2 off a loudness curve"), ("melody", "% of frames off a tune")):
        row = source["controls"][name]["methods"]["ditto2"]
        parts.append(f"{row['unsteered']['value']:.2g} to {row['error']['value']:.2g} {what}")
    return ", ".join(parts), DASH


def systems() -> str:
    """Every system: what it does, how to call it, steps, quality, speed."""
    rows = [
        ["[ProDiff](docs/prodiff.md), 2022", "text to speech", "`audiogen tts`", "2 (4, 1)"],
        ["[CoMoSpeech](docs/comospeech.md), 2023", "text to speech", "`--model comospeech`", "1 (2, 4)"],
        ["[StoRM](docs/storm.md), 2023", "speech enhancement", "`audiogen enhance`", "8 (0 to 30)"],
        ["[StableVC](docs/stablevc.md), 2025", "voice conversion", "`audiogen convert`", "1 to 20"],
        ["[MeLoDy](docs/melody.md), 2023", "music from words", "`audiogen music`", "1 to 20"],
        ["[DITTO-2](docs/ditto.md), 2024", "steered music", "`audiogen edit`", "1 to 20"],
        ["[Singing](docs/singing.md), on CoMoSpeech", "song from a score", "`audiogen sing`", "1 (2, 4)"],
        ["[Vocos](docs/vocoders.md), 2023", "mel to waveform", "`audiogen vocode`", "1"],
    ]
    measured = {
        "prodiff": voice("quality_tts", "speed_tts", "2 steps"),
        "comospeech": voice("quality_comospeech", "speed_tts_comospeech", "student, 1 step"),
        "storm": enhancer(),
        "stablevc": converter(),
        "melody": composer(),
        "ditto": steered(),
        "sing": (DASH, DASH),
        "vocos-16k": vocoders(),
    }
    weights = ["yes" if ships({"ditto": "melody"}.get(name, name)) else "train it" for name in measured]
    full = [[*row, ship, *cells] for row, ship, cells in zip(rows, weights, measured.values(), strict=True)]
    return table(["system", "task", "try", "steps", "weights", "quality", "times real time"], full)


def peers() -> str:
    """Whatever was measured beside us in the same run: its speed, ours, and how many times ours is."""
    rows, more = [], ""
    for name in ("speed_tts", "speed_tts_comospeech"):
        warm, context = results(name)["warm"], results(name)["context"]
        spoken = f"{context['model']}, {count_of(context['steps'], 'step')}"
        spoken += ", `--compile`" if context.get("compiled") else ""
        rtfs = [warm[key]["rtf"] for key in ("audiogen", "matcha_vocos")]
        rows.append(["text to speech", spoken, "Matcha-TTS, 4 steps, and vocos", *rtfs])
    speed = results("speed_vocoder")["vocoders"]
    for other in ("vocos (official)", "HiFi-GAN V1 (official)"):
        if f"{other}, whole" in speed:
            ours, theirs = (speed[f"{who}, whole"]["rtf"] for who in ("vocos-16k", other))
            rows.append(["mel to waveform", "vocos-16k", other, ours, theirs])
    if enhancement := found("speed_enhance"):
        by_name = {row["name"]: row["rtf"] for row in enhancement["runs"]}
        if theirs := by_name.get("NCSN++M"):
            ours = "storm, as shipped"
            rows.append(["speech enhancement", ours, "NCSN++M, one evaluation", by_name[ours], theirs])
            more = "NCSN++M is the papers' network in our code, which they evaluate up to 60 times. "
    cells = [
        [task, name, f"{1 / ours:.0f}x", other, f"{1 / theirs:.1f}x", f"{theirs / ours:.1f}"]
        for task, name, other, ours, theirs in rows
    ]
    head = ["task", "audiogen", "times real time", "peer", "times real time", "ratio"]
    note = (
        "Each pair in one process, in turns, batch 1. Peers of speech and vocoders are their authors' "
        "modules with random weights: speed is compared, quality is not. They are larger networks, for "
        f"22.05 and 24 kHz where ours makes 16 kHz. {more}"
        f"Machine of speech: {machine(results('speed_tts')['context'])}; of vocoders: "
        f"{machine(results('speed_vocoder')['context'])}."
    )
    return f"{table(head, cells)}\n\n{note}"
