"use strict";
// Draws the figures that the page holds as data, in the colours of the reader's light or dark theme, when they come
// into view; and loads the page of something live again every 15 seconds while it is looked at.
(function () {
  const theme = getComputedStyle(document.documentElement);
  const ink = theme.getPropertyValue("--ink").trim();
  const grid = theme.getPropertyValue("--line").trim();

  function dressed(layout) {
    layout.font.color = ink;
    for (const axis of [layout.xaxis, layout.yaxis]) {
      if (axis) axis.gridcolor = grid;
    }
    return layout;
  }

  function draw(box) {
    const figure = JSON.parse(box.querySelector("script").textContent);
    Plotly.newPlot(box, figure.data, dressed(figure.layout), { responsive: true, displayModeBar: false })
      .then(() => box.setAttribute("data-drawn", figure.data.length));
  }

  const boxes = document.querySelectorAll(".chart");
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "400px" });
  boxes.forEach((box) => seen.observe(box));

  if (document.body.hasAttribute("data-live")) {
    setInterval(() => {
      const busy = document.hidden || String(getSelection()) || document.activeElement.matches("input, select");
      if (!busy) location.reload();
    }, 15000);
  }
})();
