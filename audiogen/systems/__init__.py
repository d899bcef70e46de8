"""The systems: one LightningModule a file, imported only when asked for."""

from __future__ import annotations

SYSTEMS = {
    "autoencoder": "audiogen.systems.autoencoder:AudioAutoencoder",
    "chroma_tokenizer": "audiogen.semantic:ChromaTokenizer",
    "comospeech": "audiogen.systems.comospeech:CoMoSpeech",
    "comospeech_sing": "audiogen.systems.comospeech_sing:CoMoSpeechSing",
    "prodiff": "audiogen.systems.prodiff:ProDiff",
    "storm": "audiogen.systems.storm:StoRM",
    "vocoder": "audiogen.systems.vocoder:Vocoder",
}
