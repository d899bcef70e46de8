"""The systems: one LightningModule a file, imported only when asked for."""

from __future__ import annotations

SYSTEMS = {
    "autoencoder": "audiogen.systems.autoencoder:AudioAutoencoder",
    "chroma_tokenizer": "audiogen.semantic:ChromaTokenizer",
    "comospeech": "audiogen.systems.comospeech:CoMoSpeech",
    "comospeech_sing": "audiogen.systems.comospeech_sing:CoMoSpeechSing",
    "melody": "audiogen.systems.melody:MeLoDy",
    "melody_lm": "audiogen.systems.melody_lm:MeLoDyLM",
    "melody_music": "audiogen.systems.melody_music:MeLoDyMusic",
    "phonetic_encoder": "audiogen.systems.phonetic_encoder:PhoneticContent",
    "prodiff": "audiogen.systems.prodiff:ProDiff",
    "speaker_encoder": "audiogen.metrics.speaker:SpeakerEncoder",
    "stablevc": "audiogen.systems.stablevc:StableVC",
    "storm": "audiogen.systems.storm:StoRM",
    "vocoder": "audiogen.systems.vocoder:Vocoder",
}
