"""Several tokenizers side by side, by the measures of the field.

`open_subjects` loads them by name, `run_benchmark` measures them on the same speech, and `write_benchmark` makes a page
of it. `run_tasks`, in `tasks` as it needs the extra `semtok[train]`, measures them by the models that learn from them,
and `run_suite` of `language` by language models of their tokens.
`semtok benchmark` is the command of all; it needs the extra `semtok[eval]`.
"""

from __future__ import annotations

from semtok.analysis.benchmark.page import write_benchmark
from semtok.analysis.benchmark.results import Benchmark
from semtok.analysis.benchmark.run import run_benchmark
from semtok.analysis.benchmark.subjects import Subject, open_subjects

__all__ = ["Benchmark", "Subject", "open_subjects", "run_benchmark", "write_benchmark"]
