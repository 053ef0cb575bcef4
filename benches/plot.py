"""A plot of growth as SVG: both axes logarithmic, so that a straight line is a power, and a flat one is none."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 520, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 34, 48
COLORS = ["#1f6feb", "#d1642a", "#2a9d57"]

Points = list[tuple[float, float]]


def svg(title: str, axes: tuple[str, str], series: dict[str, Points]) -> str:
    """`series` are points by their name. An x of 0 is drawn at 1."""
    every = [(max(x, 1.0), y) for points in series.values() for x, y in points]
    (x_low, x_high), (y_low, y_high) = (decades([point[axis] for point in every]) for axis in (0, 1))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(max(x, 1.0)) - x_low) / (x_high - x_low)
        up = (math.log10(y) - y_low) / (y_high - y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(WIDTH / 2, 20, title, "middle"),
        text(WIDTH / 2, HEIGHT - 10, axes[0], "middle"),
        f'<g transform="translate(16 {HEIGHT / 2}) rotate(-90)">{text(0, 0, axes[1], "middle")}</g>',
    ]
    for power in range(x_low, x_high + 1):
        x, _ = place(10.0**power, 10.0**y_low)
        parts += [line(x, TOP, x, HEIGHT - BOTTOM), text(x, HEIGHT - BOTTOM + 16, f"{10**power:,}", "middle")]
    for power in range(y_low, y_high + 1):
        _, y = place(1.0, 10.0**power)
        parts += [line(LEFT, y, WIDTH - RIGHT, y), text(LEFT - 6, y + 4, f"{10.0**power:,.10g}", "end")]
    for color, (name, points) in zip(COLORS, series.items(), strict=False):
        at = [place(x, y) for x, y in points]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{color}" stroke-width="2"/>')
        for (x, y), (_, value) in zip(at, points, strict=True):
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>')
            parts.append(text(x, y - 7, f"{value:.3g}", "middle", color))
        parts.append(text(LEFT + 8, TOP + 14 + 15 * list(series).index(name), name, "start", color))
    return "\n".join([*parts, "</svg>", ""])


def decades(values: list[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def text(x: float, y: float, words: str, anchor: str, color: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'
