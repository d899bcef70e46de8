"""Writes the measured numbers of `benchmarks/results/` into README and the model cards.

    python benchmarks/tables.py [--check]

A block between `<!-- name -->` and `<!-- /name -->` is replaced by the table of that name; SHA-256 sums of
weights are blocks too. --check changes nothing and fails if a file does not say what the results say.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial

from cells import MODELS, ROOT, count_of, machine, results, table, value
from overview import peers, systems
from tables_convert import stablevc_quality
from tables_music import ditto, melody_quality, melody_speed

from audiogen.hub import sha256

VOICES = ("prodiff", "comospeech")
ENHANCERS = ("storm",)
CONVERTERS = ("stablevc", "speaker-encoder")
COMPOSERS = ("melody",)
VOCODERS = ("vocos-16k", "vocos-16k-causal", "vocos-24k-music")
CARDS = (*VOICES, *ENHANCERS, *CONVERTERS, *COMPOSERS, *VOCODERS)
FILES = (
    "README.md",
    "docs/sampling.md",
    "models/README.md",
    "docs/vocoders.md",
    "docs/comospeech.md",
    "docs/prodiff.md",
    "docs/enhancing.md",
    "docs/storm.md",
    "docs/streaming.md",
    *(f"models/{name}/README.md" for name in CARDS),
)


def speed(name: str, longer: str | None = None) -> str:
    """Warm speed of a voice beside Matcha-TTS + vocos, also on longer sentences; cold start and memory."""
    found = results(name)
    sources = [found, *([results(longer)] if longer else [])]
    names = {"audiogen": found["context"]["model"], "matcha_vocos": "Matcha-TTS (4 steps) + vocos"}
    rows = [
        [
            label,
            f"{row['audio_seconds'] / source['context']['sentences']:.1f}",
            f"{row['rtfx']:.0f}x",
            f"{row['rtfx_of_runs'][0]:.0f}x to {row['rtfx_of_runs'][-1]:.0f}x",
            *(f"{row['stage_ms'][stage]:.1f}" for stage in ("text", "acoustic", "vocoder")),
        ]
        for source in sources
        for name, label in names.items()
        if (row := source["warm"].get(name))
    ]
    context, cold, long = found["context"], found["cold"], found["long"][-1]
    times = " and ".join(f"{source['warm']['times_faster']:.1f}" for source in sources)
    counts = " and ".join(
        f"{source['context']['sentences']} {kind} sentences"
        for source, kind in zip(sources, ("everyday", "longer"), strict=False)
    )
    head = [
        "text to waveform, batch 1, warm",
        "seconds a sentence",
        "times real time",
        "over runs",
        "text ms",
        "acoustic ms",
        "vocoder ms",
    ]
    return "\n\n".join(
        [
            table(head, rows),
            f"{count_of(context['steps'], 'step')}, {counts}, median of {context['runs']} runs in turns; "
            f"stages in milliseconds a second of audio; the peers' official modules with random weights. "
            f"{context['model']} is {times} times as fast. "
            f"From a cold start to a written file: "
            f"{cold['seconds']:.1f} s, peak memory {cold['peak_memory_mb'] / 1000:.2f} GB; a text of "
            f"{long['characters']:,} characters ({long['audio_seconds'] / 60:.0f} minutes of speech): "
            f"{long['peak_memory_mb'] / 1000:.2f} GB. Machine: {machine(context)}.",
        ]
    )


def decoder() -> str:
    """CoMoSpeech's teacher and student at decoding."""
    found = results("speed_comospeech")
    context = found["context"]
    rows = [
        [
            f"{row['audio_seconds']:.1f}",
            f"{row['teacher_ms']:.0f}",
            f"{row['student_ms']:.1f}",
            f"{row['ratio']:.0f}x",
        ]
        for row in found["utterances"]
    ]
    teacher, student = (count_of(context[f"{role}_steps"], "step") for role in ("teacher", "student"))
    head = ["utterance s", f"teacher, {teacher}, ms/s", f"student, {student}, ms/s", "ratio"]
    note = f"Decoder alone, batch 1, median of {context['runs']} runs in turns. Machine: {machine(context)}."
    return "\n\n".join([table(head, rows), note])


