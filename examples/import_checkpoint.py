"""Somebody else's k-means to a checkpoint in semtok's own format; its encoder and centroids are random here.

On the command line: semtok import kmeans --encoder their-encoder --layer 2 km2.npy --layer 4 km4.npy -o imported
For SpeechBrain's:   semtok import speechbrain speechbrain/hifigan-wavlm-k1000-LibriTTS --layers 3,7 -o imported
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from semtok import Tokenizer
from semtok.checkpoints.importing import import_kmeans

RECORDING = Path(__file__).parent / "data" / "speech.flac"

# What people publish: an encoder as transformers saves it, and a file of centroids [codebook_size, dim] for each layer.
sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}
HubertModel(HubertConfig(**sizes)).save_pretrained("their-encoder")
Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained("their-encoder")
for layer in (2, 4):
    np.save(f"km{layer}.npy", np.random.default_rng(layer).normal(size=(100, 64)))

# A hub id such as "facebook/hubert-base-ls960" would be kept by reference; this folder's weights are saved beside.
imported = import_kmeans({2: "km2.npy", 4: "km4.npy"}, "imported", encoder="their-encoder")
print(sorted(path.name for path in Path("imported").iterdir()))

tokenizer = Tokenizer.from_pretrained("imported")
tokens = tokenizer.encode(RECORDING)
assert tokens.fingerprint == imported.fingerprint
print(tokens)
