"""Files of lines for ESPnet's recipes on discrete units (asr2, tok1): pseudo-labels, and a CJK character for each."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from semtok.corpus.exporters.archives import sort_lines
from semtok.corpus.exporters.exporter import check_one_row, check_sizes, check_words, codes_of, new_folder, runs_of
from semtok.corpus.reading import TokenCorpus

_FIRST = 0x4E00
# ESPnet's own bound: the CJK Unified Ideographs of Unicode 1.1 end here.
_MOST = 20_900


def export_espnet_text(corpus: TokenCorpus, folder: Path) -> list[Path]:
    """Writes `pseudo_labels_km1000.txt`, lines `utt 12 12 7`; `text.ts`, a character for each of these; `text.rm`, the
    same without repetitions; `utt2num_frames_km1000`; and `distinct_cjk_token_lists`, which character is which code.

    Lines are sorted by the bytes of their ids.

    Returns:
        What was written.

    Raises:
        CorpusError: several rows of codes, or more than 20,900 codes; ids with spaces; a folder that has something in
            it.
    """
    check_one_row(corpus, "ESPnet's text")
    check_sizes(corpus, "ESPnet's text", _MOST)
    check_words(corpus)
    (size,) = corpus.codebooks.sizes
    names = ["text.ts", "text.rm", f"pseudo_labels_km{size}.txt", f"utt2num_frames_km{size}"]
    signs = [chr(_FIRST + code) for code in range(size)]
    with new_folder(folder) as aside:
        with ExitStack() as files:
            ts, rm, labels, frames = [
                files.enter_context((aside / name).open("w", encoding="utf-8", newline="\n")) for name in names
            ]
            for clip in corpus:
                codes = codes_of(clip)[0].tolist()
                ts.write(f"{clip.id} {''.join(signs[code] for code in codes)}\n")
                rm.write(f"{clip.id} {''.join(signs[code] for code in runs_of(codes)[0])}\n")
                labels.write(f"{clip.id} {' '.join(map(str, codes))}\n")
                frames.write(f"{clip.id} {len(codes)}\n")
        sort_lines(*(aside / name for name in names))
        table = "".join(f"{code} {sign}\n" for code, sign in enumerate(signs))
        (aside / "distinct_cjk_token_lists").write_text(table, encoding="utf-8")
    return [folder / name for name in (*names, "distinct_cjk_token_lists")]
