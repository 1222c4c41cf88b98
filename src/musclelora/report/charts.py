"""Small charts as SVG within the page: their lengths are shares of the room that they get."""

from __future__ import annotations

from markupsafe import Markup

_MIDDLE = 9  # pixels from the top of a chart that is 18 high


def rate(value: float, low: float, high: float) -> Markup:
    """A share from 0 to 1 with its interval, over a line at one half."""
    return Markup(
        '<svg class="chart rate" height="18" aria-hidden="true" focusable="false">'
        '<line class="track" x1="0" x2="100%" y1="{m}" y2="{m}"/>'
        '<line class="half" x1="50%" x2="50%" y1="1" y2="17"/>'
        '<line class="interval" x1="{low}%" x2="{high}%" y1="{m}" y2="{m}"/>'
        '<circle class="point" cx="{value}%" cy="{m}" r="4.5"/></svg>'
    ).format(m=_MIDDLE, low=_share(low), high=_share(high), value=_share(value))


def beyond(observed: float, expected: float, most: float) -> Markup:
    """How many rows were expected (a ring) and how many there are (a disk), of `most`."""
    ends = sorted((_share(observed / most), _share(expected / most)))
    return Markup(
        '<svg class="chart beyond" height="18" aria-hidden="true" focusable="false">'
        '<line class="track" x1="0" x2="100%" y1="{m}" y2="{m}"/>'
        '<line class="interval" x1="{start}%" x2="{end}%" y1="{m}" y2="{m}"/>'
        '<circle class="expected" cx="{expected}%" cy="{m}" r="4"/>'
        '<circle class="point" cx="{observed}%" cy="{m}" r="4.5"/></svg>'
    ).format(
        m=_MIDDLE,
        start=ends[0],
        end=ends[1],
        expected=_share(expected / most),
        observed=_share(observed / most),
    )


def parts(counts: dict[str, int], most: int) -> Markup:
    """Counts side by side in one bar, by the class of each part, of `most`."""
    start, bars = 0.0, Markup("")
    for name, count in counts.items():
        width = _share(count / most)
        bars += Markup('<rect class="{}" x="{}%" y="2" width="{}%" height="14"/>').format(name, start, width)
        start = round(start + width, 3)
    return Markup(
        '<svg class="chart parts" height="18" aria-hidden="true" focusable="false">{}</svg>'
    ).format(bars)


def _share(value: float) -> float:
    return round(100 * min(max(value, 0.0), 1.0), 3)
