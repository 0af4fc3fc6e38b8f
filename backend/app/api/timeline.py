"""Draw an activity timeline as SVG 1.1, for pages, emails and dashboards."""

from collections.abc import Sequence

HEIGHT = 100
_DIGITS = 2


def draw_svg(*, scores: Sequence[float], bucket: float) -> str:
    """Return an SVG with one bar per score; the highest bar fills the height.

    The width is the number of buckets, and the image stretches to its container. An empty timeline
    is an empty image.
    """
    peak = max([0.01, *scores])
    width = max(1, len(scores))
    # One path instead of a thousand elements: up, across and down for each bar.
    path = "".join(
        f"M{position} {HEIGHT}v{-_height(score, peak):g}h1V{HEIGHT}"
        for position, score in enumerate(scores)
        if _height(score, peak) > 0
    )
    seconds = round(len(scores) * bucket, _DIGITS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" '
        f'preserveAspectRatio="none" role="img"><title>Motion over {seconds:g} seconds</title>'
        f'<path d="{path}" fill="#d9480f"/></svg>\n'
    )


def _height(score: float, peak: float) -> float:
    return round(score / peak * HEIGHT, _DIGITS)