def alignment() -> str:
    """The alignment search beside a plain loop."""
    found = results("speed_alignment")
    names = ("compiled", "vectorised", "plain loop")
    rows = [
        [
            size,
            *(f"{row[name]['ms']:.1f}" for name in names),
            f"{row['plain loop']['times_as_long']:.0f}x",
        ]
        for size, row in found["searches"].items()
    ]
    head = ["batch x tokens x frames", *(f"{name} ms" for name in names), "plain loop / compiled"]
    compiling, cached = (found["first_call_seconds"][key]["first_call"] for key in ("compiling", "from disk"))
    note = (
        f"Medians of {found['context']['runs']} runs in turns. The first call on a machine compiles for "
        f"{compiling:.1f} s, later processes read it in {cached:.1f} s. Machine: {machine(found['context'])}."
    )
    return "\n\n".join([table(head, rows), note])


def quality(source: str) -> str:
    """Errors of recordings, copies and every step count on all lists."""
    found = results(source)
    parts = []
    titles = {
        "heldout": "Prompts kept out of training",
        "everyday": "Everyday sentences",
        "unseen": "Sentences of new words",
    }
    for name, title in titles.items():
        rows = []
        for entry in found[name]["conditions"]:
            s = entry["summary"]
            if "cer" not in s:
                continue
            rows.append(
                [
                    entry["condition"],
                    value(s, "cer", ".3f", interval=True),
                    value(s, "mcd_db", ".2f"),
                    value(s, "f0_rmse_cents", ".0f"),
                    value(s, "duration_error", ".0f", 100),
                    value(s, "acoustic_ms", ".1f"),
                ]
            )
        count = max(len(entry["items"]) for entry in found[name]["conditions"])
        head = [f"{title} ({count})", "CER", "MCD dB", "F0 RMSE cents", "duration error %", "acoustic ms/s"]
        parts.append(table(head, rows))
    shares = results("word_overlap")
    everyday, unseen = (shares[f"{name}_sentences"] for name in ("everyday", "unseen"))
    overlap = (
        f"Of the different words of the everyday sentences {everyday['recordings'][0]:.0%} are not in the "
        f"recordings and {everyday['all'][0]:.0%} in no training text; of those of the third list "
        f"{unseen['all'][0]:.0%} are in no training text."
    )
    return "\n\n".join([*parts, f"{overlap} Machine: {machine(found['context'])}."])


def vocoder() -> str:
    """Copy-synthesis of held-out recordings."""
    found = results("quality_vocoder")
    keys = {"pesq_wb": ".2f", "mel_distance": ".3f", "periodicity_rmse": ".3f", "voicing_f1": ".3f"}
    rows = [
        [
            name,
            kind if group == "all" else group,
            *(format(row[key], form) if key in row else "-" for key, form in keys.items()),
            str(row["clips"]),
        ]
        for kind in ("speech", "music")
        for name, groups in found.get(kind, {}).items()
        for group, row in groups.items()
    ]
    head = ["vocoder", "clips of", "PESQ (wb)", "mel distance", "periodicity RMSE", "voicing F1", "clips"]
    return table(head, rows)


