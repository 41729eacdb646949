"""k-means fitted on speech of one corpus, measured on held-out clips of the same and of others.

    python experiments/domain.py --train FOLDER --test FOLDER [--encoder CHECKPOINT]

Every codebook is fitted on as many frames. The vocoders are trained on all corpora, so that the codebooks alone differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import COMMON, Setting, parse_options, read_setting
from laboratory import Laboratory
from tables import mean_over_clips, new_results, write_results


@dataclass(frozen=True)
class Domain:
    """Folders below the training folder that k-means is fitted on, and below the test folder that are measured."""

    name: str
    fit: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Domains(Setting):
    domains: tuple[Domain, ...]


def main() -> None:
    options = parse_options(__doc__)
    setting = read_setting(COMMON, Path(__file__).with_suffix(".yaml"), kind=Domains, quick=options.quick)
    laboratory = Laboratory(options, setting)
    results = new_results()
    for fitted in setting.domains:
        codebooks = laboratory.codebooks(setting.codebook_size, fitted.fit)
        for seed in setting.seeds:
            scores = laboratory.run(codebooks, seed, subsets=[setting.layers])[0]
            for tested in setting.domains:
                found = {"features": laboratory.explained(codebooks, setting.layers, tested.test)}
                chosen = np.isin(laboratory.test.folders, tested.test)
                results[fitted.name][tested.name].append(found | mean_over_clips(scores, chosen))
    write_results(options.output, "domain", results, axis="measured on", series="k-means of", facts=laboratory.facts())


if __name__ == "__main__":
    main()
