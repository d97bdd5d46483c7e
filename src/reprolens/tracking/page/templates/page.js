// What moves in a page: the cursor over curves, the class under the pointer, and which boxes pictures show.
for (const figure of document.querySelectorAll("figure.curves")) {
  const svg = figure.querySelector("svg"), cursor = svg.querySelector(".cursor"), tip = figure.querySelector(".tip");
  const {x, title, values} = JSON.parse(figure.dataset.hover);
  const names = [...figure.querySelectorAll(".legend li")].map(item => item.firstChild.nextSibling.textContent.trim());
  const colors = [...figure.querySelectorAll(".legend i")].map(item => item.style.background);
  const line = (text, color) => {
    const element = document.createElement("div");
    if (color) element.appendChild(document.createElement("i")).style.background = color;
    element.append(text);
    return element;
  };
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), width = svg.viewBox.baseVal.width;
    const at = (event.clientX - box.left) * width / box.width;
    const index = x.reduce((best, value, place) => Math.abs(value - at) < Math.abs(x[best] - at) ? place : best, 0);
    cursor.setAttribute("x1", x[index]); cursor.setAttribute("x2", x[index]);
    const lines = values[index].map((value, place) => value && line(`${names[place] ?? ""} ${value}`, colors[place]));
    tip.replaceChildren(line(title[index]), ...lines.filter(Boolean));
    tip.hidden = false;
    const left = x[index] / width * box.width;
    tip.style.left = left > box.width / 2 ? "" : `${left + 10}px`;
    tip.style.right = left > box.width / 2 ? `${box.width - left + 10}px` : "";
    figure.classList.add("pointed");
  });
  svg.addEventListener("pointerleave", () => { tip.hidden = true; figure.classList.remove("pointed"); });
}
for (const figure of document.querySelectorAll("figure.lines")) {
  for (const item of figure.querySelectorAll("[data-line]")) {
    const same = figure.querySelectorAll(`[data-line="${item.dataset.line}"]`);
    item.addEventListener("pointerenter", () => { figure.classList.add("pointed"); same.forEach(one => one.classList.add("on")); });
    item.addEventListener("pointerleave", () => { figure.classList.remove("pointed"); same.forEach(one => one.classList.remove("on")); });
  }
}
for (const section of document.querySelectorAll("section.pictures")) {
  const form = section.querySelector("form"), scored = section.querySelectorAll("[data-score]");
  form.addEventListener("input", () => {
    section.classList.toggle("no-truth", !form.elements.truth.checked);
    section.classList.toggle("no-seen", !form.elements.seen.checked);
    const least = Number(form.elements.score.value);
    form.querySelector("output").value = least.toFixed(2);
    for (const box of scored) box.style.display = Number(box.dataset.score) < least ? "none" : "";
  });
  form.addEventListener("submit", event => event.preventDefault());
  section.addEventListener("click", event => event.target.closest(".shot svg")?.parentNode.classList.toggle("large"));
}