def vocoder_speed() -> str:
    """Real-time factors of vocoders, whole and in chunks."""
    found = results("speed_vocoder")
    rows = [
        [
            name,
            f"{row['rtf']:.4f}",
            f"{row['rtf_least']:.4f} to {row['rtf_most']:.4f}",
            f"{1 / row['rtf']:.0f}x",
            f"{found['one_thread'][name]['rtf']:.4f}",
        ]
        for name, row in found["vocoders"].items()
    ]
    context, product = found["context"], found["calibration_ms"]
    return "\n\n".join(
        [
            table(["vocoder", "RTF", "over turns", "times real time", "RTF on one thread"], rows),
            f"{context['seconds']:.2f} s at batch 1, {context['runs']} turns in one process; a product of "
            f"matrices 768 wide between the turns took {product[1]:.1f} ms ({product[0]:.1f} to "
            f"{product[2]:.1f}). "
            f"Machine: {machine(context)}.",
        ]
    )


def stream_speed() -> str:
    """First audio, gaps and speed of streamed speech."""
    found = results("speed_stream")
    rows = [
        [
            {"sentences": "a sentence", "one_text": "all in one text"}[name],
            way,
            f"{row['first_chunk_ms']:.0f}",
            "-" if row["chunk_p95_ms"] is None else f"{row['chunk_p95_ms']:.0f}",
            f"{row['underruns']} of {row['chunks']}",
            f"{row['rtfx']:.0f}x",
        ]
        for name in ("sentences", "one_text")
        for way, row in found[name].items()
    ]
    head = [
        "`audiogen tts --stream`",
        "way",
        "first audio ms",
        "chunk p95 ms",
        "underruns",
        "times real time",
    ]
    context = found["context"]
    sentence = (
        f"{context['sentences']} everyday sentences, medians of {context['runs']} runs, warm, "
        f"model loaded. Machine: {machine(context)}."
    )
    return "\n\n".join([table(head, rows), sentence])


def vocoder_parity() -> str:
    """Imported vocoders beside the official modules."""
    rows = [
        [name, f"{row['waveform']:.0e}", f"{row['streamed']:.0e}", f"{row['log_mel']:.0e}"]
        for name, row in results("vocoder_parity")["cases"].items()
    ]
    return table(["official module", "whole", "frame by frame", "log-mels"], rows)


def sampling_orders() -> str:
    """Slopes and errors of the deterministic solvers."""
    found = results("sampling_orders")
    rows = [
        [
            row["solver"],
            str(row["order"]),
            str(row["nfe_per_step"]),
            *(f"{row[path]['slope']:.2f}" for path in ("VP", "OUVE")),
            *(f"{row['VP']['errors'][n]:.1e}" for n in ("8", "16", "32")),
            *(f"{row['OUVE']['errors'][n]:.1e}" for n in ("8", "16", "32")),
        ]
        for row in found["orders"]
    ]
    head = ["solver", "theory", "calls a step", "VP", "OUVE"]
    head += [f"{path} error, {n} steps" for path in ("VP", "OUVE") for n in (8, 16, 32)]
    return table(head, rows)


def sampling_weak_orders() -> str:
    """Slopes of the stochastic solvers."""
    rows = [
        [row["solver"], str(row["order"]), f"{row['VP']:.2f}", f"{row['OUVE']:.2f}"]
        for row in results("sampling_orders")["weak_orders"]
    ]
    return table(["solver", "theory", "VP", "OUVE"], rows)


def sampling_straight_line() -> str:
    """Few-step errors on the straight line; the least of each column in bold."""
    found = results("sampling_orders")["straight_line"]
    budgets = [key for key in found[0] if key.isdigit()]
    best = {n: min(row[n] for row in found if row[n] is not None) for n in budgets}
    rows = []
    for row in found:
        cells = []
        for n in budgets:
            text = "-" if row[n] is None else f"{row[n]:.4f}"
            cells.append(f"**{text}**" if row[n] == best[n] else text)
        rows.append([row["solver"], *cells])
    return table(["solver", *(f"{n} calls" for n in budgets)], rows)


def sampling_enhancement() -> str:
    """Law of enhancement's samplers on Gaussian data."""
    rows = [
        [row["solver"], str(row["nfe"]), f"{row['mean_error']:.4f}", f"{row['std_ratio']:.3f}"]
        for row in results("sampling_orders")["enhancement"]
    ]
    return table(["sampler", "calls", "error of the mean", "spread / exact spread"], rows)


