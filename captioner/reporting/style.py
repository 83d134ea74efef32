"""The page's style sheet, which stands in the page: no file beside it, nothing fetched."""

CSS = """
:root {
  color-scheme: light dark;
  --ground: #f6f5f1; --sheet: #ffffff; --ink: #1e2226; --muted: #575e66; --line: #d9d6cd;
  --accent: #1b5e85; --tint: #e7f0f5; --good: #1d6b3a; --bad: #a3201d; --mark: #fbe3a1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --sheet: #1d2125; --ink: #e9ebec; --muted: #a9b0b7; --line: #33393f;
    --accent: #8fc7ea; --tint: #20323e; --good: #8ed7a5; --bad: #ffa097; --mark: #5d4a12;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem clamp(0.75rem, 4vw, 2.5rem) 3rem; max-width: 70rem;
  background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif;
  overflow-wrap: break-word;
}
h1 { margin: 0; font-size: 1.6rem; letter-spacing: -0.01em; }
h2 { margin: 2.5rem 0 0.25rem; font-size: 1.25rem; }
h3 { margin: 0; font-size: 1.1rem; line-height: 1.35; }
h2 ~ h3 { margin-top: 1.5rem; }
h4 { margin: 0.75rem 0 0.1rem; font-size: 0.85rem; font-weight: 600; color: var(--muted); }
p { margin: 0.25rem 0; max-width: 46rem; }
a { color: var(--accent); }
nav ul { display: flex; flex-wrap: wrap; gap: 0.1rem 1.1rem; margin: 0.75rem 0 0; padding: 0;
  list-style: none; }
.muted, footer { color: var(--muted); }
.note { color: var(--muted); font-size: 0.9rem; }
footer { margin-top: 2.5rem; font-size: 0.9rem; }
.wide { overflow-x: auto; margin-top: 0.75rem; }
.wide:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; background: var(--sheet); border: 1px solid var(--line);
  font-size: 0.95rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: 0.3rem; color: var(--muted); font-size: 0.9rem; }
th, td { padding: 0.3rem 0.6rem; border-top: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th[scope=row] { text-align: left; font-weight: 400; }
th[scope=col] { font-size: 0.85rem; color: var(--muted); font-weight: 600; }
thead th:first-child { text-align: left; }
tr.main th, tr.main td { font-weight: 700; }
td.better { color: var(--good); font-weight: 600; }
td.worse { color: var(--bad); font-weight: 600; }
td.bar { padding: 0 0.6rem; }
svg { display: block; }
svg text { fill: var(--muted); font-size: 11px; font-family: inherit; }
svg .span { stroke: var(--accent); stroke-width: 6; stroke-opacity: 0.35; }
svg .point { fill: var(--accent); }
svg .axis { stroke: var(--line); stroke-width: 1; }
svg .curve { fill: none; stroke: var(--accent); stroke-width: 2; }
svg .column { fill: var(--accent); fill-opacity: 0.75; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.1rem 1rem; margin: 0.75rem 0 0;
  font-size: 0.9rem; }
dt { color: var(--muted); }
dd { margin: 0; min-width: 0; }
article { display: grid; grid-template-columns: minmax(0, 19rem) minmax(0, 1fr); gap: 1rem 1.5rem;
  margin-top: 1rem; padding: 1rem; background: var(--sheet); border: 1px solid var(--line);
  border-radius: 0.6rem; break-inside: avoid; }
article > img, .lost { width: 100%; height: auto; border-radius: 0.35rem; align-self: start; }
.lost { padding: 3rem 1rem; text-align: center; border: 1px dashed var(--line);
  color: var(--muted); }
article ul { margin: 0; padding-left: 1.1rem; }
article li { margin: 0.05rem 0; }
mark { background: var(--mark); color: inherit; border-radius: 0.2rem; padding: 0 0.15em; }
ol.maps { grid-column: 1 / -1; display: flex; flex-wrap: wrap; gap: 0.5rem; margin: 0; padding: 0;
  list-style: none; }
ol.maps li { width: 6rem; font-size: 0.85rem; text-align: center; }
ol.maps img { display: block; width: 100%; height: auto; border-radius: 0.25rem; }
@media (max-width: 40rem) {
  article { grid-template-columns: minmax(0, 1fr); }
  ol.maps li { width: 4.5rem; }
}
@media print { body { background: none; } }
"""
