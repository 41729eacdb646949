"""Tiny random-weight judges in transformers' layout: a Whisper, a CTC recognizer, an x-vector model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from tokenizers.pre_tokenizers import ByteLevel

WINDOW_SECONDS = 4
_SPECIAL = (
    *("<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>", "<|startoflm|>"),
    *("<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
)
_NARROW = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embedding_groups": 2,
}


def save_whisper(folder: Path) -> Path:
    """A Whisper of bytes that knows English and German and hears four seconds at a time."""
    letters = {letter: number for number, letter in enumerate(sorted(ByteLevel.alphabet()))}
    tokenizer = transformers.WhisperTokenizer(vocab=letters, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(_SPECIAL)})
    number = tokenizer.convert_tokens_to_ids
    end = number("<|endoftext|>")
    special = {
        "decoder_start_token_id": number("<|startoftranscript|>"),
        "eos_token_id": end,
        "bos_token_id": end,
        "pad_token_id": end,
    }
    frames = 50 * WINDOW_SECONDS
    config = transformers.WhisperConfig(
        # and the timestamps
        vocab_size=len(tokenizer) + frames + 1,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_source_positions=frames,
        max_target_positions=128,
        begin_suppress_tokens=None,
        init_std=0.3,
        **special,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(
        is_multilingual=True,
        lang_to_id={token: number(token) for token in ("<|en|>", "<|de|>")},
        task_to_id={"transcribe": number("<|transcribe|>"), "translate": number("<|translate|>")},
        no_timestamps_token_id=number("<|notimestamps|>"),
        prev_sot_token_id=number("<|startofprev|>"),
        return_timestamps=False,
        max_length=128,
        **special,
    )
    features = transformers.WhisperFeatureExtractor(chunk_length=WINDOW_SECONDS)
    for part in (model, tokenizer, features):
        part.save_pretrained(folder)
    return folder


def save_ctc(folder: Path) -> Path:
    """A wav2vec 2.0 that spells."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    config = transformers.Wav2Vec2Config(vocab_size=len(letters), initializer_range=1.0, **_NARROW)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.Wav2Vec2ForCTC(config)
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    for part in (model, tokenizer, transformers.Wav2Vec2FeatureExtractor()):
        part.save_pretrained(folder)
    return folder


def save_x_vector(folder: Path) -> Path:
    """A WavLM that tells speakers apart, by embeddings of 24 numbers."""
    config = transformers.WavLMConfig(
        tdnn_dim=(8, 8, 8), tdnn_kernel=(5, 3, 1), tdnn_dilation=(1, 2, 1), xvector_output_dim=24, **_NARROW
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.WavLMForXVector(config)
    for part in (model, transformers.Wav2Vec2FeatureExtractor(do_normalize=True)):
        part.save_pretrained(folder)
    return folder
