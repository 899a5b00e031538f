// Samples that the reader turns: mouse, touch and keyboard move an orbiting camera.

const KEY_TURN = Math.PI / 36;
const WHEEL_ZOOM = 0.0015;
const KEY_ZOOM = 1.15;
const ZOOM_LIMITS = [0.4, 8];
const TURNS_PER_SECOND = 1 / 12;
const LINE_PIXELS = 16; // of a wheel that counts lines

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

class Viewer {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.canvas = root.querySelector("canvas");
    this.readout = root.querySelector("output");
    this.pointers = new Map();
    this.view = { mode: "texture", shaded: false, backdrop: false };
    this.painter = new Painter(this.canvas, decodeTopology(data), data.stage);
    this.reset();
    this.listenToPointers();
    this.canvas.addEventListener("keydown", (event) => this.onKey(event));
    this.listenToControls();
    new ResizeObserver(() => this.resize()).observe(this.canvas);
    this.resize();
    this.select(Number(root.querySelector("[name=sample]:checked").value));
  }

  reset() {
    const [yaw, pitch] = this.data.stage.start;
    this.look({ yaw, pitch, zoom: 1 });
  }

  look(change) {
    Object.assign(this.view, change);
    this.view.yaw = Math.atan2(Math.sin(this.view.yaw), Math.cos(this.view.yaw));
    this.view.pitch = clamp(this.view.pitch, -Math.PI / 2, Math.PI / 2);
    this.view.zoom = clamp(this.view.zoom, ...ZOOM_LIMITS);
    this.redraw();
  }

  async select(number) {
    this.selected = number;
    const sample = this.data.samples[number];
    const pictures = await Promise.all([loadImage(sample.texture), loadImage(sample.background)]);
    if (this.selected !== number) return; // another one was chosen meanwhile
    this.painter.show(decodeVertices(sample), ...pictures);
    this.ready = true;
    this.canvas.dataset.sample = number + 1;
    this.redraw();
  }

  redraw() {
    if (this.pending) return;
    this.pending = requestAnimationFrame((time) => {
      this.pending = null;
      if (this.turning) this.turn(time);
      if (this.ready) this.painter.draw(this.view);
      this.describe();
    });
  }

  turn(time) {
    const seconds = Math.min((time - (this.lastTime ?? time)) / 1000, 0.1);
    this.lastTime = time;
    this.look({ yaw: this.view.yaw + 2 * Math.PI * TURNS_PER_SECOND * seconds });
  }

  describe() {
    const degrees = (angle) => `${Math.round((angle * 180) / Math.PI) || 0}°`.replace("-", "−");
    const { yaw, pitch, zoom } = this.view;
    const text = `yaw ${degrees(yaw)}, pitch ${degrees(pitch)}, zoom ${zoom.toFixed(1)}×`;
    if (this.readout.textContent !== text) this.readout.textContent = text;
    for (const button of this.root.querySelectorAll("[data-yaw]")) {
      const away = Math.abs(yaw - (button.dataset.yaw * Math.PI) / 180) + Math.abs(pitch);
      button.setAttribute("aria-pressed", away < 1e-3);
    }
  }

  resize() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const side = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    if (this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    this.redraw();
  }

  listenToPointers() {
    const { canvas, pointers } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      canvas.focus({ preventScroll: true });
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    canvas.addEventListener("pointermove", (event) => this.onMove(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
    }
    canvas.addEventListener("dblclick", () => this.reset());
    const onWheel = (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? LINE_PIXELS : 1);
      this.look({ zoom: this.view.zoom * Math.exp(-WHEEL_ZOOM * pixels) });
    };
    canvas.addEventListener("wheel", onWheel, { passive: false });
  }

  // One pointer turns, half a turn across the picture, and the object follows it; two zoom.
  onMove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
    this.pointers.set(event.pointerId, now);
    if (others.length) {
      const [x, y] = others[0][1];
      const apart = (point) => Math.max(Math.hypot(point[0] - x, point[1] - y), 1);
      this.look({ zoom: (this.view.zoom * apart(now)) / apart(before) });
      return;
    }
    const turn = Math.PI / this.canvas.clientWidth;
    this.look({
      yaw: this.view.yaw - (now[0] - before[0]) * turn,
      pitch: this.view.pitch + (now[1] - before[1]) * turn,
    });
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { yaw, pitch, zoom } = this.view;
    const actions = {
      ArrowLeft: () => this.look({ yaw: yaw + KEY_TURN }),
      ArrowRight: () => this.look({ yaw: yaw - KEY_TURN }),
      ArrowUp: () => this.look({ pitch: pitch - KEY_TURN }),
      ArrowDown: () => this.look({ pitch: pitch + KEY_TURN }),
      "+": () => this.look({ zoom: zoom * KEY_ZOOM }),
      "=": () => this.look({ zoom: zoom * KEY_ZOOM }),
      "-": () => this.look({ zoom: zoom / KEY_ZOOM }),
      0: () => this.reset(),
      Home: () => this.reset(),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  listenToControls() {
    const { root, view } = this;
    for (const input of root.querySelectorAll("[name=mode]")) {
      input.addEventListener("change", () => this.look({ mode: input.value }));
      if (input.checked) view.mode = input.value; // a browser keeps it when the page is reloaded
    }
    for (const input of root.querySelectorAll("[name=sample]")) {
      input.addEventListener("change", () => this.select(Number(input.value)));
    }
    for (const button of root.querySelectorAll("[data-yaw]")) {
      const yaw = (button.dataset.yaw * Math.PI) / 180;
      button.addEventListener("click", () => this.look({ yaw, pitch: 0 }));
    }
    for (const name of ["shaded", "backdrop"]) {
      const box = root.querySelector(`[name=${name}]`);
      view[name] = box.checked;
      box.addEventListener("change", () => this.look({ [name]: box.checked }));
    }
    const turning = root.querySelector("[name=turning]");
    turning.addEventListener("change", () => {
      Object.assign(this, { turning: turning.checked, lastTime: undefined });
      this.redraw();
    });
    root.querySelector("[name=reset]").addEventListener("click", () => this.reset());
  }
}

async function loadImage(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}
