"""How the page of an evaluation looks, on screens light and dark, and on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --panel: #ffffff; --ink: #1b1d20; --soft: #565d66; --line: #d8dce1;
  --accent: #1d5aa6; --accent-rgb: 29 90 166; --on-accent: #ffffff; --on-soft: #000000; --warm: #b4501a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #131517; --panel: #1b1e21; --ink: #e9ebee; --soft: #a8b0ba; --line: #363c43;
    --accent: #7fb4f2; --accent-rgb: 127 180 242; --on-accent: #000000; --on-soft: #ffffff; --warm: #f0a273;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 3rem 0 .5rem; overflow-wrap: anywhere; }
h3 { font-size: 1.05rem; margin: 2.25rem 0 .5rem; }
p, figcaption, .notes { max-width: 46rem; }
a { color: var(--accent); }
.soft, figcaption, caption { color: var(--soft); font-size: .875rem; text-align: left; }
figure { margin: 0; }
figcaption { margin-top: .5rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem; }
.tile dt { font-size: .875rem; color: var(--soft); }
.tile dd { margin: 0; }
.tile .figure { font-size: 1.75rem; line-height: 1.25; font-weight: 600; }
.notes { border-left: .25rem solid var(--warm); padding: .125rem 0 .125rem 1rem; margin: 1.25rem 0; list-style: none; }
.notes li { margin: .25rem 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 1.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { padding-bottom: .5rem; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; }
th:first-child, .texts td { text-align: left; }
.texts td { white-space: normal; overflow-wrap: anywhere; }
.heat td { text-align: center; min-width: 3.9rem; border: 1px solid var(--line); color: var(--on-soft);
  background: rgb(var(--accent-rgb) / var(--share)); }
.heat td.half { color: #000000; }
.heat td.full { color: var(--on-accent); }
.heat td.right { outline: 2px solid var(--ink); outline-offset: -2px; }
.heat td.none { color: var(--soft); }
.heat thead th { text-align: center; }
svg { display: block; max-width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg .title { fill: var(--ink); font-weight: 600; font-size: 13px; }
svg .grid { stroke: var(--line); }
svg .axis { stroke: var(--soft); }
svg .ideal { stroke: var(--soft); stroke-dasharray: 4 4; fill: none; }
svg .bar { fill: var(--accent); }
svg .sure { fill: var(--warm); fill-opacity: .3; stroke: var(--warm); }
svg .careful { fill: var(--accent); fill-opacity: .4; stroke: var(--accent); }
svg .count { fill: var(--soft); fill-opacity: .5; }
svg .curve { stroke: var(--accent); stroke-width: 2.5; fill: none; }
svg .dot { fill: var(--accent); }
svg .whisker { stroke: var(--accent); stroke-width: 2.5; }
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--accent); font-size: .875rem; }
@media print {
  body { font-size: 11px; }
  .tile, figure, tr { break-inside: avoid; }
  .heat td { print-color-adjust: exact; }
}
"""
