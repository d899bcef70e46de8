"""The systems: one LightningModule a file, imported only when asked for."""

from __future__ import annotations

SYSTEMS = {
    "comospeech": "audiogen.systems.comospeech:CoMoSpeech",
    "comospeech_sing": "audiogen.systems.comospeech_sing:CoMoSpeechSing",
    "phonetic_encoder": "audiogen.systems.phonetic_encoder:PhoneticContent",
    "prodiff": "audiogen.systems.prodiff:ProDiff",
    "stablevc": "audiogen.systems.stablevc:StableVC",
    "storm": "audiogen.systems.storm:StoRM",
    "vocoder": "audiogen.systems.vocoder:Vocoder",
}
