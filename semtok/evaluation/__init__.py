"""How good resynthesised speech is: metrics, the loop over layer subsets, the report. Needs the extra `semtok[eval]`.

`evaluate_resynthesis` encodes a folder of speech, decodes it from several subsets of the layers and measures each by
`METRICS`, some with the judges of `load_judges`; `write_report` turns the result into a table (Markdown and JSON) and a
plot of quality over bitrate. What tokens say of phones is measured by `semtok.analysis`.
"""

from __future__ import annotations

from semtok.evaluation.judges import Judges, load_judges
from semtok.evaluation.metrics import METRICS, Metric
from semtok.evaluation.report import write_report
from semtok.evaluation.resynthesis import Resynthesis, Row, default_subsets, evaluate_resynthesis

__all__ = [
    "METRICS",
    "Judges",
    "Metric",
    "Resynthesis",
    "Row",
    "default_subsets",
    "evaluate_resynthesis",
    "load_judges",
    "write_report",
]
