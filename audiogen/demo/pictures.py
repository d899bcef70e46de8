"""Pictures of sound: the waveform above the mel spectrogram, with seconds and kilohertz along the edges."""

from __future__ import annotations

from functools import lru_cache

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from audiogen.spectral import MelSpec, mel_filters, mel_spectrogram

WIDTH, WAVE_HEIGHT, MEL_HEIGHT = 640, 80, 200  # of what is drawn, in pixels
LEFT, TOP, GAP, BOTTOM = 44, 8, 8, 28  # around it
RANGE_DB = 80.0  # between the loudest and what is black
BACKGROUND, LINES, TEXT, WAVE = (15, 17, 24), (60, 66, 80), (190, 196, 208), (110, 168, 254)
STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300)
TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000)
SHORTEST_HOP = 64
COLOURS = torch.tensor(  # from silence to the loudest
    [(8, 8, 24), (48, 16, 96), (120, 28, 109), (192, 58, 80), (240, 112, 40), (252, 190, 60), (252, 250, 190)]
).float()


def picture(wav: Tensor, sample_rate: int) -> Image.Image:
    """wav (C, T) -> a picture of its first channel; of no samples, an empty one."""
    canvas = Image.new("RGB", (LEFT + WIDTH + TOP, TOP + WAVE_HEIGHT + GAP + MEL_HEIGHT + BOTTOM), BACKGROUND)
    mono = wav[0].detach().float().cpu()
    if len(mono):
        canvas.paste(wave_picture(mono), (LEFT, TOP))
        canvas.paste(mel_picture(mono, sample_rate), (LEFT, TOP + WAVE_HEIGHT + GAP))
    _axes(ImageDraw.Draw(canvas), len(mono) / sample_rate, front_end(sample_rate, len(mono)))
    return canvas


def front_end(sample_rate: int, samples: int) -> MelSpec:
    """The mel front end of a picture: about a frame a pixel, up to half the sample rate."""
    hop = max(SHORTEST_HOP, samples // WIDTH)
    size = 1024 if sample_rate <= 24000 else 2048
    return MelSpec(sample_rate, size, size, hop, 120, 0.0, sample_rate / 2)


def envelope(mono: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """mono (T,), T > 0 -> the lowest and the highest sample of each of `columns` equal stretches."""
    edges = torch.linspace(0, len(mono), columns + 1).long()
    stretches = [mono[min(a, len(mono) - 1) : max(b, a + 1)] for a, b in zip(edges, edges[1:], strict=False)]
    return torch.stack([s.min() for s in stretches]), torch.stack([s.max() for s in stretches])


def wave_picture(mono: Tensor) -> Image.Image:
    """mono (T,) -> its envelope; full scale is the height."""
    canvas = Image.new("RGB", (WIDTH, WAVE_HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    middle = (WAVE_HEIGHT - 1) / 2
    draw.line([(0, middle), (WIDTH, middle)], LINES)
    low, high = envelope(mono.clamp(-1, 1), WIDTH)
    for x, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        draw.line([(x, middle - b * middle), (x, middle - a * middle)], WAVE)
    return canvas


def mel_picture(mono: Tensor, sample_rate: int) -> Image.Image:
    """mono (T,) -> its mel spectrogram, low notes below, colours over RANGE_DB down from the loudest."""
    log_mel = mel_spectrogram(mono[None], front_end(sample_rate, len(mono)))[0]
    decibels = 20 / torch.log(torch.tensor(10.0)) * (log_mel - log_mel.max())
    image = Image.fromarray(coloured(1 + decibels / RANGE_DB).flip(0).numpy())
    return image.resize((WIDTH, MEL_HEIGHT), Image.Resampling.BILINEAR)


def coloured(level: Tensor) -> Tensor:
    """Levels (...) from 0 to 1, clamped -> colours (..., 3), uint8."""
    place = level.clamp(0, 1) * (len(COLOURS) - 1)
    below = place.long().clamp(max=len(COLOURS) - 2)
    share = (place - below)[..., None]
    return torch.lerp(COLOURS[below], COLOURS[below + 1], share).round().to(torch.uint8)


def distance_db(a: Tensor, b: Tensor, sample_rate: int) -> float | None:
    """Mean difference of two log-mels in dB, of sounds (1, T) that last equally long; else None."""
    if a.shape != b.shape or not a.shape[-1]:
        return None
    spec = front_end(sample_rate, a.shape[-1])
    mels = [mel_spectrogram(wav[:1].float(), spec).clamp(min=-9.0) for wav in (a, b)]  # below is inaudible
    return float((mels[0] - mels[1]).abs().mean()) * 8.685889638


def tick_seconds(seconds: float, most: int = 9) -> list[float]:
    """Round seconds for the axis, `most` at most."""
    step = next((step for step in STEPS_S if seconds / step <= most), 600.0)
    return [k * step for k in range(int(seconds / step + 1e-9) + 1)]


def mel_row(hz: float, spec: MelSpec) -> float:
    """Where a frequency stands among the mel bands, 0 to n_mels - 1."""
    centres = mel_filters(spec).argmax(1) * spec.sample_rate / spec.n_fft
    above = int(torch.searchsorted(centres.contiguous(), torch.tensor(float(hz))))
    if not 0 < above < len(centres):
        return float(min(above, len(centres) - 1))
    low, high = float(centres[above - 1]), float(centres[above])
    return above - 1 + (hz - low) / max(high - low, 1e-9)


def _axes(draw: ImageDraw.ImageDraw, seconds: float, spec: MelSpec) -> None:
    font = _font()
    top, bottom = TOP + WAVE_HEIGHT + GAP, TOP + WAVE_HEIGHT + GAP + MEL_HEIGHT
    for hz in TICKS_HZ:
        if hz <= spec.f_max:
            y = bottom - 1 - mel_row(hz, spec) / (spec.n_mels - 1) * (MEL_HEIGHT - 1)
            draw.line([(LEFT - 4, y), (LEFT, y)], TEXT)
            draw.text((LEFT - 7, max(top + 6, y)), f"{hz / 1000:g}", TEXT, font, anchor="rm")
    draw.text((LEFT - 7, TOP + WAVE_HEIGHT // 2), "kHz" if not seconds else "0", TEXT, font, anchor="rm")
    for second in tick_seconds(seconds) if seconds else ():
        x = LEFT + second / seconds * (WIDTH - 1)
        draw.line([(x, bottom), (x, bottom + 4)], TEXT)
        anchor = "ra" if x > LEFT + WIDTH - 12 else "ma" if second else "la"
        draw.text((x, bottom + 6), f"{second:g} s", TEXT, font, anchor=anchor)
    draw.text((LEFT - 7, bottom + 12), "kHz", TEXT, font, anchor="rm")


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(15)
