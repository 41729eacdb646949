"""A text model learns speech tokens: words at known times, as text or as speech, in one sequence.

python examples/text_and_speech.py [--steps 40]

The text model is a tiny one built here from its config, so that nothing is downloaded; with a real one, its tokenizer
and its model come by from_pretrained, and all else is the same. Needs the extra semtok[train], for `datasets`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer as TextTokenizer
from tokenizers import models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from semtok import Tokenizer, Tokens
from semtok.language import UnitVocabulary, Word, draw_spans, interleave, pack, separate

RECORDING = Path(__file__).parent / "data" / "speech.flac"
# Seconds: start and duration, as an aligner gives them. Here they are guesses, which do for an example.
WORDS = [Word(f"word{number}", 0.3 + 0.4 * number, 0.35) for number in range(6)]


def build_text_model() -> tuple[PreTrainedTokenizerFast, LlamaForCausalLM]:
    """A tokenizer of a few words and a small Llama of random weights."""
    names = ["<pad>", *(word.text for word in WORDS)]
    words = TextTokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    shape = LlamaConfig(
        vocab_size=len(names),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
    )
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>"), LlamaForCausalLM(shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    steps = parser.parse_args().steps
    torch.manual_seed(0)

    speech_tokenizer = Tokenizer.from_pretrained("tiny")
    tokens = speech_tokenizer.encode(RECORDING, layers=[max(speech_tokenizer.layers)])

    # The text model gets a token a code, with embeddings that start from the centroids.
    text_tokenizer, model = build_text_model()
    vocabulary = UnitVocabulary.of(tokens).extend(text_tokenizer, model, centroids_of=speech_tokenizer)
    print(f"{len(text_tokenizer)} tokens, those of speech from {vocabulary.first_id} on")

    # Each draw says other words and writes the rest.
    generator = np.random.default_rng(0)
    sequences = [
        interleave(tokens, WORDS, draw_spans(len(WORDS), 2, generator), vocabulary, text_tokenizer) for _ in range(16)
    ]
    rows = pack(sequences, 256, padding_id=text_tokenizer.pad_token_id).with_format("torch")

    # Trainer of transformers takes the rows as they are; this is the least that trains.
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        batch = rows[generator.permutation(len(rows))[:4].tolist()]
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step}: {loss.item() / np.log(2):.2f} bits an id")

    # What it writes is text and speech again; repair=True leaves out what is no whole frame.
    prompt = torch.tensor([[*text_tokenizer.encode("word0 word1"), vocabulary.begin_id]])
    written = model.generate(prompt, max_new_tokens=60, do_sample=True, pad_token_id=0)[0]
    for span in separate(written, vocabulary, text_tokenizer, repair=True):
        print(f"speech, {float(span.durations[0]):.2f} s" if isinstance(span, Tokens) else f"text: {span}")


if __name__ == "__main__":
    main()
