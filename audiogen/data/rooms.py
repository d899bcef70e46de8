"""Impulse responses of shoebox rooms, by image sources and rays (pyroomacoustics, Scheibler et al. 2018).

A response begins with the direct path: one tap of value 1 at sample 0. Speech convolved with it is aligned
with the dry speech, which is what an enhancer should give back.
"""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiogen.data.progress import Progress, quiet
from audiogen.data.store import DataError

SIDES_M = ((3.0, 10.0), (3.0, 8.0), (2.4, 4.0))
T60_S = (0.2, 1.0)
DISTANCE_M = (0.5, 2.5)
WALL_M = 0.4  # nothing stands nearer to a wall
IMAGE_ORDER = 10  # the first reflections are exact, rays give the dense rest
FLOOR_DB = -60.0  # where a response is cut off


@dataclass(frozen=True)
class Room:
    """A room, a microphone, a talker and a source of noise: positions in metres.

    t60_s: the reverberation time that the walls are made for by Sabine's formula.
    """

    size: tuple[float, float, float]
    t60_s: float
    microphone: tuple[float, float, float]
    talker: tuple[float, float, float]
    noise: tuple[float, float, float]

    @property
    def distance_m(self) -> float:
        """From the talker to the microphone."""
        return math.dist(self.microphone, self.talker)

    def facts(self) -> dict[str, Any]:
        """Plain values, rounded to millimetres and milliseconds."""
        rounded = {
            name: [round(x, 3) for x in value] if isinstance(value, tuple) else round(value, 3)
            for name, value in asdict(self).items()
        }
        return {**rounded, "distance_m": round(self.distance_m, 3)}


def draw_room(rng: random.Random, sample_rate: int, speed_of_sound: float = 343.0) -> Room:
    """A room whose walls can have its reverberation time.

    The talker is a whole number of samples of sound away, so that the direct path is a single tap.
    """
    while True:
        size = tuple(rng.uniform(*side) for side in SIDES_M)
        t60 = rng.uniform(*T60_S)
        surface = 2 * (size[0] * size[1] + size[0] * size[2] + size[1] * size[2])
        if 0.161 * math.prod(size) / (surface * t60) > 0.9:  # Sabine: more than the walls can absorb
            continue
        microphone, noise = _place(rng, size), _place(rng, size)
        wanted = rng.uniform(*DISTANCE_M)
        distance = round(wanted * sample_rate / speed_of_sound) * speed_of_sound / sample_rate
        direction = [rng.gauss(0, 1), rng.gauss(0, 1), rng.gauss(0, 0.3)]
        scale = distance / math.hypot(*direction)
        talker = tuple(m + scale * d for m, d in zip(microphone, direction, strict=True))
        inside = all(WALL_M <= x <= side - WALL_M for x, side in zip(talker, size, strict=True))
        if inside and math.dist(microphone, noise) >= DISTANCE_M[0]:
            return Room(size, t60, microphone, talker, noise)  # type: ignore[arg-type]  # three numbers each


def _place(rng: random.Random, size: tuple[float, ...]) -> tuple[float, float, float]:
    x, y, z = (rng.uniform(WALL_M, side - WALL_M) for side in size)
    return x, y, z


def responses(room: Room, sample_rate: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Impulse responses from the talker and from the noise to the microphone, (R,) and (R',) float32.

    The talker's begins with its direct path, a tap of 1; the noise's nearly so. seed:
    of the rays. Raises DataError without pyroomacoustics.
    """
    try:
        import pyroomacoustics as pra
    except ImportError as error:
        raise DataError(
            f"rooms need pyroomacoustics ({error}): pip install 'audiogen[rooms]', or give --rooms 0"
        ) from error
    pra.constants.set("rir_hpf_enable", False)  # its filter rings before the direct path
    pra.random.seed(seed)
    pra.libroom.set_rng_seed(seed)
    absorption, order = pra.inverse_sabine(room.t60_s, list(room.size))
    box = pra.ShoeBox(
        list(room.size),
        fs=sample_rate,
        materials=pra.Material(absorption, 0.1),
        max_order=min(order, IMAGE_ORDER),
        ray_tracing=True,
    )
    box.set_ray_tracing(receiver_radius=0.3)
    box.add_microphone(list(room.microphone))
    for source in (room.talker, room.noise):
        box.add_source(list(source))
    box.compute_rir()
    ahead = pra.constants.get("frac_delay_length") // 2
    found = []
    for source, response in zip((room.talker, room.noise), box.rir[0], strict=True):
        distance = math.dist(room.microphone, source)
        first = ahead + round(distance * sample_rate / box.c)
        found.append(cut(torch.from_numpy(np.float32(response[first:] * distance))))
    found[0][0] = 1.0  # rays of the very first millisecond fall on it otherwise
    return found[0], found[1]


def cut(response: Tensor) -> Tensor:
    """(R,) without its end, where less than `FLOOR_DB` of its energy is left."""
    remaining = energy_decay_db(response)
    return response[: int((remaining >= FLOOR_DB).sum())].clone()


def energy_decay_db(response: Tensor) -> Tensor:
    """Schroeder's (1965) backward integral of a response (R,), in dB of all of its energy."""
    energy = response.double().square().flip(0).cumsum(0).flip(0)
    return 10 * torch.log10(energy / energy[0] + 1e-30)


def decay_time(response: Tensor, sample_rate: int) -> float:
    """Seconds of a decay by 60 dB, from the part between -5 and -25 dB (ISO 3382: T20)."""
    decay = energy_decay_db(response)
    return 3 * int((decay >= -25).sum() - (decay >= -5).sum()) / sample_rate


@dataclass(frozen=True)
class SimulatedRoom:
    """A room, its two responses and how long the talker's takes to decay by 60 dB, in seconds."""

    room: Room
    talker: Tensor
    noise_source: Tensor
    decay_s: float

    def facts(self) -> dict[str, Any]:
        """Plain values."""
        return {**self.room.facts(), "decay_s": round(self.decay_s, 3)}


def simulate_one(sample_rate: int, seed: int, number: int) -> SimulatedRoom:
    """Draw and simulate a room: a function of (sample_rate, seed, number)."""
    rng = random.Random(f"room/{seed}/{number}")
    room = draw_room(rng, sample_rate)
    talker, noise = responses(room, sample_rate, rng.randrange(2**31))
    return SimulatedRoom(room, talker, noise, decay_time(talker, sample_rate))


def simulate(
    count: int, sample_rate: int, seed: int, workers: int, progress: Progress = quiet
) -> list[SimulatedRoom]:
    """`count` rooms by `workers` processes; the first ones are the same whatever the count."""
    from joblib import Parallel, delayed

    done = Parallel(n_jobs=workers, return_as="generator")(
        delayed(simulate_one)(sample_rate, seed, number) for number in range(count)
    )
    return list(progress(done, "rooms", count))
