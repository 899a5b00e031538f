"""The sections of a run's report as HTML. Whatever comes from the run is escaped here."""

from __future__ import annotations

import dataclasses
import html
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from experiments.report_plots import evenly, histogram_figure
from experiments.report_samples import picture_uri
from gan3d.config import PRESETS, Config
from gan3d.evaluation.table import TABLE_ROWS
from gan3d.trained import TrainedGenerator
from gan3d.training.dashboard import ALARMS, PREFIX, advise

MAX_SHEETS = 24
SHEET_QUALITY = 85  # of WebP
Rows = Sequence[Mapping[str, Any]]

# Titles of the groups of fields, by the first field of each.
GROUPS = {
    "preset": "Run",
    "yaw_degrees": "Viewpoints and camera",
    "chart": "Mesh, texture, background",
    "latent_size": "Networks",
    "loss": "Adversarial training",
    "start_radius": "Size and smoothness of the shapes",
    "generator_learning_rate": "Optimisation",
    "nan_policy": "Records",
}

# Name, what it says, format.
MEASURES = {
    "coverage_median": ("coverage", "of the picture, from the front, by the object", "{:.0%}"),
    "front_depth_to_width": ("depth of the front", "over its width; a billboard has 0", "{:.2f}"),
    "convexity": ("convexity", "1: bulges like half an ellipsoid, &minus;1: hollow", "{:.2f}"),
    "hollow_share": ("hollow fronts", "share of the samples", "{:.0%}"),
    "flipped_faces": ("flipped faces", "where the mesh is folded", "{:.1%}"),
    "degenerate_faces": ("degenerate faces", "collapsed to lines or points", "{:.1%}"),
    "edge_ratio": (
        "longest edges",
        "over the median; spikes and fins have long ones",
        "{:.1f}&times;",
    ),
    "object_contrast": ("contrast", "of the object with what lies behind it", "{:.2f}"),
    "size_against_start": ("size", "mean radius over that of the start shape", "{:.2f}&times;"),
}


def missing(text: str) -> str:
    """The note where a part of the report would be."""
    return f'<p class="missing">{text}</p>'


def facts(generator: TrainedGenerator) -> str:
    """What one asks first."""
    config, topology = generator.parts.config, generator.parts.stage.topology
    share = f" of {config.images:,}" if generator.images_seen < config.images else ""
    pairs = {
        "images seen": f"{generator.images_seen:,}{share}",
        "data": f"{_value(config.data)}, {config.resolution} &times; {config.resolution} pixels",
        "mesh": f"{topology.num_vertices:,} vertices, {topology.num_faces:,} faces",
        "viewpoints": f"yaw ± {config.yaw_degrees:g}°, pitch ± {config.pitch_degrees:g}°",
        "field of view": f"{config.fov_degrees:g}°",
        "seed": f"{config.seed}",
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in pairs.items())
    return f'<dl class="facts">{items}</dl>'


def configuration(config: Config) -> str:
    """Tables of all fields by group; what differs from the preset is marked."""
    base = PRESETS.get(config.preset.split("/")[0], Config())
    groups: list[tuple[str, list[str]]] = []
    for field in dataclasses.fields(Config):
        if field.name in GROUPS or not groups:
            groups.append((GROUPS[field.name], []))
        value, usual = getattr(config, field.name), getattr(base, field.name)
        groups[-1][1].append(_field_row(field, value, usual))
    tables = "".join(
        f'<table class="fields"><caption>{title}</caption><tbody>{"".join(rows)}</tbody></table>'
        for title, rows in groups
    )
    values = (
        (f.name, getattr(config, f.name), getattr(base, f.name)) for f in dataclasses.fields(Config)
    )
    changed = ", ".join(
        f"<code>{name}</code> {_value(value)} instead of {_value(usual)}"
        for name, value, usual in values
        if value != usual and name != "preset"
    )
    summary = f"with {changed}" if changed else "unchanged"
    return (
        f"<p>Preset <code>{html.escape(config.preset)}</code>, {summary}.</p>"
        f'<div class="groups">{tables}</div>'
    )


def _field_row(field: dataclasses.Field, value: Any, usual: Any) -> str:
    differs = value != usual and field.name != "preset"
    note = f' <span class="was">preset: {_value(usual)}</span>' if differs else ""
    mark = ' class="differs"' if differs else ""
    return (
        f'<tr{mark}><th scope="row" title="{html.escape(field.metadata["help"])}">{field.name}</th>'
        f"<td>{_value(value)}{note}</td></tr>"
    )


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return html.escape(f"{value:g}" if isinstance(value, float) else str(value))


def sheets(directory: pathlib.Path) -> str:
    """A slider through the sheets of samples, oldest first."""
    paths = sorted(path for path in directory.glob("*.png") if path.stem.isdecimal())
    chosen = [paths[i] for i in evenly(len(paths), MAX_SHEETS)] if paths else []
    pictures, unreadable = [], 0
    for path in chosen:
        uri = _embed(path)
        if uri is None:
            unreadable += 1
        else:
            pictures.append((f"{int(path.stem):,}", uri))
    if not pictures:
        return missing("The run has no sheets of samples yet: training writes them as it goes.")
    last = len(pictures) - 1
    images = "".join(
        f'<img src="{uri}" alt="sheet of samples, {caption} images seen" data-caption="{caption}"'
        f"{'' if i == last else ' hidden'}>"
        for i, (caption, uri) in enumerate(pictures)
    )
    note = f" {len(chosen)} of {len(paths)} sheets." if len(chosen) < len(paths) else ""
    note += f" {unreadable} could not be read." if unreadable else ""
    return (
        f'<figure id="sheets-over-time"><div class="slide"><label>Images seen <input type="range"'
        f' min="0" max="{last}" value="{last}" step="1"></label>'
        f"<output>{pictures[-1][0]}</output></div>"
        f'<div class="wide" tabindex="0" role="region" aria-label="sheet of samples">{images}</div>'
        "<figcaption>The same latents from the same viewpoints, again and again: a generated"
        " picture, its normals, texture and background, and the shape from five sides."
        f"{note}</figcaption></figure>"
    )