def sampling_voice() -> str:
    """Solvers and grids on the shipped voice."""
    found = results("sampling_voice")
    rows = [
        [
            row["plan"],
            str(row["nfe"]),
            *(value(row, key, ".3f", interval=True) for key in ("cer_tuning", "cer_heldout")),
            value(row, "mcd_db", ".2f"),
            f"{row['distance']:.3f}",
        ]
        for row in found["rows"]
    ]
    head = ["solver, grid, steps", "calls", "CER tuning", "CER prompts", "MCD dB", "distance to 64 steps"]
    return "\n\n".join([table(head, rows), f"Machine: {machine(found['context'])}."])


def sampling_peers() -> str:
    """Agreement and loop time beside diffusers and k-diffusion."""
    found = results("sampling_peers")
    agreement = [
        [
            peer.replace("_", "-"),
            name,
            "-" if gap is None else f"{gap:.0e}",
            found["known_gaps"].get(name, ""),
        ]
        for peer, cases in found["agreement"].items()
        for name, gap in cases.items()
    ]
    speed = [
        [
            row["solver"],
            "x".join(map(str, row["shape"])),
            setting,
            *(
                f"{ms:.3f}" if (ms := row["ms_per_step"].get(peer)) is not None else "-"
                for peer in ("audiogen", "diffusers", "k_diffusion", "multiply_add")
            ),
            f"{1 / row['of_diffusers']:.1f}x",
        ]
        for setting, entries in found["speed"].items()
        for row in entries
    ]
    head = [
        "solver",
        "state",
        "large freed blocks",
        "audiogen ms",
        "diffusers ms",
        "k-diffusion ms",
        "one multiply-add ms",
        "faster than diffusers",
    ]
    return "\n\n".join(
        [
            table(["library", "solver", "difference", "known reason"], agreement),
            table(head, speed),
            f"Machine: {machine(found['context'])}; diffusers {found['context']['diffusers']}.",
        ]
    )


def kernels() -> str:
    """One streaming step on a GPU, by method and number of streams."""
    found = results("kernels_streaming_nvidia_h100_80gb_hbm3")
    steps = {(row["method"], row["dtype"], row["streams"]): row for row in found["steps"]}
    streams = sorted({row["streams"] for row in found["steps"]})
    rows = []
    for method, dtype in dict.fromkeys((row["method"], row["dtype"]) for row in found["steps"]):
        row = [steps[method, dtype, n] for n in streams]
        real_time = f"{row[-1]['real_time_streams']:,.0f}"
        rows.append([method, dtype, *(f"{each['step_ms']:.3f}" for each in row), real_time])
    floor = [steps["graph", "float32", n]["floor_ms"] for n in streams]
    rows.append(["least memory traffic", "float32", *(f"{ms:.3f}" for ms in floor), "-"])
    head = [
        "a step, ms",
        "",
        *(f"{n} stream{'s' * (n > 1)}" for n in streams),
        f"of {streams[-1]} in real time",
    ]
    where = f"{found['context']['gpu']}, torch {found['context']['versions']['torch']}"
    note = f"A step is {found['context']['frame_ms']:.0f} ms of audio of every stream. Machine: {where}."
    return "\n\n".join([table(head, rows), note])


