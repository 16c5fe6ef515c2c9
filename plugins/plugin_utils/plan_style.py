# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The style sheet of the plan. Every colour of text stands out from its background by 4.5 to 1 or more."""

from __future__ import annotations

STYLE = """
:root {
  --page: #ffffff; --ink: #1c2128; --muted: #57606a; --rule: #d5dae0; --edge: #8c959f; --box: #f6f8fa;
  --server: #ffffff;
  --amqp: #a04100; --management: #7a3fc4; --database: #0a56b0; --code: #1a6b34; --error: #b4232c; --warning: #8a5a00;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #0f1318; --ink: #e6eaef; --muted: #9aa4af; --rule: #2c343d; --edge: #6b7681; --box: #181e25;
    --server: #0f1318;
    --amqp: #f0a060; --management: #c6a2ff; --database: #7db8ff; --code: #7fd99b; --error: #ff8f8a; --warning: #e3b341;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 72rem; padding: 2.5rem 1.5rem 3rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { margin: 0 0 .75rem; font-size: 1.25rem; line-height: 1.3; }
section { margin-top: 2.75rem; }
p { margin: 0; }
.lead { margin-top: .35rem; font-size: 1.0625rem; }
.app, .note, .muted, footer, .fine { color: var(--muted); }
.note { margin: -.35rem 0 1rem; max-width: 46rem; }
.fine { margin-top: 1rem; }
code { font: .875em/1.5 var(--mono); overflow-wrap: anywhere; }
b { font-weight: 600; }
ul { list-style: none; margin: 0; padding: 0; }

.problems li { display: flex; gap: .25rem 1rem; padding: .6rem 0 .6rem .9rem; border-left: 3px solid; }
.problems li + li { margin-top: .5rem; }
.problems li > span:last-child { color: var(--ink); overflow-wrap: anywhere; }
.severity { flex: 0 0 8.5rem; font-weight: 600; }
.error { color: var(--error); }
.warning { color: var(--warning); }

figure { margin: 0; }
.topology { display: block; width: 100%; height: auto; }
.topology.narrow { display: none; max-width: 30rem; margin: 0 auto; }
.topology text { font-family: var(--mono); font-size: 12px; fill: var(--ink); }
.topology .title { font-size: 14px; font-weight: 700; }
.topology .heading { font-size: 12.5px; font-weight: 700; }
.topology .sub, .topology .queues, .topology .port { fill: var(--muted); }
.topology .port { fill: var(--ink); }
.topology .number { font-weight: 700; fill: var(--own); }
.topology .end { text-anchor: end; }
.topology .box { fill: var(--box); stroke: var(--edge); }
.topology .server { fill: var(--server); stroke: var(--ink); stroke-width: 1.5; }
.topology .rule { stroke: var(--rule); }
.topology .frame { fill: none; stroke: var(--edge); stroke-dasharray: 5 4; }
.topology .halo { fill: none; stroke: var(--page); stroke-width: 6; }
.link { fill: none; stroke: var(--own); stroke-width: 1.75; }
.tip, .dot { fill: var(--own); }
.amqp { --own: var(--amqp); }
.management { --own: var(--management); }
.database { --own: var(--database); }
.code { --own: var(--code); }
.link.management { stroke-dasharray: 6 3; }
.link.code { stroke-dasharray: 2 3; }
.legend { display: flex; flex-wrap: wrap; gap: .35rem 1.75rem; margin-top: .75rem; font-size: .875rem; }
.legend li { display: flex; align-items: center; gap: .6rem; }
.key { width: 34px; height: 12px; flex: none; }

table { width: 100%; border-collapse: collapse; font-size: .9375rem; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem 1.25rem .5rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
th:last-child, td:last-child { padding-right: 0; }
th { font-size: .8125rem; font-weight: 600; white-space: nowrap; color: var(--muted); border-color: var(--edge); }
.number { text-align: right; }
#links td:nth-child(4), #links td:nth-child(6), #hosts td:nth-child(2) { white-space: nowrap; }
#hosts th:first-child { width: 19%; }
#hosts th:last-child { width: 64%; }
#links th:nth-child(2) { width: 21%; }
#links th:nth-child(5) { width: 16%; }
#queues th:first-child, #queues th:nth-child(2) { width: 25%; }
.service { display: flex; flex-wrap: wrap; gap: 0 1rem; }
.service + .service { margin-top: .25rem; }
.unit { margin-left: auto; text-align: right; color: var(--muted); }
.bar { display: block; width: 100%; height: .625rem; margin-bottom: 1rem; border-radius: .3125rem; }
.bar .rest { fill: var(--rule); }
.bar .used { fill: var(--database); }
.bar.over .used { fill: var(--error); }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--rule); font-size: .875rem; }

@media screen and (max-width: 60rem) {
  .topology.wide { display: none; }
  .topology.narrow { display: block; }
  #hosts th:first-child { width: 25%; }
  #hosts th:last-child { width: 58%; }
}
@media screen and (max-width: 52rem) {
  body { padding: 1.5rem 1rem 2rem; }
  h1 { font-size: 1.625rem; }
  section { margin-top: 2.25rem; }
  .problems li { display: block; }
  .severity { display: block; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, tr, td { display: block; }
  tr { padding: .6rem 0; border-bottom: 1px solid var(--rule); }
  td, td:last-child { position: relative; min-height: 1.5em; padding: .1rem 0 .1rem 7rem; border: 0; }
  td::before { content: attr(data-label); position: absolute; left: 0; color: var(--muted); }
  #links td:nth-child(n), #hosts td:nth-child(n) { white-space: normal; }
  td.number { text-align: left; }
  #hosts td:last-child { padding-left: 0; }
  #hosts td:last-child::before { display: none; }
  .service { display: block; margin-top: .35rem; }
  .unit { display: block; margin: 0; text-align: left; }
}
@media print {
  html { font-size: 10pt; }
  body { max-width: none; padding: 0; }
  section { margin-top: 1.5rem; }
  tr, figure, li { break-inside: avoid; }
  h2 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
""".strip()
