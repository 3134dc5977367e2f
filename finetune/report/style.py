"""The style of the page: two color schemes, paper, and a telephone's width."""

from __future__ import annotations

# Colors of series are those of Okabe and Ito 2008, which the color-blind tell apart, darker or
# lighter by scheme; text has a contrast of 4.5:1 at least against its ground in both.
_LIGHT = """
--paper: #ffffff; --ink: #1b1c20; --soft: #585b65; --line: #d5d8df; --card: #f4f5f8;
--accent: #0b5a9c; --good: #186a3b; --bad: #a4241b; --warn: #7a4d00; --bar: #5b93c4;
--c0: #0072b2; --c1: #b85c00; --c2: #00805d; --c3: #a8487e; --c4: #6a51a3; --c5: #7d6b00;
--c6: #3a87ad; --c7: #555555; --r: 24, 106, 59; --w: 176, 48, 32;
"""
_DARK = """
--paper: #14161a; --ink: #eaebef; --soft: #a9adb8; --line: #3a3e48; --card: #1e2127;
--accent: #86bff2; --good: #7fd49c; --bad: #ff9a8f; --warn: #f0c060; --bar: #3f76a8;
--c0: #56b4e9; --c1: #e69f00; --c2: #35c79a; --c3: #e39bc4; --c4: #b3a2e6; --c5: #e0d040;
--c6: #7fd0f0; --c7: #b0b0b0; --r: 80, 190, 120; --w: 235, 100, 85;
"""
_PAGE = """
:root { color-scheme: light dark; LIGHT }
@media (prefers-color-scheme: dark) { :root { DARK } }
* { box-sizing: border-box; }
html { background: var(--paper); color: var(--ink); }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; max-width: 68rem;
  margin: 0 auto; padding: 1.2rem 1rem 4rem; overflow-wrap: break-word; }
h1 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 .3rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: .8rem;
  border-top: 2px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .3rem; } h4 { font-size: .95rem; margin: 1rem 0 .2rem; }
p, ul, ol { margin: .4rem 0; } ul, ol { padding-left: 1.2rem; }
a { color: var(--accent); } a:focus-visible, summary:focus-visible, .scroll:focus-visible {
  outline: 3px solid var(--accent); outline-offset: 2px; }
code { font: .9em ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: var(--card); padding: .6rem .8rem; border-radius: .4rem; margin: .3rem 0;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: .92rem; }
.skip { position: absolute; left: -99rem; } .skip:focus { left: 1rem; background: var(--paper); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1rem; list-style: none; padding: 0;
  font-size: .92rem; }
.verdict { background: var(--card); border-radius: .8rem; padding: 1rem 1.2rem; margin: .8rem 0; }
.big { font-size: 3rem; font-weight: 680; line-height: 1.1; margin: 0; }
.verdict { display: grid; gap: 0 2rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: .22rem .6rem; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; } tbody th:first-child { min-width: 6.5rem; } td { overflow-wrap: normal; }
tr > :first-child { text-align: left; } .left td { text-align: left; }
.left td:last-child, .left th:first-child { min-width: 9rem; }
.scroll { overflow-x: auto; max-width: 100%; }
details { margin: .5rem 0; } summary { cursor: pointer; color: var(--accent); }
figure { margin: 0; min-width: 0; } figcaption { font-size: .88rem; color: var(--soft); }
.name { font-weight: 600; margin: 0 0 .2rem; }
.grid2 { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr));
  gap: 1.6rem 2rem; align-items: start; margin: .8rem 0; }
.wide { grid-column: 1 / -1; }
svg text { fill: var(--ink); font: 11.5px system-ui, sans-serif; }
svg text.soft { fill: var(--soft); font-size: 10.5px; } svg text.strong { font-weight: 650; }
svg text.halo { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; }
svg.chart { display: block; width: 100%; max-width: 34rem; height: auto; }
.wide svg.chart { max-width: 52rem; }
.grid { stroke: var(--line); } .axis { stroke: var(--soft); }
.dashed { stroke: var(--soft); stroke-dasharray: 4 3; fill: none; }
.error { stroke: var(--ink); stroke-width: 1.6; }
.field { fill: var(--card); stroke: var(--line); } .unsure { fill: var(--soft); opacity: .13; }
.chosen { fill: var(--accent); opacity: .18; }
.self { fill: var(--accent); stroke: var(--paper); stroke-width: 2; }
.bar { fill: var(--bar); } .band { fill: var(--c0); opacity: .2; }
.interval { stroke: var(--accent); stroke-width: 7; stroke-linecap: round; opacity: .55; }
.strength1 { fill: var(--c6); opacity: .55; } .strength2 { fill: var(--c0); opacity: .85; }
.strength3 { fill: var(--c1); opacity: .9; }
polyline { fill: none; stroke-width: 2; } .dashes { stroke-dasharray: 6 4; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); }
.m0 { fill: var(--c0); } .m1 { fill: var(--c1); } .m2 { fill: var(--c2); } .m3 { fill: var(--c3); }
.m4 { fill: var(--c4); } .m5 { fill: var(--c5); } .m6 { fill: var(--c6); } .m7 { fill: var(--c7); }
.own { fill: var(--accent); } .faint { fill: var(--soft); opacity: .5; }
.hollow { fill: none; stroke: var(--soft); stroke-width: 1.6; }
.mistake { stroke: var(--bad); stroke-width: 2; fill: none; stroke-dasharray: 5 2; }
.inline { width: 80px; height: 10px; } .sign { width: 16px; height: 16px; flex: none; }
.store { position: absolute; width: 0; height: 0; }
.key { display: flex; flex-wrap: wrap; gap: .1rem 1rem; list-style: none; padding: 0;
  color: var(--ink); } .key li { display: flex; align-items: center; gap: .3rem; }
.cells { width: 100%; max-width: 34rem; } .cells caption { text-align: left; font-size: .88rem;
  color: var(--soft); caption-side: bottom; padding-top: .3rem; }
.cells td, .cells tr > * { text-align: left; border: 1px solid var(--line); }
.cells .here { font-weight: 650; outline: 2px solid var(--accent); outline-offset: -2px; }
.confusion td { text-align: center; border: 1px solid var(--paper); min-width: 2.3rem; }
.confusion th { border: 0; text-align: right; } .confusion tr > :first-child { text-align: left; }
SHADES
.confusion td { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.confusion td[class^="right"] { outline: 1.5px solid var(--good); outline-offset: -2px; }
.confusion a { color: inherit; font-weight: 650; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.4rem, 1fr));
  gap: .8rem; margin: .5rem 0; }
.pairs { display: flex; flex-wrap: wrap; gap: 0 2rem; }
.row { display: flex; flex-wrap: wrap; gap: .8rem; } .row .thumb { width: 7.4rem; }
.thumb svg { display: block; width: 100%; max-width: 9rem; border-radius: .3rem;
  border: 3px solid var(--line); background: var(--card); }
.thumb.wrong svg { border-color: var(--bad); border-style: dashed; }
.thumb figcaption { color: var(--ink); font-size: .84rem; line-height: 1.35; }
.thumb .path { display: block; color: var(--soft); overflow-wrap: anywhere; font-size: .78rem; }
.code { font: .85em ui-monospace, monospace; border: 1px solid; border-radius: .3rem;
  padding: 0 .3rem; } .error .code, .code.error { color: var(--bad); stroke: none; }
.code.warning { color: var(--warn); } .code.note { color: var(--soft); }
dl { display: grid; grid-template-columns: minmax(7rem, 13rem) 1fr; gap: .3rem 1rem;
  margin: .6rem 0; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
@media (max-width: 30rem) { body { padding: .8rem .8rem 3rem; } .big { font-size: 2.5rem; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  th, td { padding: .2rem .4rem; }
  .gallery { grid-template-columns: repeat(auto-fill, minmax(6.4rem, 1fr)); }
  .row .thumb { width: 6.8rem; } }
@media print { :root { LIGHT } html { background: #fff; } body { font-size: 11pt; max-width: none; }
  nav, .skip { display: none; } figure, article, .verdict { break-inside: avoid; }
  h2, h3, h4 { break-after: avoid; } .scroll { overflow: visible; }
  a { color: inherit; }
  .gallery { grid-template-columns: repeat(6, 1fr); } .grid2 { grid-template-columns: 1fr 1fr; } }
"""


def page() -> str:
    """The style sheet."""
    shades = "\n".join(
        f".{kind}{i} {{ background: rgba(var(--{color}), {0.055 * i + 0.03:.3f}); }}"
        for kind, color in (("right", "r"), ("wrong", "w"))
        for i in range(1, 10)
    )
    made = _PAGE.replace("LIGHT", _LIGHT).replace("DARK", _DARK).replace("SHADES", shades)
    return " ".join(made.split())
