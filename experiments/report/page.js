
// Draws the charts. Everything that a target may have named is written as text, never as markup.
(function () {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const dashes = [null, [7, 4], [2, 3], [10, 3, 2, 3]];
  const drawn = [];
  // The library's own legend is markup with inline styles, which the page's policy forbids; ours is text.
  Dygraph.PLUGINS = Dygraph.PLUGINS.filter((plugin) => plugin !== Dygraph.Plugins.Legend);

  const theme = () => {
    const style = getComputedStyle(document.documentElement);
    return (name) => style.getPropertyValue("--" + name).trim();
  };
  const percent = (value) => (value * 100).toFixed(1).replace(/\.0$/, "") + " %";
  const duration = (value) => value >= 1 ? value.toFixed(2).replace(/\.?0+$/, "") + " s" : (value * 1000).toFixed(value < 0.01 ? 1 : 0) + " ms";
  const words = (kind) => kind === "ratio" ? percent : duration;
  const colour = (look, index) => look("c" + (index % 8 + 1));
  const pattern = (chart, index) => chart.dashed.includes(index) ? [6, 4] : dashes[Math.floor(index / 8) % dashes.length];

  function legend(chart, look, at) {
    const box = document.getElementById("legend-" + chart.id);
    box.textContent = "";
    const add = (text, number, index) => {
      const item = document.createElement("span");
      if (index !== undefined) {
        const line = document.createElement("i");
        line.style.borderTopColor = colour(look, index);
        if (pattern(chart, index)) line.style.borderTopStyle = "dashed";
        item.append(line);
      }
      item.append(text);
      if (number !== undefined) {
        const strong = document.createElement("b");
        strong.textContent = " " + number;
        item.append(strong);
      }
      box.append(item);
    };
    const row = at === undefined ? undefined : chart.rows[at];
    if (row) add("at", row[0].toFixed(1) + " s");
    chart.labels.forEach((label, i) => add(label, row ? (row[i + 1] === null ? "none" : words(chart.kind)(row[i + 1])) : undefined, i));
  }

  function shade(chart, look) {
    return (canvas, area, graph) => {
      const x = (t) => Math.min(Math.max(graph.toDomXCoord(t), area.x), area.x + area.w);
      canvas.save();
      canvas.font = "600 11px system-ui, sans-serif";
      canvas.textBaseline = "top";
      let free = area.x;
      for (const phase of data.phases) {
        const from = x(phase.from), to = x(phase.to);
        const shading = look("shade-" + phase.name.replace("not recovered", "recovering"));
        if (shading) {
          canvas.fillStyle = shading;
          canvas.fillRect(from, area.y, to - from, area.h);
        }
        const width = canvas.measureText(phase.name).width;
        if (from + 5 >= free && width + 8 < to - from) {
          canvas.fillStyle = look("quiet");
          canvas.fillText(phase.name, from + 5, area.y + 3);
          free = from + 5 + width;
        }
      }
      for (const limit of chart.limits) {
        const y = graph.toDomYCoord(limit.value);
        if (y < area.y || y > area.y + area.h) continue;
        canvas.strokeStyle = canvas.fillStyle = look("bad");
        canvas.setLineDash([4, 3]);
        canvas.lineWidth = 1.2;
        canvas.beginPath();
        canvas.moveTo(x(limit.from), y);
        canvas.lineTo(x(limit.to), y);
        canvas.stroke();
        canvas.setLineDash([]);
        const width = canvas.measureText(limit.label).width;  // at the right end: a curve that fails has left the limit by then
        if (width + 8 < x(limit.to) - x(limit.from)) canvas.fillText(limit.label, x(limit.to) - width - 4, y + 18 < area.y + area.h ? y + 4 : y - 14);
      }
      canvas.restore();
    };
  }

  function top(chart) {
    if (chart.kind === "ratio") return 1.2;  // above the curves, a strip for the names of the phases
    let most = 0;
    for (const row of chart.rows) for (const value of row.slice(1)) most = Math.max(most, value || 0);
    for (const limit of chart.limits) most = Math.max(most, limit.value < 3 * most ? limit.value : 0);
    return most * 1.25 || 1;
  }

  function draw(chart) {
    const look = theme();
    const box = document.getElementById("chart-" + chart.id);
    const model = Dygraph.defaultInteractionModel;
    const series = {};
    chart.labels.forEach((label, i) => {
      series["s" + i] = { color: colour(look, i), strokePattern: pattern(chart, i) };
    });
    const show = (at) => drawn.forEach((other) => {
      legend(other.chart, look, at);
      if (at === undefined) other.graph.clearSelection();
      else other.graph.setSelection(at);
    });
    const graph = new Dygraph(box, chart.rows, {
      labels: ["t"].concat(chart.labels.map((label, i) => "s" + i)),  // the names themselves stay out of the library
      series: series,
      strokeWidth: 2,
      legend: "never",
      showLabelsOnHighlight: false,
      highlightCircleSize: 4,
      valueRange: [0, top(chart)],
      dateWindow: data.span,
      xRangePad: 0,
      gridLineColor: look("grid"),
      axisLineColor: look("line"),
      axisLabelFontSize: 12,
      animatedZooms: false,
      underlayCallback: shade(chart, look),
      highlightCallback: (event, x, points, row) => show(row),
      unhighlightCallback: () => show(undefined),
      zoomCallback: (from, to) => drawn.forEach((other) => { if (other.graph !== graph) other.graph.updateOptions({ dateWindow: [from, to] }); }),
      // Drag to zoom with a mouse; a finger scrolls the page.
      interactionModel: {
        mousedown: model.mousedown, mousemove: model.mousemove, mouseup: model.mouseup,
        dblclick: () => drawn.forEach((other) => other.graph.updateOptions({ dateWindow: data.span }))
      },
      axes: {
        x: { axisLabelFormatter: (value) => value === 0 ? "" : value + " s", pixelsPerLabel: 60 },
        y: { axisLabelFormatter: (value) => chart.kind === "ratio" ? (value > 1.001 ? "" : percent(value)) : value === 0 ? "0" : duration(value), axisLabelWidth: 52, pixelsPerLabel: 36 }
      }
    });
    legend(chart, look, undefined);
    return { chart, graph };
  }

  function all() {
    for (const old of drawn.splice(0)) old.graph.destroy();
    for (const chart of data.charts) drawn.push(draw(chart));
    document.documentElement.dataset.charts = String(drawn.length);
  }
  all();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
})();
