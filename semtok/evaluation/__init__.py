"""How good resynthesised speech is: metrics, the loop over layer subsets, the report. Needs the extra `semtok[eval]`.

`evaluate_resynthesis` encodes a folder of speech, decodes it from several subsets of the layers and measures each;
`write_report` turns what it found into a table (Markdown and JSON) and a plot of quality over bitrate.
"""

from __future__ import annotations

from semtok.evaluation.report import write_report
from semtok.evaluation.resynthesis import Clip, Resynthesis, Row, default_subsets, evaluate_resynthesis, find_clips

__all__ = [
    "Clip",
    "Resynthesis",
    "Row",
    "default_subsets",
    "evaluate_resynthesis",
    "find_clips",
    "write_report",
]
