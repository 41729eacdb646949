"""SpeechBrain's published tokenizers and vocoders."""
