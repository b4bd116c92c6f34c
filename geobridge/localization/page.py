"""The page an answer is shown on: one file, nothing fetched from anywhere."""

from string import Template

# A dollar sign that is not a placeholder is written twice.
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Estimated position</title>
<style>
  * { box-sizing: border-box; }
  body { margin: 0; font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; background: #f4f5f7; }
  main { display: flex; flex-wrap: wrap; gap: 20px; padding: 20px; align-items: flex-start; }
  #map { position: relative; flex: 1 1 480px; max-width: min(960px, calc(100vh - 40px));
         background: #e8eaed; border-radius: 8px; overflow: hidden; }
  #map svg { display: block; width: 100%; aspect-ratio: 1; cursor: grab; touch-action: none; }
  #map svg.dragging { cursor: grabbing; }
  #north { position: absolute; top: 12px; right: 12px; width: 44px; height: 44px; padding-top: 2px;
           border-radius: 50%; background: #ffffffd8; text-align: center; font-weight: 600;
           line-height: 1.15; pointer-events: none; }
  #scale { position: absolute; left: 16px; bottom: 16px; padding: 4px 10px 8px;
           background: #ffffffd8; border-radius: 6px; pointer-events: none; }
  #scale i { display: block; height: 6px; border: 2px solid; border-top: 0; }
  .candidate polygon { fill: #ffffff08; stroke-width: 2; vector-effect: non-scaling-stroke;
                       paint-order: stroke; filter: drop-shadow(0 0 1px #000c); }
  .candidate text { font: 700 15px system-ui, sans-serif; paint-order: stroke;
                    stroke: #000b; stroke-width: 3px; }
  .agrees polygon { stroke: $agreeing_color; } .agrees text { fill: $agreeing_color; }
  .other polygon { stroke: $other_color; } .other text { fill: $other_color; }
  .candidate:hover polygon, .candidate.lit polygon { fill: #ffffff55; stroke-width: 4; }
  .radius { fill: ${estimate_color}12; stroke: $estimate_color; stroke-width: 2.5;
            vector-effect: non-scaling-stroke; pointer-events: none; }
  .estimate { fill: $estimate_color; stroke: #fff; stroke-width: 2.5; }
  aside { flex: 1 1 320px; min-width: 0; }
  h2 { margin: 0 0 6px; font-size: 13px; font-weight: 600; color: #5b6570; }
  aside section + section { margin-top: 20px; }
  p { margin: 0 0 2px; } #answer p:first-of-type { font-size: 22px; font-weight: 600; }
  figure { margin: 0 0 10px; } figure img { max-width: 100%; border-radius: 6px; display: block; }
  figcaption, #problems { color: #5b6570; font-size: 13px; }
  blockquote { margin: 0; padding-left: 12px; border-left: 3px solid #c9ced6; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
  #scroll { overflow-x: auto; } th { text-align: left; color: #5b6570; font-weight: 600; }
  th, td { padding: 4px 12px 4px 0; white-space: nowrap; }
  tbody tr:hover, tbody tr.lit { background: #fff3c4; }
</style>
</head>
<body>
<main>
<section id="map">
  <svg viewBox="0 0 $size $size" role="img" aria-label="Map of the estimate and its candidates">
    <image href="$ground" width="$size" height="$size"/>
    $candidates
    $radius
    $estimate
  </svg>
  <div id="north">&#9650;<br>N</div>
  <div id="scale" data-px="$bar_px"><span>$bar_label</span><i></i></div>
</section>
<aside>
  <section id="answer"><h2>Estimate</h2>$summary</section>
  <section id="query"><h2>Query</h2>$query</section>
  <section><h2>Candidates</h2><div id="scroll"><table>
    <thead><tr><th>rank</th><th>similarity</th><th>lat</th><th>lon</th><th>to the best</th>
    <th>view</th><th>path</th></tr></thead>
    <tbody>$rows</tbody>
  </table></div></section>
  <section id="problems">$problems</section>
</aside>
</main>
<script>
"use strict";
const svg = document.querySelector("#map svg");
const size = $size;
const bar = document.querySelector("#scale");
const label = bar.querySelector("span");
const metres = (() => {
  const [number, unit] = label.textContent.split(" ");
  return number * (unit === "km" ? 1000 : 1);
})();
let view = { x: 0, y: 0, side: size };

function show() {
  view.side = Math.min(size, Math.max(size / 40, view.side));
  view.x = Math.min(size - view.side, Math.max(0, view.x));
  view.y = Math.min(size - view.side, Math.max(0, view.y));
  svg.setAttribute("viewBox", [view.x, view.y, view.side, view.side].join(" "));
  const zoom = size / view.side;
  for (const text of svg.querySelectorAll("text")) text.style.fontSize = 15 / zoom + "px";
  for (const text of svg.querySelectorAll("text")) text.style.strokeWidth = 3 / zoom + "px";
  svg.querySelector(".estimate").setAttribute("r", 8 / zoom);
  svg.querySelector(".estimate").style.strokeWidth = 2.5 / zoom;
  // The bar keeps its length within a factor of two: its label is halved as often as needed.
  const halvings = Math.floor(Math.log2(zoom));
  const length = metres / 2 ** halvings;
  label.textContent = length >= 1000 ? length / 1000 + " km" : +length.toPrecision(3) + " m";
  const onScreen = bar.dataset.px * svg.clientWidth / size * zoom / 2 ** halvings;
  bar.querySelector("i").style.width = onScreen + "px";
}

svg.addEventListener("wheel", event => {
  event.preventDefault();
  const box = svg.getBoundingClientRect();
  const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  const former = view.side;
  view.side = Math.min(size, Math.max(size / 40, former * 1.0015 ** event.deltaY));
  view.x += at[0] * (former - view.side);
  view.y += at[1] * (former - view.side);
  show();
}, { passive: false });

let held = null;
svg.addEventListener("pointerdown", event => {
  held = [event.clientX, event.clientY];
  svg.setPointerCapture(event.pointerId);
  svg.classList.add("dragging");
});
svg.addEventListener("pointermove", event => {
  if (!held) return;
  const perPixel = view.side / svg.clientWidth;
  view.x -= (event.clientX - held[0]) * perPixel;
  view.y -= (event.clientY - held[1]) * perPixel;
  held = [event.clientX, event.clientY];
  show();
});
svg.addEventListener("pointerup", () => { held = null; svg.classList.remove("dragging"); });
svg.addEventListener("dblclick", () => { view = { x: 0, y: 0, side: size }; show(); });
window.addEventListener("resize", show);

for (const one of document.querySelectorAll("[data-rank]")) {
  const both = document.querySelectorAll('[data-rank="' + one.dataset.rank + '"]');
  one.addEventListener("mouseenter", () => both.forEach(other => other.classList.add("lit")));
  one.addEventListener("mouseleave", () => both.forEach(other => other.classList.remove("lit")));
}
show();
</script>
</body>
</html>
""")
