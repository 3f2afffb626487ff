"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("layers").textContent);
  const { width, height, grid } = data;
  const classes = data.legend;
  const canvas = document.getElementById("view");
  const pen = canvas.getContext("2d");
  const readout = document.getElementById("readout");
  const scalebar = document.getElementById("scalebar");
  const slider = document.getElementById("opacity");
  const imageryBox = document.getElementById("imagery");

  // ---- unpack ------------------------------------------------------------------------------
  const inflate = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  };
  const quantity = data.quantity;
  const cells = data.bytes === 1 ? new Uint8Array(await inflate(data.cells)) : new Uint16Array(await inflate(data.cells));
  if (quantity) { // numbers come as differences along rows
    for (let i = 0; i < cells.length; i += 1) if (i % width) cells[i] += cells[i - 1];
  }
  const none = data.bytes === 1 ? 255 : 65535;
  const confidence = data.confidence ? new Uint8Array(await inflate(data.confidence)) : null;

  const layer = () => Object.assign(document.createElement("canvas"), { width, height });
  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const paint = (target, colourOf) => {
    const context = target.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < pixels.length; i += 1) pixels[i] = colourOf(i);
    context.putImageData(image, 0, 0);
  };
  const packed = ([red, green, blue], alpha = 255) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;

  // ---- layers ------------------------------------------------------------------------------
  const between = (from, to, share) => from.map((part, c) => Math.round(part + (to[c] - part) * share));
  const numberOf = (step) => quantity.low + (step / quantity.steps) * (quantity.high - quantity.low);
  const colourOfNumber = (number) => {
    const stops = quantity.stops;
    const above = stops.findIndex(([stop]) => number <= stop);
    if (above === 0) return rgb(stops[0][1]);
    if (above < 0) return rgb(stops[stops.length - 1][1]);
    const [[low, from], [high, to]] = [stops[above - 1], stops[above]];
    return between(rgb(from), rgb(to), (number - low) / (high - low));
  };
  const shown = classes.map(() => true);
  const mapLayer = layer();
  const paintMap = () => {
    const table = new Uint32Array(none + 1);
    classes.forEach((one, k) => { if (shown[k]) table[k] = packed(rgb(one.colour)); });
    if (quantity) for (let k = 0; k <= quantity.steps; k += 1) table[k] = packed(colourOfNumber(numberOf(k)));
    paint(mapLayer, (i) => table[cells[i]]);
  };
  paintMap();

  let confidenceLayer = null;
  if (confidence) {
    const stops = ["#40004b", "#7b3294", "#c2a5cf", "#e8e3ea", "#a6dba0", "#1b7837"].map(rgb);
    const ramp = new Uint32Array(256);
    for (let percent = 0; percent <= 100; percent += 1) {
      const place = (percent / 100) * (stops.length - 1);
      const low = Math.min(Math.floor(place), stops.length - 2);
      ramp[percent] = packed(between(stops[low], stops[low + 1], place - low));
    }
    confidenceLayer = layer();
    paint(confidenceLayer, (i) => ramp[confidence[i]]);
  }

  let imageryLayer = null;
  if (data.imagery) {
    const picture = new Image();
    picture.src = data.imagery;
    await picture.decode();
    const seen = new Uint8Array(await inflate(data.seen));
    imageryLayer = layer();
    paint(imageryLayer, (i) => (seen[i] ? 0xffffffff : 0));
    const context = imageryLayer.getContext("2d");
    context.globalCompositeOperation = "source-in";
    context.drawImage(picture, 0, 0);
  }

  // ---- view --------------------------------------------------------------------------------
  const aspect = grid.aspect; // height of a pixel on the ground over its width
  const view = { scale: 1, x: 0, y: 0 }; // CSS pixels per column; place of the first pixel
  let fitted = true;
  let overlay = "map";
  let hidden = false;
  let queued = false;

  const size = () => [canvas.clientWidth, canvas.clientHeight];
  const fitScale = () => {
    const [w, h] = size();
    return Math.max(1e-6, Math.min((w - 24) / width, (h - 24) / (height * aspect)));
  };
  const centre = () => {
    const [w, h] = size();
    view.scale = fitScale();
    view.x = (w - width * view.scale) / 2;
    view.y = (h - height * aspect * view.scale) / 2;
  };
  const fit = () => { fitted = true; redraw(); };
  const hold = () => { // some of the map stays in sight
    const [w, h] = size();
    const [mapW, mapH] = [width * view.scale, height * aspect * view.scale];
    view.x = Math.min(w - 40, Math.max(40 - mapW, view.x));
    view.y = Math.min(h - 40, Math.max(40 - mapH, view.y));
  };
  const zoom = (factor, x, y) => {
    const least = fitScale() * 0.5;
    const most = Math.max(fitScale() * 4, 48);
    const scale = Math.min(most, Math.max(least, view.scale * factor));
    view.x = x - ((x - view.x) * scale) / view.scale;
    view.y = y - ((y - view.y) * scale) / view.scale;
    view.scale = scale;
    fitted = false;
    hold();
    redraw();
  };
  const pan = (dx, dy) => { view.x += dx; view.y += dy; fitted = false; hold(); redraw(); };
  const redraw = () => {
    if (!queued) { queued = true; requestAnimationFrame(draw); }
  };
  const draw = () => {
    queued = false;
    const ratio = window.devicePixelRatio || 1;
    if (fitted) centre(); // here, so that a frame is never drawn for the size before
    const [w, h] = size();
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, w, h);
    const place = [view.x, view.y, width * view.scale, height * aspect * view.scale];
    pen.imageSmoothingEnabled = view.scale < 1;
    pen.imageSmoothingQuality = "high";
    if (imageryLayer && imageryBox.checked) pen.drawImage(imageryLayer, ...place);
    const top = hidden ? null : { map: mapLayer, confidence: confidenceLayer, none: null }[overlay];
    if (top) {
      pen.globalAlpha = slider.value / 100;
      pen.drawImage(top, ...place);
      pen.globalAlpha = 1;
    }
    drawScalebar();
  };
  const drawScalebar = () => {
    if (!grid.gsd_m) return;
    const metres = grid.gsd_m / view.scale; // per CSS pixel
    const most = metres * 130;
    const power = 10 ** Math.floor(Math.log10(most));
    const round = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
    scalebar.hidden = false;
    scalebar.children[0].textContent = round >= 1000 ? `${round / 1000} km` : `${round} m`;
    scalebar.children[1].style.width = `${round / metres}px`;
  };

  // ---- what lies below the pointer ---------------------------------------------------------
  const numberAt = (step) => {
    if (step === none) return null;
    const number = numberOf(step);
    const beyond = step === 0 && quantity.cut[0] ? "≤ " : step === quantity.steps && quantity.cut[1] ? "≥ " : "";
    const text = Number(number.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
    const [red, green, blue] = colourOfNumber(number);
    return { name: `${beyond}${text}${quantity.unit ? ` ${quantity.unit}` : ""}`, colour: `rgb(${red} ${green} ${blue})` };
  };
  const showReadout = (x, y) => {
    const col = Math.floor((x - view.x) / view.scale);
    const row = Math.floor((y - view.y) / (view.scale * aspect));
    readout.replaceChildren();
    if (col < 0 || row < 0 || col >= width || row >= height) return;
    const at = row * width + col;
    const swatch = document.createElement("i");
    const one = quantity ? numberAt(cells[at]) : classes[cells[at]];
    swatch.style.background = one ? one.colour : "transparent";
    const words = [one ? one.name : "no data"];
    if (one && confidence && confidence[at] <= 100) words.push(`${confidence[at]} %`);
    const t = grid.transform;
    const [px, py] = [((x - view.x) / view.scale), ((y - view.y) / (view.scale * aspect))];
    const place = [t[0] * px + t[1] * py + t[2], t[3] * px + t[4] * py + t[5]];
    words.push(place.map((n) => n.toFixed(grid.digits)).join(", "));
    readout.append(swatch, words.join(" · "));
  };

  // ---- pointer, wheel, keys ----------------------------------------------------------------
  const fingers = new Map();
  const placeOf = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, placeOf(event));
    canvas.classList.add("moving");
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = placeOf(event);
    const before = fingers.get(event.pointerId);
    if (!before) { showReadout(x, y); return; }
    const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    if (others.length) {
      const [ox, oy] = others[0];
      const spread = (px, py) => Math.hypot(px - ox, py - oy) || 1;
      zoom(spread(x, y) / spread(...before), (x + ox) / 2, (y + oy) / 2);
      pan((x - before[0]) / 2, (y - before[1]) / 2);
    } else {
      pan(x - before[0], y - before[1]);
    }
    fingers.set(event.pointerId, [x, y]);
  });
  const release = (event) => {
    fingers.delete(event.pointerId);
    if (!fingers.size) canvas.classList.remove("moving");
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => readout.replaceChildren());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const steps = event.deltaMode ? event.deltaY * 20 : event.deltaY;
    zoom(Math.exp(-steps * 0.0016), ...placeOf(event));
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => zoom(2, ...placeOf(event)));
  const middle = () => size().map((side) => side / 2);
  const keys = {
    ArrowLeft: () => pan(60, 0), ArrowRight: () => pan(-60, 0),
    ArrowUp: () => pan(0, 60), ArrowDown: () => pan(0, -60),
    "+": () => zoom(1.5, ...middle()), "=": () => zoom(1.5, ...middle()),
    "-": () => zoom(1 / 1.5, ...middle()), 0: fit,
    " ": () => { hidden = !hidden; redraw(); },
  };
  canvas.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });

  // ---- controls ----------------------------------------------------------------------------
  document.getElementById("zoom-in").addEventListener("click", () => zoom(1.5, ...middle()));
  document.getElementById("zoom-out").addEventListener("click", () => zoom(1 / 1.5, ...middle()));
  document.getElementById("zoom-all").addEventListener("click", fit);
  const tellOpacity = () => {
    document.getElementById("opacity-value").textContent = `${slider.value} %`;
  };
  slider.addEventListener("input", () => { tellOpacity(); redraw(); });
  tellOpacity();
  if (imageryBox) imageryBox.addEventListener("change", redraw);
  for (const radio of document.querySelectorAll("input[name=overlay]")) {
    radio.addEventListener("change", () => {
      overlay = radio.value;
      hidden = false;
      document.getElementById("ramp").hidden = overlay !== "confidence";
      redraw();
    });
  }
  const boxes = [...document.querySelectorAll("#legend input")];
  const showChecked = () => {
    for (const box of boxes) shown[Number(box.dataset.class)] = box.checked;
    paintMap();
    redraw();
  };
  for (const box of boxes) box.addEventListener("change", showChecked);
  for (const [id, checked] of [["legend-all", true], ["legend-none", false]]) {
    const button = document.getElementById(id);
    if (button) {
      button.addEventListener("click", () => {
        for (const box of boxes) if (!box.closest("tbody").hidden) box.checked = checked;
        showChecked();
      });
    }
  }
  const find = document.getElementById("find");
  if (find) {
    find.addEventListener("input", () => {
      const query = find.value.trim().toLowerCase();
      for (const one of document.querySelectorAll("#legend tbody")) one.hidden = !one.dataset.name.includes(query);
    });
  }
  new ResizeObserver(() => { if (!fitted) hold(); redraw(); }).observe(canvas);
  draw();
  document.documentElement.dataset.ready = "yes";
})();
