"use strict";
(() => {
  const tip = document.getElementById("tip");
  const svgNS = "http://www.w3.org/2000/svg";

  const duration = (ns) => {
    const units = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"]];
    for (const [size, name] of units) {
      if (ns >= size * 0.9995) return (ns / size).toPrecision(3) + " " + name;
    }
    return Math.round(ns) + " ns";
  };

  const show = (event, text) => {
    tip.textContent = text;
    tip.hidden = false;
    const x = Math.min(event.clientX + 12, document.documentElement.clientWidth - tip.offsetWidth - 8);
    const y = event.clientY + 16 + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 12 : event.clientY + 16;
    tip.style.left = Math.max(x, 4) + "px";
    tip.style.top = y + "px";
  };

  const hide = () => {
    tip.hidden = true;
    document.querySelectorAll(".cursor").forEach((c) => c.remove());
  };

  // share of a curve at x, both in the curve's own units.
  const shareAt = (line, x) => {
    const points = line.points;
    let before = null;
    for (let i = 0; i < points.numberOfItems; i++) {
      const p = points.getItem(i);
      if (p.x >= x) {
        if (!before || p.x === before.x) return 100 - p.y;
        return 100 - (before.y + (p.y - before.y) * (x - before.x) / (p.x - before.x));
      }
      before = p;
    }
    return before ? 100 - before.y : 0;
  };

  const read = (event, plot) => {
    const box = plot.getBoundingClientRect();
    const part = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    const lo = Math.log(Number(plot.dataset.lo));
    const hi = Math.log(Number(plot.dataset.hi));
    const words = [...plot.querySelectorAll("polyline")].reverse()
      .map((line) => line.dataset.name + " " + shareAt(line, part * 1000).toFixed(1) + "%");
    document.querySelectorAll(".cursor").forEach((c) => c.remove());
    const cursor = document.createElementNS(svgNS, "line");
    for (const [k, v] of [["x1", part * 100 + "%"], ["x2", part * 100 + "%"], ["y1", 0], ["y2", "100%"], ["class", "cursor"]]) {
      cursor.setAttribute(k, v);
    }
    plot.append(cursor);
    show(event, "within " + duration(Math.exp(lo + part * (hi - lo))) + ": " + words.join(", "));
  };

  const over = (event) => {
    const plot = event.target.closest(".ecdf");
    const mark = event.target.closest("[data-tip]");
    if (plot) read(event, plot);
    else if (mark) show(event, mark.dataset.tip);
    else hide();
  };
  addEventListener("pointermove", over);
  addEventListener("pointerdown", over);
  addEventListener("pointerleave", hide);
  addEventListener("scroll", hide, { passive: true });

  // What an address names is opened, with all that it lies in.
  const reveal = () => {
    let at = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  };
  addEventListener("hashchange", reveal);

  // What is closed at first is packed: gzip in base64.
  const unpack = async (part) => {
    const bytes = Uint8Array.from(atob(part.content.textContent), (c) => c.charCodeAt(0));
    const unzipped = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    part.outerHTML = await new Response(unzipped).text();
  };
  const ready = () => {
    document.documentElement.dataset.ready = "";
    reveal();
  };
  const failed = () => document.querySelectorAll("template.packed").forEach((part) => {
    const note = document.createElement("p");
    note.textContent = "This part is packed, and this browser cannot unpack it: use a newer one.";
    part.replaceWith(note);
  });
  Promise.all([...document.querySelectorAll("template.packed")].map(unpack)).catch(failed).then(ready);
})();
