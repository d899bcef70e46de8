"""A corpus whose alignment is known: every phone is a chord of its own, every pause faint noise."""

import torch

from audiogen.audio import write_audio
from audiogen.data.speech import all_tokens, is_pause
from audiogen.text.frontend import START, TextFrontEnd
from audiogen.text.symbols import IDS

RATE = 16000
TEXTS = [
    "Press one to hear the menu.",
    "The number you have dialed is busy. Please try again later.",
    "Your message has been saved.",
    "Thank you for calling our office.",
    "Please hold the line while we connect you.",
    "All of our agents are helping other people.",
    "Enter the code followed by the pound key.",
    "Good morning and welcome to the city library.",
]


def chord(symbol: str, seconds: float) -> torch.Tensor:
    """Three sines whose frequencies the symbol's number determines, with soft edges."""
    number = IDS[symbol]
    t = torch.arange(round(seconds * RATE)) / RATE
    frequencies = (200 + 37 * (number % 23), 1100 + 91 * (number % 17), 3000 + 151 * (number % 13))
    wave = sum(torch.sin(2 * torch.pi * f * t) for f in frequencies)
    edge = torch.linspace(0, 1, 64)
    envelope = torch.ones_like(t)
    envelope[:64], envelope[-64:] = edge, edge.flip(0)
    return 0.1 * wave * envelope


def utter(text: str, seed: int = 0) -> tuple[torch.Tensor, list[str], torch.Tensor]:
    """The waveform (T,) of a text, its symbols after a leading boundary, and their boundaries in seconds."""
    generator = torch.Generator().manual_seed(seed)
    waves, starts, symbols = [], [0.0], []
    for token in (START, *all_tokens(TextFrontEnd("en-us")(text))):
        draw = float(torch.rand((), generator=generator))
        if is_pause(token):
            seconds = 0.0 if token.symbol == " " and symbols else 0.25 if token.symbol == "." else 0.15
            wave = torch.zeros(round(seconds * RATE))
        else:
            seconds = 0.06 + 0.06 * draw
            wave = chord(token.symbol, seconds)
        waves.append(wave)
        symbols.append(token.symbol)
        starts.append(starts[-1] + len(wave) / RATE)
    wav = torch.cat(waves)
    return wav + 1e-3 * torch.randn(len(wav), generator=generator), symbols, torch.tensor(starts)


def write_corpus(folder, texts=TEXTS):
    """Write an LJSpeech-style folder -> the folder."""
    (folder / "wavs").mkdir(parents=True)
    rows = []
    for i, text in enumerate(texts):
        write_audio(folder / "wavs" / f"clip{i:02}.wav", utter(text, i)[0][None], RATE)
        rows.append(f"clip{i:02}|{text}|{text}")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
