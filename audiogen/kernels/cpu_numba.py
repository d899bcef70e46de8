"""The loops of `audiogen.kernels.cpu`, compiled by Numba at their first call and kept on disk.

Arrays are float32 and contiguous; complex numbers lie as real and imaginary parts side by side.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

f32 = np.float32
# divisions are not checked: a branch in a loop keeps it from vector registers
compiled = njit(cache=True, nogil=True, fastmath=True, error_model="numpy")


@compiled
def sin_pi(x):
    """sin(pi x) for |x| <= 1/2 to 2e-7, by its Taylor series."""
    y = x * x
    s = f32(-0.0073704309)
    s = s * y + f32(0.0821458866)
    s = s * y - f32(0.5992645293)
    s = s * y + f32(2.5501640399)
    s = s * y - f32(5.1677127800)
    s = s * y + f32(3.1415926536)
    return s * x


@compiled
def exp(x):
    """e^x for x < 88 to 2e-7: 2^k by the bits of a float32, 2^r of the rest by its Taylor series."""
    x = max(x, f32(-87))
    k = np.floor(x * f32(1.4426950409) + f32(0.5))
    r = x - k * f32(0.6931471806)
    p = f32(1 / 720)
    p = p * r + f32(1 / 120)
    p = p * r + f32(1 / 24)
    p = p * r + f32(1 / 6)
    p = p * r + f32(0.5)
    p = p * r + f32(1)
    p = p * r + f32(1)
    return p * np.int32((k + f32(127)) * f32(2**23)).view(f32)


@compiled
def sin_turns(x):
    """sin(pi x) of any x."""
    whole = np.floor(x + f32(0.5))
    sign = f32(1) - f32(2) * (whole - f32(2) * np.floor(f32(0.5) * whole))
    return sign * sin_pi(x - whole)


@compiled
def pulses(cycles, f0, slopes, window, sample_rate, out):
    """cycles, f0, slopes (n,), window (W,) -> windowed pulse trains `out` (n, W)."""
    size = window.shape[0]
    step = f32(1 / sample_rate)
    for n in range(out.shape[0]):
        cycle, frequency, slope = cycles[n], f0[n], f32(0.5) * slopes[n]
        harmonics = np.floor(f32(0.5 * sample_rate) / frequency)
        odd = f32(2) * harmonics + f32(1)
        gain = f32(1 / math.sqrt(2 * harmonics))
        for i in range(size):
            t = f32(i - size // 2) * step
            phase = cycle + t * (frequency + slope * t)
            phase = max(abs(phase - np.floor(phase + f32(0.5))), f32(3e-7))
            ratio = sin_turns(odd * phase) / sin_pi(phase)
            out[n, i] = (ratio - f32(1)) * gain * window[i]


@compiled
def voice(head, pulses, noise, log_max, loudest, magnitude, out):
    """Log-magnitudes, phases, log-noise (n, 3 F), spectra (n, 2 F) -> magnitude (n, F), spectrum (n, 2 F)."""
    bins = magnitude.shape[1]
    for n in range(magnitude.shape[0]):
        for i in range(bins):
            size = exp(min(head[n, i], log_max))
            loudness = exp(min(head[n, 2 * bins + i], loudest))
            real = pulses[n, 2 * i] + loudness * noise[n, 2 * i]
            imag = pulses[n, 2 * i + 1] + loudness * noise[n, 2 * i + 1]
            scale = size / math.sqrt(real * real + imag * imag + f32(1e-8))
            turns = head[n, bins + i] * f32(0.3183098862)
            sine, cosine = sin_turns(turns), sin_turns(turns + f32(0.5))
            magnitude[n, i] = size
            out[n, 2 * i] = scale * (real * cosine - imag * sine)
            out[n, 2 * i + 1] = scale * (real * sine + imag * cosine)


@compiled
def overlap(rest, frames, window, sums, start, end, done, after):
    """Frames (B, n, W), windowed, added onto rest (B, W - hop) -> done (B, hops, hop), after (B, W - hop).

    start: frames before these. end: frames in all; large if they are not known. Row k of sums (K + 1, hop):
    the first k stretches of the squared window, summed; done is divided by those it holds. after: the sums
    from hop n on.
    """
    batch, count, size = frames.shape
    hops, hop = done.shape[1:]
    parts = size // hop
    total = np.empty(hop, f32)
    for b in range(batch):
        for h in range(count + parts - 1):
            for i in range(hop):
                total[i] = rest[b, h * hop + i] if h < parts - 1 else f32(0)
            for k in range(max(0, h - count + 1), min(parts, h + 1)):
                frame, piece = frames[b, h - k, k * hop : (k + 1) * hop], window[k * hop : (k + 1) * hop]
                for i in range(hop):
                    total[i] += frame[i] * piece[i]
            if h < hops:
                upper, lower = sums[min(start + h + 1, parts)], sums[max(0, start + h + 1 - end)]
                for i in range(hop):
                    done[b, h, i] = total[i] / max(upper[i] - lower[i], f32(1e-11))
            if h >= count:
                after[b, (h - count) * hop : (h - count + 1) * hop] = total


@compiled
def project(before, consistent, magnitude, ahead, out):
    """Spectra (n, 2 F) beyond `before` and `consistent`, given the magnitudes (n, F) -> out (n, 2 F)."""
    for n in range(magnitude.shape[0]):
        for i in range(magnitude.shape[1]):
            real, imag = before[n, 2 * i], before[n, 2 * i + 1]
            real += ahead * (consistent[n, 2 * i] - real)
            imag += ahead * (consistent[n, 2 * i + 1] - imag)
            scale = magnitude[n, i] / math.sqrt(real * real + imag * imag + f32(1e-10))
            out[n, 2 * i] = scale * real
            out[n, 2 * i + 1] = scale * imag


@compiled
def depthwise_norm(seen, taps, bias, dilation, scale, shift, epsilon, out):
    """Inputs (B, n + span, C), taps (C, K) -> depthwise convolution, normalised over C: out (B, n, C)."""
    channels = seen.shape[2]
    y = np.empty(channels, f32)
    taps = taps.T.copy()
    for b in range(out.shape[0]):
        for n in range(out.shape[1]):
            for c in range(channels):
                y[c] = bias[c]
            for k in range(taps.shape[0]):
                row = seen[b, n + k * dilation]
                for c in range(channels):
                    y[c] += row[c] * taps[k, c]
            total = f32(0)
            for c in range(channels):
                total += y[c]
            mean = total / f32(channels)
            square = f32(0)
            for c in range(channels):
                square += (y[c] - mean) * (y[c] - mean)
            inverse = f32(1 / math.sqrt(square / f32(channels) + epsilon))
            for c in range(channels):
                out[b, n, c] = (y[c] - mean) * inverse * scale[c] + shift[c]