def _embed(path: pathlib.Path) -> str | None:
    """A picture of the run; None if it is missing, damaged, or being written right now."""
    try:
        with Image.open(path) as image:
            return picture_uri(image.convert("RGB"), SHEET_QUALITY)
    except (OSError, ValueError):
        return None


def readings(rows: Rows) -> list[dict[str, float]]:
    """The dashboard's measures, oldest first; nan where undefined."""
    names = [name for name in (*MEASURES, "coverage_low", "coverage_high")]
    logged = sorted((r for r in rows if PREFIX + "convexity" in r), key=lambda r: r["images"])
    value = lambda row, name: math.nan if row.get(PREFIX + name) is None else row[PREFIX + name]  # noqa: E731
    return [{"images": r["images"], **{n: value(r, n) for n in names}} for r in logged]


def warnings(rows: Rows) -> str:
    """What the last look at the shapes has to say; empty if they are sound."""
    looks = readings(rows)
    # Nothing has been learned at the start, so that there is nothing to advise.
    lines = advise(looks[-1]) if looks and looks[-1]["images"] else []
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<ul class="warnings" aria-label="warnings">{items}</ul>' if items else ""


def soundness(rows: Rows) -> str:
    """The measures of degeneracy, at the start and now, beside their limits."""
    looks = readings(rows)
    if not looks:
        return missing("The shapes have not been looked at yet: training does so at every sheet.")
    first, last = looks[0], looks[-1]
    lines = []
    for name, (label, meaning, form) in MEASURES.items():
        beyond = [a for a in ALARMS if a.limit.measure == name and a.limit.crossed(last[name])]
        verdict = "beyond" if beyond and last["images"] else "sound" if _limits(name) else ""
        lines.append(
            f'<tr class="{verdict}"><th scope="row">{label}<small>{meaning}</small></th>'
            f"<td>{_number(form, first[name])}</td><td>{_number(form, last[name])}</td>"
            f"<td>{_limit_text(name, form)}</td><td>{verdict}</td></tr>"
        )
    histogram = histogram_figure(rows, PREFIX + "coverage_histogram")
    figure = (
        f'<figure class="panel histogram"><figcaption><strong>coverage of the samples</strong>'
        '<span class="legend">the stronger the colour, the more of them</span></figcaption>'
        f"{histogram}</figure>"
        if histogram
        else ""
    )
    return (
        '<div class="beside"><div class="wide" tabindex="0" role="region" aria-label="measures of'
        ' the shapes"><table class="measures"><thead><tr><th></th>'
        f"<th>at {first['images']:,}</th><th>at {last['images']:,}</th><th>sound</th>"
        f"<th></th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>{figure}</div>"
    )


def _limits(name: str) -> tuple[list[float], list[float]] | None:
    limits = [alarm.limit for alarm in ALARMS if alarm.limit.measure == name]
    lows = [limit.low for limit in limits if limit.low is not None]
    highs = [limit.high for limit in limits if limit.high is not None]
    return (lows, highs) if limits else None


def _limit_text(name: str, form: str) -> str:
    if (limits := _limits(name)) is None:
        return ""
    lows, highs = ([form.format(value) for value in side] for side in limits)
    if lows and highs:
        return f"{lows[0]} to {highs[0]}"
    return f"at least {lows[0]}" if lows else f"at most {highs[0]}"


def _number(form: str, value: float) -> str:
    if not math.isfinite(value):
        return "&ndash;"
    text = form.format(value)
    # No sign of a number that is rounded to zero.
    return text.replace("-", "&minus;" if text.strip("-0.%&times;") else "")


def evaluation(result: Mapping[str, Any] | None, picture: pathlib.Path, images_seen: int) -> str:
    """The scores against the truth, and the picture of mean shapes."""
    if result is None:
        return missing(
            "The run has not been evaluated yet: <code>python -m experiments.evaluate</code>"
            " compares it with the truth."
        )
    scores, seen = result["scores"], int(result["images_seen"])
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in scores)
    lines = []
    for key, label in TABLE_ROWS:
        values = [family.get(key) for family in scores.values()]
        if any(value is not None for value in values):
            cells = "".join(
                f"<td>{'&ndash;' if v is None else _number('{:.3f}', float(v))}</td>"
                for v in values
            )
            lines.append(f'<tr><th scope="row">{html.escape(label)}</th>{cells}</tr>')
    stale = "" if seen == images_seen else f" The samples above are those at {images_seen:,}."
    image = ""
    if uri := _embed(picture):
        image = (
            f'<figure><div class="wide" tabindex="0" role="region" aria-label="mean shapes">'
            f'<img src="{uri}" alt="mean coverage and depth of each column, from three sides">'
            "</div><figcaption>Mean silhouettes and depths, and the difference from the truth in"
            " front: red is too near, blue too far.</figcaption></figure>"
        )
    return (
        f"<p>At {seen:,} images seen.{stale}</p>"
        '<div class="wide" tabindex="0" role="region" aria-label="scores"><table class="scores">'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        f"{image}"
    )
