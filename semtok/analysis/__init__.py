"""Which layers to take: what the tokens of each tell, cost and keep, measured on one's own recordings.

`Study` has every measure as a method that gives a table, and `write_report` a page of all of them; `semtok study` and
`semtok select` are their commands. The measures themselves are functions of codes and labels: `code_statistics`,
`information`, `probe`, `information_matrix`, `layer_shares`, `select_layers`, `stability`, `abx_error`, `pwcca`.
Drawing and resynthesis need the extra `semtok[study]`.
"""

from __future__ import annotations

from semtok.analysis.abx import abx_error
from semtok.analysis.cca import pwcca
from semtok.analysis.codes import CodeStatistics, code_statistics
from semtok.analysis.fitting import fit_tokenizers, is_encoder
from semtok.analysis.information import Information, conditional_information, information
from semtok.analysis.layers import Share, information_matrix, layer_shares
from semtok.analysis.probes import Probe, probe
from semtok.analysis.report import write_report
from semtok.analysis.selection import Choice, knee, select_layers
from semtok.analysis.stability import stability
from semtok.analysis.study import Study
from semtok.analysis.tables.importance import importance
from semtok.analysis.tables.selection import recommend
from semtok.analysis.tables.table import Table, compare, study_cache

__all__ = [
    "Choice",
    "CodeStatistics",
    "Information",
    "Probe",
    "Share",
    "Study",
    "Table",
    "abx_error",
    "code_statistics",
    "compare",
    "conditional_information",
    "fit_tokenizers",
    "importance",
    "information",
    "information_matrix",
    "is_encoder",
    "knee",
    "layer_shares",
    "probe",
    "pwcca",
    "recommend",
    "select_layers",
    "stability",
    "study_cache",
    "write_report",
]
