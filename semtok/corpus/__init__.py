"""A corpus of speech -> a corpus of tokens: Parquet files, made once, by any number of processes. Extra `corpus`.

`encode_corpus` writes them, `read` gives their clips as `Tokens` again, `status` and `verify` check them, `export`
writes them in the formats of others.
"""

from __future__ import annotations

from semtok.errors import needs_extra

with needs_extra("corpus"):
    from semtok.corpus.checking import BytesVerified, CorpusStatus, Verification, status, verify, verify_bytes
    from semtok.corpus.encoding import Encoded, encode_corpus
    from semtok.corpus.exporters import EXPORTERS, export
    from semtok.corpus.ray_engine import encode_corpus_with_ray
    from semtok.corpus.reading import TokenClip, TokenCorpus, read

__all__ = [
    "EXPORTERS",
    "BytesVerified",
    "CorpusStatus",
    "Encoded",
    "TokenClip",
    "TokenCorpus",
    "Verification",
    "encode_corpus",
    "encode_corpus_with_ray",
    "export",
    "read",
    "status",
    "verify",
    "verify_bytes",
]
