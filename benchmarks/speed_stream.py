"""How soon streamed speech begins, and whether it keeps up: `audiogen tts --stream`, warm.

    python benchmarks/speed_stream.py

Every sentence is spoken as a stream and at once, in turns, in this process, as the command speaks it. The
first chunk is timed from the request, the text still unread; gaps are what a reader waits for the chunks
after it. A text of many sentences shows the gaps between sentences. Front-end caches are emptied before every
run.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from audiogen import hub
from audiogen.files import write_text
from audiogen.memory import keep_freed
from audiogen.report import PlayOut, percentile, stream_totals
from audiogen.speech import Piece, SpeechItem, SpeechOptions, check_steps, speak
from audiogen.speech_stream import speak_in_chunks
from audiogen.text.frontend import TextFrontEnd

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from speed_tts import context, empty_text_caches  # noqa: E402


@dataclass
class Spoken:
    """One text: seconds it took in all, seconds of its audio, and how its chunks came."""

    seconds: float
    audio_seconds: float
    play_out: PlayOut


class Voice:
    """A released model as `audiogen tts` runs it, with and without --stream."""

    def __init__(self, model: str, vocoder: str | None, steps: int | None) -> None:
        self.system = hub.load(model, vocoder=vocoder)
        self.options = SpeechOptions(num_steps=check_steps(self.system, steps))
        self.front_end = TextFrontEnd(self.system.language)

    def stream(self, text: str) -> Spoken:
        """Speak in chunks."""
        front_end = self.front_end.sentences
        item = SpeechItem("0", text)
        return listen(speak_in_chunks(self.system, item, self.options, front_end=front_end))

    def whole(self, text: str) -> Spoken:
        """Speak sentence by sentence."""
        item = SpeechItem("0", text)
        return listen(speak(self.system, [item], self.options, front_end=self.front_end, batch_size=1))


def length(piece: Piece) -> float:
    """Seconds of a piece. Raises its error."""
    if piece.audio is None:
        raise piece.error or AssertionError("a piece holds audio or an error")
    return piece.audio.seconds


def listen(pieces: Iterable[Piece]) -> Spoken:
    """Take all pieces as fast as they come."""
    play_out = PlayOut()
    start = time.perf_counter()
    audio_seconds = sum(map(length, play_out.watch(pieces, length)))
    return Spoken(time.perf_counter() - start, audio_seconds, play_out)


def race(voice: Voice, texts: Sequence[str], runs: int) -> dict[str, list[list[Spoken]]]:
    """Each run speaks every text both ways, in turns -> runs of results."""
    laps: dict[str, list[list[Spoken]]] = {"stream": [], "whole": []}
    for run in range(runs):
        empty_text_caches()
        gc.collect()
        ways = (("stream", voice.stream), ("whole", voice.whole))
        lap: dict[str, list[Spoken]] = {"stream": [], "whole": []}
        for number, text in enumerate(texts):
            for name, way in ways if (run + number) % 2 == 0 else ways[::-1]:
                lap[name].append(way(text))
        for name, results in lap.items():
            laps[name].append(results)
    return laps


def summary(laps: Sequence[Sequence[Spoken]]) -> dict[str, Any]:
    """Chunks of all runs; times are medians over runs of each text, summed over texts.

    first_chunk_ms: median over texts of the median over runs, and 95th percentile of all. rtf: compute over
    audio.
    """
    texts = list(zip(*laps, strict=True))
    firsts = [
        statistics.median(1000 * (result.play_out.first_chunk_seconds or 0.0) for result in results)
        for results in texts
    ]
    every = [1000 * (result.play_out.first_chunk_seconds or 0.0) for lap in laps for result in lap]
    audio = sum(results[0].audio_seconds for results in texts)
    seconds = sum(statistics.median(result.seconds for result in results) for results in texts)
    return {
        **stream_totals([result.play_out for lap in laps for result in lap]),
        "first_chunk_ms": statistics.median(firsts),
        "first_chunk_p95_ms": percentile(every, 95),
        "audio_seconds": audio,
        "compute_seconds": seconds,
        "rtf": seconds / audio,
        "rtfx": audio / seconds,
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="prodiff")
    parser.add_argument("--vocoder", help="another than the model's")
    parser.add_argument("--steps", type=int, help="sampler steps; default: the model's")
    parser.add_argument(
        "--sentences", type=Path, default=HERE / "everyday_sentences.csv", help="lines id|text"
    )
    parser.add_argument("--limit", type=int, default=20, help="how many of them, after those to warm up")
    parser.add_argument("--warm-up", type=int, default=5, help="how many others to speak first, untimed")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "speed_stream.json")
    return parser.parse_args()


def main() -> None:
    """Measure, print and save."""
    args = parse()
    keep_freed()  # as the command does
    torch.set_num_threads(args.threads)
    texts = [line.split("|")[1] for line in args.sentences.read_text(encoding="utf-8").splitlines()[1:]]
    warm_up, sentences = texts[: args.warm_up], texts[args.warm_up : args.warm_up + args.limit]
    voice = Voice(args.model, args.vocoder, args.steps)
    race(voice, warm_up, 1)
    origin = context(args.model, voice.options.num_steps or 0, ())
    if args.vocoder is not None:
        origin |= {key: Path(value).name for key, value in hub.provenance(args.model, args.vocoder).items()}
    result: dict[str, Any] = {"context": {**origin, "sentences": len(sentences), "runs": args.runs}}
    result["context"]["vocoder_lookahead"] = voice.system.vocoder.lookahead
    for name, texts in (("sentences", sentences), ("one_text", [" ".join(sentences)])):
        result[name] = {way: summary(laps) for way, laps in race(voice, texts, args.runs).items()}
    args.out.parent.mkdir(exist_ok=True)
    write_text(args.out, json.dumps(result, indent=1) + "\n")
    for name in ("sentences", "one_text"):
        for way, row in result[name].items():
            gap = "-" if row["chunk_p95_ms"] is None else f"{row['chunk_p95_ms']:.1f}"
            print(
                f"{name}, {way}: first audio {row['first_chunk_ms']:.1f} ms, gap p95 {gap} ms, "
                f"{row['underruns']} underruns of {row['chunks']} chunks, {row['rtfx']:.1f} x real time"
            )


if __name__ == "__main__":
    main()
