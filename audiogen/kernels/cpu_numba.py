"""The loops of `audiogen.kernels.cpu`, compiled by Numba at their first call and kept on disk.

Arrays are float32 and contiguous; complex numbers lie as real and imaginary parts side by side.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

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
def advance(cycles, before, f0, period, out, slopes):
    """Cycles, F0 before (B,), f0 (B, n), float64 -> cycles at the frames: out (B, n), slopes (B, n)."""
    for b in range(f0.shape[0]):
        cycle, last = cycles[b], before[b]
        for n in range(f0.shape[1]):
            frequency = f0[b, n]
            cycle = (cycle + 0.5 * (last + frequency) * period) % 1.0
            change = min(max(frequency - last, -0.1 * frequency), 0.1 * frequency)
            slopes[b, n] = change / period if last > 0.0 else 0.0
            out[b, n] = cycle
            last = frequency


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
def resynthesise(rest, frames, window, sums, start, end, skip, samples, audio, padding, out, after, left):
    """`overlap` of frames (B, n, W), and its samples skip to `samples` behind `audio` (B, T), cut again.

    padding: zeros that follow. out (B, m, W): windowed frames of what is there, a hop apart; left (B, L):
    from hop m on. rest, after: as in `overlap`.
    """
    size, hop, kept = window.shape[0], sums.shape[1], audio.shape[1]
    done = np.empty((frames.shape[0], -(-samples // hop), hop), f32)
    overlap(rest, frames, window, sums, start, end, done, after)
    seen = np.empty(kept + samples - skip + padding, f32)
    for b in range(frames.shape[0]):
        seen[:kept] = audio[b]
        seen[kept : kept + samples - skip] = done[b].reshape(-1)[skip:samples]
        seen[kept + samples - skip :] = f32(0)
        for n in range(out.shape[1]):
            for i in range(size):
                out[b, n, i] = seen[n * hop + i] * window[i]
        left[b] = seen[out.shape[1] * hop :]


@compiled
def project(waiting, arrived, consistent, wanted, magnitude, ahead, out, done, waiting_after, wanted_after):
    """Spectra (B, ., 2 F) beyond those before and `consistent`, with the wanted magnitudes: out (B, m, 2 F).

    waiting, arrived (B, ., 2 F): spectra before, in a row. wanted, magnitude (B, ., F): magnitudes in a row,
    the first m of which are `done`; what is left of both rows is waiting_after, wanted_after.
    """
    count, bins = done.shape[1:]
    kept = waiting.shape[1]
    for b in range(done.shape[0]):
        for n in range(kept + arrived.shape[1]):
            before = waiting[b, n] if n < kept else arrived[b, n - kept]
            size = wanted[b, n] if n < kept else magnitude[b, n - kept]
            if n >= count:
                waiting_after[b, n - count], wanted_after[b, n - count] = before, size
                continue
            for i in range(bins):
                real, imag = before[2 * i], before[2 * i + 1]
                real += ahead * (consistent[b, n, 2 * i] - real)
                imag += ahead * (consistent[b, n, 2 * i + 1] - imag)
                scale = size[i] / math.sqrt(real * real + imag * imag + f32(1e-10))
                out[b, n, 2 * i] = scale * real
                out[b, n, 2 * i + 1] = scale * imag
                done[b, n, i] = size[i]


@compiled
def normalise(y, scale, shift, epsilon, out):
    """Layer norm of one frame y (C,) -> out (C,), which may be y."""
    channels = y.shape[0]
    total = f32(0)
    for c in range(channels):
        total += y[c]
    mean = total / f32(channels)
    square = f32(0)
    for c in range(channels):
        square += (y[c] - mean) * (y[c] - mean)
    inverse = f32(1 / math.sqrt(square / f32(channels) + epsilon))
    for c in range(channels):
        out[c] = (y[c] - mean) * inverse * scale[c] + shift[c]


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
            normalise(y, scale, shift, epsilon, out[b, n])


def _prefetch(typing, array, place):
    """Have the cache line of array[place] fetched, of one dimension; beyond its end nothing happens."""

    def code(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        # to be read, into the second level, data
        builder.call(function, [pointer, number(0), number(2), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), code


prefetch: Any = intrinsic(_prefetch)


@compiled
def linear(x, weight, bias, out):
    """x (n, K), weight (H, K), bias (H,) -> out (n, H).

    Eight sums at a time stay in registers, and a pair of rows of the weights in the cache while all of x goes
    by and the pair after the next is fetched: for few rows that is quicker than libraries, which rearrange
    the weights first and wait for memory. Sums at the edges are made more than once.
    """
    rows, columns = out.shape
    size, flat, zero = x.shape[1], weight.reshape(-1), out.dtype.type(0)
    part = 2 * size // ((rows + 3) // 4) + 1
    for j in range(0, columns, 2):
        k = min(j + 1, columns - 1)
        v, w = weight[j], weight[k]
        for a in range(0, rows, 4):
            start = (j + 4) * size + a // 4 * part
            for i in range(start, start + part, 16):
                prefetch(flat, i)
            b, c, d = min(a + 1, rows - 1), min(a + 2, rows - 1), min(a + 3, rows - 1)
            xa, xb, xc, xd = x[a], x[b], x[c], x[d]
            av = bv = cv = dv = aw = bw = cw = dw = zero
            for i in range(size):
                av += xa[i] * v[i]
                aw += xa[i] * w[i]
                bv += xb[i] * v[i]
                bw += xb[i] * w[i]
                cv += xc[i] * v[i]
                cw += xc[i] * w[i]
                dv += xd[i] * v[i]
                dw += xd[i] * w[i]
            out[a, j], out[b, j], out[c, j], out[d, j] = (
                av + bias[j],
                bv + bias[j],
                cv + bias[j],
                dv + bias[j],
            )
            out[a, k], out[b, k], out[c, k], out[d, k] = (
                aw + bias[k],
                bw + bias[k],
                cw + bias[k],
                dw + bias[k],
            )


@compiled
def gelu(x):
    """x (n, H) -> x Phi(x) in place, Phi to 2e-7: formula 7.1.26 of Abramowitz and Stegun (1964)."""
    for n in range(x.shape[0]):
        for i in range(x.shape[1]):
            value = x[n, i]
            z = abs(value) * f32(0.7071067812)
            t = f32(1) / (f32(1) + f32(0.3275911) * z)
            p = f32(1.061405429) * t - f32(1.453152027)
            p = p * t + f32(1.421413741)
            p = p * t - f32(0.284496736)
            p = p * t + f32(0.254829592)
            tail = f32(0.5) * p * t * exp(-z * z)
            x[n, i] = value * (f32(1) - tail if value > f32(0) else tail)


@compiled
def convolve(seen, weight, bias, out):
    """Inputs (B, n + K - 1, C), weight (O, C, K) -> convolution over time: out (B, n, O)."""
    batch, count, outputs = out.shape
    channels, taps = weight.shape[1:]
    windows = np.empty((batch * count, channels * taps), seen.dtype)
    for b in range(batch):
        for n in range(count):
            for k in range(taps):
                for c in range(channels):
                    windows[b * count + n, c * taps + k] = seen[b, n + k, c]
    rows = out.reshape(batch * count, outputs)
    linear(windows, weight.reshape(outputs, channels * taps), bias, rows)


@compiled
def join(state, x, seen, after):
    """State (B, R, C), x (B, n, C) and zeros in a row: seen (B, M, C). Its end: after (B, A, C)."""
    kept, count = state.shape[1], x.shape[1]
    done = seen.shape[1] - after.shape[1]
    for b in range(x.shape[0]):
        for n in range(seen.shape[1]):
            for c in range(x.shape[2]):
                if n < kept:
                    seen[b, n, c] = state[b, n, c]
                else:
                    seen[b, n, c] = x[b, n - kept, c] if n < kept + count else seen.dtype.type(0)
        for n in range(after.shape[1]):
            for c in range(x.shape[2]):
                after[b, n, c] = seen[b, done + n, c]


@compiled
def normalise_rows(x, scale, shift, epsilon):
    """Layer norm of x (n, C) over C, in place."""
    for n in range(x.shape[0]):
        normalise(x[n], scale, shift, epsilon, x[n])


@compiled
def convnext(
    x,
    state,
    padding,
    lookback,
    after,
    out,
    epsilon,
    gain,
    taps,
    bias,
    scale,
    shift,
    expand,
    expand_bias,
    contract,
    contract_bias,
):
    """x (B, n, C), state (B, R, C) -> outputs of a block: out (B, m, C), m > 0, and state: after (B, A, C).

    padding: zeros behind x. lookback: inputs before an output's own. taps (K, C), expand (H, C), contract
    (C, H), the others vectors.
    """
    batch, count, channels = out.shape
    seen = np.empty((batch, state.shape[1] + x.shape[1] + padding, channels), f32)
    join(state, x, seen, after)
    y = np.empty((batch, count, channels), f32)
    depthwise_norm(seen, taps, bias, 1, scale, shift, epsilon, y)
    rows, hidden = y.reshape(batch * count, channels), np.empty((batch * count, expand.shape[0]), f32)
    linear(rows, expand, expand_bias, hidden)
    gelu(hidden)
    linear(hidden, contract, contract_bias, rows)
    for b in range(batch):
        for n in range(count):
            for c in range(channels):
                out[b, n, c] = seen[b, lookback + n, c] + gain[c] * y[b, n, c]


@compiled
def tracker_layer(x, state, padding, lookback, after, residual, weight, bias, out):
    """x (B, n, C), state (B, R, C) -> gelu of x, if residual, and its convolution: out (B, m, O), m > 0.

    after (B, A, C), padding, lookback: as in `convnext`. In float64, exactly.
    """
    seen = np.empty((x.shape[0], state.shape[1] + x.shape[1] + padding, x.shape[2]))
    join(state, x, seen, after)
    convolve(seen, weight, bias, out)
    for b in range(out.shape[0]):
        for n in range(out.shape[1]):
            for c in range(out.shape[2]):
                y = out[b, n, c] + (seen[b, lookback + n, c] if residual else 0.0)
                out[b, n, c] = 0.5 * y * (1.0 + math.erf(0.7071067811865476 * y))


@compiled
def frequency(scores, lowest, near, f0):
    """Scores (n, classes) of half semitones from `lowest` on -> f0 (n,), a mean within `near` of the best."""
    classes = scores.shape[1]
    for n in range(scores.shape[0]):
        best = 0
        for k in range(classes):
            if scores[n, k] > scores[n, best]:
                best = k
        total = mean = 0.0
        for k in range(max(0, best - near), min(classes, best + near + 1)):
            weight = math.exp(scores[n, k] - scores[n, best])
            total += weight
            mean += weight * k
        f0[n] = lowest * 2.0 ** (mean / total / 24.0)
