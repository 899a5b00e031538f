// What the page does by itself: starts the viewer, turns over the sheets, reads off the curves.

function startViewer() {
  const root = document.getElementById("viewer");
  const data = JSON.parse(document.getElementById("samples-data").textContent);
  const giveUp = (reason) => {
    document.body.classList.remove("live");
    const message = document.getElementById("no-viewer");
    message.textContent =
      `Turning the samples needs WebGL 2, which this browser does not offer (${reason}). ` +
      "Here are still pictures instead.";
    message.hidden = false;
  };
  document.body.classList.add("live");
  try {
    root.querySelector("canvas").addEventListener("webglcontextlost", () =>
      giveUp("the graphics card was lost; load the page again"));
    new Viewer(root, data);
  } catch (error) {
    giveUp(error.message);
  }
}

function startSheets() {
  const figure = document.getElementById("sheets-over-time");
  const slider = figure?.querySelector("input");
  if (!slider) return;
  const pictures = [...figure.querySelectorAll("img")];
  const caption = figure.querySelector("output");
  const show = () => {
    pictures.forEach((picture, i) => (picture.hidden = i !== Number(slider.value)));
    const text = pictures[slider.value].dataset.caption;
    caption.textContent = text;
    slider.setAttribute("aria-valuetext", `${text} images seen`);
  };
  slider.addEventListener("input", show);
  show();
}

function format(value, percent) {
  if (value === null || value === undefined) return "–";
  const text = String(Number((percent ? 100 * value : value).toPrecision(3)));
  return text.replace("-", "−") + (percent ? "%" : "");
}

// A line at the pointer in every panel, and the values there.
function startCurves() {
  const curves = JSON.parse(document.getElementById("curves-data").textContent);
  const figures = document.querySelectorAll("#training-panels .panel");
  const panels = curves.map((data, i) => ({
    plot: figures[i].querySelector("svg"),
    cursor: figures[i].querySelector(".cursor"),
    readout: figures[i].querySelector(".readout"),
    data,
  }));
  const nearest = (images, at) =>
    images.reduce((best, x, i) => (Math.abs(x - at) < Math.abs(images[best] - at) ? i : best), 0);
  const read = (at) => {
    for (const { cursor, readout, data } of panels) {
      const [left, width] = [data.left, data.right - data.left];
      cursor.setAttribute("transform", `translate(${left + (width * at) / (data.last || 1)})`);
      const texts = data.curves.map(({ images, values }) =>
        format(values[nearest(images, at)], data.percent));
      readout.textContent = `${texts.join(" · ")} at ${Math.round(at).toLocaleString("en")}`;
    }
    document.body.classList.add("reading");
  };
  for (const { plot, data } of panels) {
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * plot.viewBox.baseVal.width;
      const share = Math.max(0, Math.min(1, (x - data.left) / (data.right - data.left)));
      read(share * data.last);
    });
    plot.addEventListener("pointerleave", () => document.body.classList.remove("reading"));
  }
}

startViewer();
startSheets();
startCurves();
