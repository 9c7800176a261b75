"use strict";
// Shows the trial of the point that is nearest to the pointer, or that the arrow keys have reached.
(() => {
  const NEAR = 16; // pixels
  const trials = JSON.parse(document.getElementById("trials").textContent);
  const card = document.getElementById("card");
  let ring = null;

  function add(parent, name, text) {
    const made = parent.appendChild(document.createElement(name));
    made.textContent = text;
    return made;
  }

  function fill(place, others) {
    const [title, rows] = trials[place];
    card.replaceChildren();
    add(card, "strong", title);
    const list = add(card, "dl", "");
    for (const [name, value] of rows) {
      add(list, "dt", name);
      add(list, "dd", value);
    }
    if (others.length) add(card, "div", `Also here: ${others.map((other) => trials[other][0]).join(", ")}`);
  }

  function hide() {
    card.hidden = true;
    ring?.remove();
    ring = null;
  }

  // Beside the point, where there is room.
  function put(x, y) {
    const { offsetWidth: width, offsetHeight: height } = card;
    const left = x + 14 + width <= innerWidth ? x + 14 : x - 14 - width;
    const top = y + 14 + height <= innerHeight ? y + 14 : y - 14 - height;
    card.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
    card.style.top = `${Math.max(8, top)}px`;
  }

  function show(chart, index) {
    const [x, y, place] = chart.points[index];
    const here = chart.points.filter((point) => Math.hypot(point[0] - x, point[1] - y) < 0.8).map((point) => point[2]);
    fill(place, [...new Set(here)].filter((other) => other !== place).slice(0, 5));
    ring?.remove();
    ring = document.createElementNS(chart.svg.namespaceURI, "circle");
    for (const [name, value] of Object.entries({ cx: x, cy: y, r: 5, class: "pointed" })) ring.setAttribute(name, value);
    chart.svg.append(ring);
    card.hidden = false;
    const box = ring.getBoundingClientRect();
    put(box.left + box.width / 2, box.top + box.height / 2);
  }

  function point(chart, event) {
    const onto = chart.svg.getScreenCTM();
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(onto.inverse());
    let nearest = -1;
    let least = NEAR / onto.a;
    chart.points.forEach((one, index) => {
      const distance = Math.hypot(one[0] - x, one[1] - y);
      if (distance <= least) [nearest, least] = [index, distance]; // of several the last, which is on top
    });
    chart.at = nearest;
    if (nearest < 0) hide();
    else show(chart, nearest);
  }

  function step(chart, event) {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!by) return;
    event.preventDefault();
    const place = chart.order.indexOf(chart.at);
    const next = place < 0 ? (by > 0 ? 0 : chart.order.length - 1) : place + by;
    chart.at = chart.order[(next + chart.order.length) % chart.order.length];
    show(chart, chart.at);
  }

  for (const figure of document.querySelectorAll("figure[data-points]")) {
    const chart = { svg: figure.querySelector("svg"), points: JSON.parse(figure.dataset.points), at: -1 };
    chart.order = [...chart.points.keys()].sort((a, b) => chart.points[a][0] - chart.points[b][0]);
    figure.addEventListener("pointermove", (event) => point(chart, event));
    figure.addEventListener("pointerdown", (event) => point(chart, event));
    figure.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
    figure.addEventListener("keydown", (event) => step(chart, event));
    figure.addEventListener("blur", hide);
  }
  addEventListener("scroll", hide, { passive: true });
  if (innerWidth < 1080) document.querySelector("details").open = false;
})();
