// Draws each .parallel: a line for every trial over vertical axes. Dragging along an axis keeps what passes there.
(() => {
  const NS = "http://www.w3.org/2000/svg", TOP = 34, BOTTOM = 14, HEIGHT = 330;
  const add = (parent, name, attributes, text) => {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return parent.appendChild(element);
  };
  const y = place => TOP + (1 - place) * (HEIGHT - TOP - BOTTOM);
  const draw = ({element, figure, kept}) => {
    element.querySelector("svg")?.remove();
    const width = Math.max(element.clientWidth, 110 * figure.axes.length), last = figure.axes.length - 1;
    const left = 16 + 6.6 * Math.max(...figure.axes[0].ticks.map(tick => tick[1].length), 4), right = 64;
    const x = index => left + index * (width - left - right) / last;
    const svg = add(element, "svg", {viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT});
    const path = places => {
      let d = "", before = null;
      places.forEach((place, index) => {
        if (place === null) { before = null; return; }
        const middle = (x(index - 1) + x(index)) / 2;
        d += before === null ? `M${x(index)},${y(place)}` : `C${middle},${y(before)} ${middle},${y(place)} ${x(index)},${y(place)}`;
        before = place;
      });
      return d;
    };
    const lines = figure.lines.map(line => {
      const link = add(svg, "a", {href: line.page, class: "line"});
      add(link, "title", {}, line.title);
      const d = path(line.places);
      add(link, "path", {d, class: "aim"});
      add(link, "path", {d, class: "seen", style: `stroke:color-mix(in srgb, var(--accent) ${Math.round(100 * line.good)}%, var(--faint));opacity:${0.45 + 0.55 * line.good}`});
      link.addEventListener("pointerenter", () => {
        if (!link.classList.contains("off") && link.nextSibling !== axes[0]) svg.insertBefore(link, axes[0]);
      });
      return {line, link};
    });
    const show = () => lines.forEach(({line, link}) => link.classList.toggle("off", line.places.some((place, index) =>
      kept[index] && (place === null || place < kept[index][0] || place > kept[index][1]))));
    const axes = figure.axes.map((axis, index) => {
      const group = add(svg, "g", {class: "axis", transform: `translate(${x(index)},0)`});
      add(group, "text", {class: "name", y: 14, "text-anchor": index === last ? "end" : "middle", x: index === last ? right : 0}, axis.name);
      add(group, "line", {y1: y(1), y2: y(0)});
      const range = add(group, "rect", {class: "kept", x: -6, width: 12, rx: 3});
      for (const [place, text] of axis.ticks) {
        const side = index === last ? 1 : -1;
        add(group, "text", {class: "tick", x: 9 * side, y: y(place) + (index && index !== last ? -8 : 4), "text-anchor": side > 0 ? "start" : "end"}, text);
      }
      const area = add(group, "rect", {class: "area", x: -14, width: 28, y: y(1) - 8, height: y(0) - y(1) + 16});
      const mark = () => {
        const [low, high] = kept[index] ?? [0, 0];
        range.setAttribute("y", y(high)); range.setAttribute("height", y(low) - y(high));
        range.style.display = kept[index] ? "" : "none";
      };
      const at = event => Math.min(1.02, Math.max(-0.02, 1 - (event.clientY - svg.getBoundingClientRect().top - TOP) / (HEIGHT - TOP - BOTTOM)));
      let start = null;
      area.addEventListener("pointerdown", event => { start = at(event); area.setPointerCapture(event.pointerId); event.preventDefault(); });
      area.addEventListener("pointermove", event => {
        if (start === null) return;
        kept[index] = [Math.min(start, at(event)), Math.max(start, at(event))];
        mark(); show();
      });
      area.addEventListener("pointerup", event => {
        if (start !== null && Math.abs(at(event) - start) < 0.015) { kept[index] = null; mark(); show(); }
        start = null;
      });
      mark();
      return group;
    });
    show();
  };
  for (const element of document.querySelectorAll(".parallel")) {
    const source = element.querySelector("script"), chart = {element, figure: JSON.parse(source.textContent), kept: []};
    source.remove();
    draw(chart);
    let width = element.clientWidth;
    new ResizeObserver(() => { if (element.clientWidth !== width) { width = element.clientWidth; draw(chart); } }).observe(element);
  }
})();
