"""How good the audio is: intelligibility, spectral distance, pitch, timing, and how sure the numbers are."""
