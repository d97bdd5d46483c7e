// Draws each .chart from the JSON in it. A colour "--name" is the page's variable, so that light and dark both fit.
(() => {
  const colors = () => {
    const style = getComputedStyle(document.documentElement);
    const filled = value =>
      typeof value === "string" && value.startsWith("--") ? style.getPropertyValue(value).trim()
      : Array.isArray(value) ? value.map(filled)
      : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, filled(item)]))
      : value;
    return filled;
  };
  const axis = own => ({gridcolor: "--line", linecolor: "--line", zeroline: false, automargin: true, tickcolor: "--line", exponentformat: "e", ...own});
  const layout = own => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: {l: 48, r: 12, t: 14, b: 36},
    font: {family: getComputedStyle(document.body).fontFamily, size: 12, color: "--soft"}, showlegend: false,
    hoverlabel: {bgcolor: "--panel", bordercolor: "--line", align: "left", font: {color: "--ink"}},
    legend: {orientation: "h", x: 0, y: -0.14, yanchor: "top"}, ...own, xaxis: axis(own.xaxis), yaxis: axis(own.yaxis),
  });
  const charts = [...document.querySelectorAll(".chart")].map(element => {
    const source = element.querySelector("script");
    const figure = JSON.parse(source.textContent);
    source.remove();
    return {element, figure};
  });
  const draw = ({element, figure}) => {
    const filled = colors();
    Plotly.react(element, filled(figure.data), filled(layout(figure.layout)), {displayModeBar: false, responsive: true});
  };
  for (const chart of charts) {
    draw(chart);
    chart.element.on("plotly_click", event => {
      const page = event.points?.[0]?.customdata;
      if (typeof page === "string") location.href = page;
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(draw));
})();
