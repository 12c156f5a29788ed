"use strict";
// Columns sort by their numbers; the row of all tasks stays on top.
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const at = [...head.parentElement.children].indexOf(head);
    const body = head.closest("table").tBodies[0];
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.children[at].dataset.sort ?? row.children[at].textContent.trim();
    const order = (one, other) => {
      const [a, b] = [key(one), key(other)];
      const numeric = a !== "" && b !== "" && !isNaN(a) && !isNaN(b);
      return (numeric ? a - b : a.localeCompare(b)) * (down ? -1 : 1);
    };
    const pinned = row => row.classList.contains("all") ? 0 : 1;
    body.append(...[...body.rows].sort((one, other) => pinned(one) - pinned(other) || order(one, other)));
  });
}
// The step under the pointer, with the values of every line there.
const { curves, sample } = JSON.parse(document.getElementById("report").textContent);
const short = value => Math.abs(value) >= 1e-3 && Math.abs(value) < 1e6 || value === 0
  ? String(+value.toPrecision(4)) : value.toExponential(2);
// As everywhere: half away from zero, once the last digits of a double are rounded off.
const percent = share => (Math.round(Math.round(share * 1e12) / 1e9) / 10).toFixed(1);
for (const chart of document.querySelectorAll("svg[data-curve]")) {
  const curve = curves[+chart.dataset.curve];
  const [first, last, left, right] = ["first", "last", "left", "right"].map(name => +chart.dataset[name]);
  const cross = chart.querySelector(".cross");
  const readout = chart.closest("figure").querySelector(".readout");
  chart.addEventListener("pointermove", event => {
    const box = chart.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * chart.viewBox.baseVal.width;
    const wanted = first + (x - left) / (right - left) * (last - first);
    const nearest = points => points.reduce((best, point) =>
      Math.abs(point[0] - wanted) < Math.abs(best[0] - wanted) ? point : best);
    const found = curve.series.map(line => [line.label, nearest(line.points)]);
    const step = nearest(found.map(one => one[1]))[0];
    const at = last === first ? (left + right) / 2 : left + (step - first) / (last - first) * (right - left);
    cross.setAttribute("x1", at);
    cross.setAttribute("x2", at);
    cross.setAttribute("visibility", "visible");
    const shown = value => curve.share ? percent(value) + " %" : short(value);
    const bands = curve.series.map(line => (line.band ?? []).find(row => row[0] === step));
    const spread = band => band ? " [" + shown(band[1]) + ", " + shown(band[2]) + "] of " + band[3] + (band[3] === 1 ? " run" : " runs") : "";
    readout.textContent = "step " + step + ": " + found.map(([label, point], at) => label + " " + shown(point[1]) + spread(bands[at])).join(", ");
  });
  chart.addEventListener("pointerleave", () => {
    cross.setAttribute("visibility", "hidden");
    readout.textContent = "";
  });
}
// Every picture is in the page once.
const addresses = JSON.parse(document.getElementById("pictures").textContent);
for (const picture of document.querySelectorAll("img[data-picture]")) picture.src = addresses[picture.dataset.picture];
// Paper cannot be unfolded.
addEventListener("beforeprint", () => document.querySelectorAll("details.task").forEach(fold => { fold.open = true; }));
