"""Pictures and tables of the page, as HTML with a description that a screen reader reads."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from semtok.codebooks.layers import Layer
from semtok.demo.listening import Excerpt, RowBits
from semtok.tokens import Tokens

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _DPI = 5.0, 170
_WINDOW, _HOP = 512, 128
_LOWEST_DB, _HIGHEST_DB = -90, -20
# Of rows that the vocoder does not hear.
_DIMMED = 0.15


def draw_spectrograms(waveforms: dict[str, Tensor], sample_rate: int, part: Excerpt) -> str:
    """Waveforms [samples] of the same excerpt, by their title, one above the other."""
    figure = _figure(1.55 * len(waveforms) + 0.4)
    panels = np.ravel(figure.subplots(len(waveforms), 1, sharex=True))
    for axes, (title, waveform) in zip(panels, waveforms.items(), strict=True):
        image = axes.imshow(
            _levels(waveform),
            aspect="auto",
            origin="lower",
            cmap="magma",
            vmin=_LOWEST_DB,
            vmax=_HIGHEST_DB,
            extent=(*part.seconds, 0, sample_rate / 2000),
        )
        axes.set_title(title)
        axes.set_ylabel("kHz")
    panels[-1].set_xlabel("time (s)")
    figure.colorbar(image, ax=list(panels), label="dB", pad=0.01)
    return _picture(figure, f"Spectrograms, one above the other: {', '.join(waveforms)}", "Spectrograms", part)


def draw_codes(tokens: Tokens, part: Excerpt, decoded: set[int]) -> str:
    """The codes of every row; those of rows that are not decoded are pale."""
    codes = tokens.codes[0, :, part.start : part.stop].cpu().numpy()
    shares = codes / np.array(tokens.codebook_sizes)[:, None]
    figure = _figure(_height(len(codes)))
    axes = figure.subplots()
    _draw_rows(axes, shares, tokens.names, part, decoded, cmap="turbo")
    axes.set_ylabel("layer . stage" if max(tokens.codebooks.stages) > 1 else "layer")
    caption = f"{len(codes)} rows of codes, {', '.join(tokens.names)}, over time; each code has a colour"
    return _picture(figure, caption, "Codes of each layer; rows that are not decoded are pale", part)


def draw_margins(margins: Tensor, names: Sequence[str], part: Excerpt, decoded: set[int]) -> str:
    """How decided the tokens are, [rows, frames]."""
    figure = _figure(_height(len(names)))
    axes = figure.subplots()
    image = _draw_rows(axes, margins.numpy(), names, part, decoded, cmap="viridis")
    axes.set_ylabel("layer . stage" if any("." in name for name in names) else "layer")
    figure.colorbar(image, ax=axes, pad=0.01)
    means = ", ".join(f"{name} {float(row.mean()):.2f}" for name, row in zip(names, margins, strict=True))
    caption = "Margins: 0 where the two nearest centroids tie, 1 where the nearest is met exactly"
    return _picture(figure, f"Margins of the codes over time. Means by row: {means}", caption, part)


def draw_weights(weights: Tensor, layers: Sequence[Layer], part: Excerpt, owner: str) -> str:
    """How much `owner` takes from which layer over time: [layers, frames] of the excerpt."""
    figure = _figure(2.2)
    axes = figure.subplots()
    times = np.linspace(*part.seconds, weights.shape[1])
    means = [float(row.mean()) for row in weights]
    labels = [f"layer {layer}: {mean:.2f}" for layer, mean in zip(layers, means, strict=True)]
    axes.stackplot(times, weights.numpy(), labels=labels)
    axes.set(xlim=part.seconds, ylim=(0, 1), xlabel="time (s)", ylabel="weight")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9, frameon=False)
    return _picture(figure, f"Weights of the layers in {owner} over time. Means: {', '.join(labels)}",
                    f"Layer weights in {owner}, with their means", part)  # fmt: skip


def table_of_bits(rows: Sequence[RowBits]) -> str:
    """Bitrates of the rows that are decoded, and their sum."""
    decoded = [row for row in rows if row.is_decoded]
    body = "".join(
        f'<tr><th scope="row">{escape(row.name)}</th><td>{row.used} of {row.codebook_size}</td>'
        f"<td>{row.plain:.0f}</td><td>{row.coded:.0f}</td></tr>"
        for row in decoded
    )
    plain, coded = (sum(values) for values in zip(*((row.plain, row.coded) for row in decoded), strict=True))
    return (
        '<table class="semtok-bits"><caption>Bitrate of what is decoded, bit/s; entropy coded by the frequencies '
        "in this recording, without the table of these</caption>"
        '<thead><tr><th scope="col">Layer</th><th scope="col">Codes used</th><th scope="col">Plain</th>'
        f'<th scope="col">Entropy coded</th></tr></thead><tbody>{body}</tbody>'
        f'<tfoot><tr><th scope="row">all</th><td></td><td>{plain:.0f}</td><td>{coded:.0f}</td></tr></tfoot></table>'
    )


def side_by_side(*parts: str) -> str:
    """Pictures and tables in as many columns as there is room for."""
    return f'<div class="semtok-pictures">{"".join(parts)}</div>'


def _levels(waveform: Tensor) -> Any:
    """Spectrogram in dB, [bins, frames]."""
    window = torch.hann_window(_WINDOW)
    padded = torch.nn.functional.pad(waveform, (0, max(0, _WINDOW - len(waveform))))
    spectrum = torch.stft(padded, _WINDOW, _HOP, window=window, return_complex=True).abs() / window.sum() * 2
    return (20 * spectrum.clamp(min=1e-5).log10()).numpy()


def _draw_rows(axes: Axes, values: Any, names: Sequence[str], part: Excerpt, decoded: set[int], *, cmap: str) -> Any:
    """A row of the picture for each row of values, 0 to 1, [rows, frames]."""
    opacity = [[1.0 if row in decoded else _DIMMED] for row in range(len(names))]
    image = axes.imshow(
        values,
        aspect="auto",
        interpolation="nearest",
        cmap=cmap,
        vmin=0,
        vmax=1,
        alpha=np.broadcast_to(opacity, values.shape),
        extent=(*part.seconds, len(names) - 0.5, -0.5),
    )
    axes.set_yticks(range(len(names)), list(names))
    axes.set_xlabel("time (s)")
    return image


def _height(rows: int) -> float:
    return 0.9 + 0.16 * max(rows, 6)


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH, height), layout="constrained")


def _picture(figure: Figure, description: str, caption: str, part: Excerpt) -> str:
    """A <figure> that holds its picture itself, so that no file is left anywhere."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_DPI)
    content = base64.b64encode(out.getvalue()).decode()
    start, stop = part.seconds
    caption = f"{description}. From {start:.1f} to {stop:.1f} s."
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{content}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
