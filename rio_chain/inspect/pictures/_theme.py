"""The colours of pictures: those of the page around them, light or dark, from the variables that the page sets.

JupyterLab, VS Code and mkdocs-material set such variables. Elsewhere the system setting decides between light and dark,
and the picture has its own background. Tones are readable on both. Text never has a tone.
"""

from __future__ import annotations

TONES = {
    "time": "#c27c0e",
    "again": "#3b82f6",
    "hedge": "#8b5cf6",
    "guard": "#e5484d",
    "share": "#0d9488",
    "chaos": "#d6409f",
    "else": "#9a6b3f",
    "place": "#7d8590",
}
LEGEND = {
    "time": "time limit",
    "again": "retry",
    "hedge": "hedge",
    "guard": "guard",
    "share": "shared answer",
    "chaos": "faults on purpose",
    "else": "fallback",
    "place": "other",
}
"""The meaning of each tone of rings, in the order of the legend."""
STATES = {
    "succeeded": "#2b9a56",
    "failed": "#e5484d",
    "timed_out": "#c27c0e",
    "abandoned": "#8b5cf6",
    "cancelled": "#7d8590",
    "skipped": "#7d8590",
    "running": "#3b82f6",
    "waiting": "#7d8590",
}
SANS = 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif'
MONO = 'ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace'

_GROUND = """
{id}{{--f:#1f2328;--b:#fff;
--fg:var(--jp-content-font-color1,var(--vscode-editor-foreground,var(--md-default-fg-color,var(--f))));
--bg:var(--jp-layout-color0,var(--vscode-editor-background,var(--md-default-bg-color,var(--b))))}}
@media(prefers-color-scheme:dark){{{id}{{--f:#e6e8eb;--b:#15181c}}}}
"""


def ground(selector: str) -> str:
    """The two colours of the page, as ``--fg`` and ``--bg``."""
    return _GROUND.format(id=selector)


def sheet(selector: str, rules: str) -> str:
    """A style sheet that applies only inside of ``selector``. In the rules, ``&`` is the selector."""
    tones = "".join(f"& .t-{name}{{--t:{colour}}}" for name, colour in {**TONES, **STATES}.items())
    return ground(selector) + f"{tones}\n{rules.strip()}\n".replace("&", selector)