def storm_quality() -> str:
    """The enhancer on recordings that training did not hear, in rooms and out of them."""
    found = results("quality_enhance")
    student = results("quality_enhance_student")["conditions"][-1]
    metrics = {"pesq_wb": "{:.2f}", "estoi": "{:.3f}", "si_sdr_db": "{:.1f}"}
    rows = []
    for entry in (*found["conditions"], {**student, "condition": "one-step student of StoRM"}):
        cells = [
            form.format(entry["by_place"][place][metric])
            for place in ("dry", "room")
            for metric, form in metrics.items()
        ]
        rtf = entry["summary"].get("rtf")
        speed = f"{rtf['value']:.2f}" if rtf else "-"
        rows.append([entry["condition"], str(entry["nfe"]), speed, *cells])
    names = ("PESQ (wb)", "ESTOI", "SI-SDR dB")
    head = ["", "evaluations", "RTF", *names, *(f"{name}, in rooms" for name in names)]
    note = f"{found['context']['items']} recordings. Machine: {machine(found['context'])}."
    return "\n\n".join([table(head, rows), note])


def storm_speed() -> str:
    """One evaluation of the enhancer's networks beside NCSN++M, whole runs, and a long file."""
    found = results("speed_enhance")
    rows = [
        [
            row["name"],
            str(row["evaluations"]),
            f"{row['rtf']:.3f}",
            f"{row['rtf_least']:.3f} to {row['rtf_most']:.3f}",
        ]
        for row in found["runs"]
    ]
    context, long = found["context"], found["long"]
    note = (
        f"{context['seconds']:g} s at batch 1, medians of {context['runs']} runs in turns. A file of "
        f"{long['minutes']:g} minutes through `audiogen enhance --quality {long['quality']}`: RTF "
        f"{long['rtf']:.3f}, resident memory at most {long['second_quarter_mb']:.0f} MB in the second "
        f"quarter of the run and {long['last_quarter_mb']:.0f} MB in the last. Machine: {machine(context)}."
    )
    return "\n\n".join([table(["", "evaluations", "RTF", "over runs"], rows), note])


def digest(name: str) -> Callable[[], str]:
    """The SHA-256 of a model's weights, and their size."""

    def block() -> str:
        path = MODELS / name / "model.safetensors"
        return f"`model.safetensors`: {path.stat().st_size / 1e6:.1f} MB, SHA-256 `{sha256(path)}`"

    return block


BLOCKS: dict[str, Callable[[], str]] = {
    "systems": systems,
    "peers": peers,
    "speed": partial(speed, "speed_tts"),
    "quality": partial(quality, "quality_tts"),
    "comospeech speed": partial(speed, "speed_tts_comospeech", "speed_tts_comospeech_long"),
    "comospeech quality": partial(quality, "quality_comospeech"),
    "comospeech decoder": decoder,
    "alignment speed": alignment,
    "vocoder": vocoder,
    "vocoder speed": vocoder_speed,
    "vocoder parity": vocoder_parity,
    "stream speed": stream_speed,
    "kernels": kernels,
    "storm quality": storm_quality,
    "storm speed": storm_speed,
    "stablevc quality": stablevc_quality,
    "melody quality": melody_quality,
    "melody speed": melody_speed,
    "ditto": ditto,
    "sampling orders": sampling_orders,
    "sampling weak orders": sampling_weak_orders,
    "sampling straight line": sampling_straight_line,
    "sampling enhancement": sampling_enhancement,
    "sampling voice": sampling_voice,
    "sampling peers": sampling_peers,
    **{f"{name} sha256": digest(name) for name in CARDS},
}


def filled(text: str) -> str:
    """`text` with every block written anew."""
    for name, render in BLOCKS.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if pattern.search(text):
            body = render()
            text = pattern.sub(lambda match, body=body: f"{match[1]}{body}\n{match[2]}", text)
    return text


def main() -> int:
    """Fill or check every file."""
    stale = []
    for name in FILES:
        path = ROOT / name
        old = path.read_text(encoding="utf-8")
        if (new := filled(old)) != old:
            stale.append(name)
            if "--check" not in sys.argv[1:]:
                path.write_text(new, encoding="utf-8")
    print(f"{'stale' if '--check' in sys.argv[1:] else 'written'}: {', '.join(stale) or 'nothing'}")
    return int("--check" in sys.argv[1:] and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
