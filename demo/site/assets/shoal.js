// The zonal model of the notes, in two dimensions, on a canvas. Each fish turns
// away from neighbours that are too close; failing those, it aligns with the ones
// in its zone of orientation and heads for the ones in its zone of attraction.

const SPEED = 46;            // pixels per second
const TURN = 2.6;            // radians per second
const NOISE = 0.12;          // radians, each step
const UNIT = 11;             // pixels in one body length
const REPULSION = 1.1;       // body lengths
const BLIND = Math.cos((135 * Math.PI) / 180);

class Shoal {
  constructor(count, width, height) {
    this.settings = { orientation: 2.5, attraction: 9 };
    this.resize(width, height);
    this.fish = Array.from({ length: count }, () => {
      const angle = Math.random() * 2 * Math.PI;
      const radius = Math.sqrt(Math.random()) * Math.min(width, height) * 0.34;
      // A gentle common spin, so that the first seconds are worth watching.
      return { x: width / 2 + radius * Math.cos(angle), y: height / 2 + radius * Math.sin(angle), a: angle + Math.PI / 2 + (Math.random() - 0.5), want: 0, alarm: 0 };
    });
  }

  resize(width, height) {
    this.width = width;
    this.height = height;
  }

  // Buckets as wide as the farthest zone: a fish looks into nine of them only.
  grid(size) {
    const cells = new Map();
    for (const f of this.fish) {
      const key = Math.floor(f.x / size) * 4096 + Math.floor(f.y / size);
      const cell = cells.get(key);
      if (cell) cell.push(f);
      else cells.set(key, [f]);
    }
    return cells;
  }

  aim(f, cells, size, ro, ra) {
    let rx = 0, ry = 0, ox = 0, oy = 0, ax = 0, ay = 0;
    const hx = Math.cos(f.a), hy = Math.sin(f.a);
    const cx = Math.floor(f.x / size), cy = Math.floor(f.y / size);
    for (let i = cx - 1; i <= cx + 1; i++) {
      for (let j = cy - 1; j <= cy + 1; j++) {
        for (const g of cells.get(i * 4096 + j) ?? []) {
          if (g === f) continue;
          const dx = g.x - f.x, dy = g.y - f.y, d = Math.hypot(dx, dy) || 1e-6;
          if (d > ra) continue;
          if (d < REPULSION * UNIT) { rx -= dx / d; ry -= dy / d; continue; }
          if ((dx * hx + dy * hy) / d < BLIND) continue;
          if (d < ro) { ox += Math.cos(g.a); oy += Math.sin(g.a); } else { ax += dx / d; ay += dy / d; }
        }
      }
    }
    const unit = (x, y) => { const n = Math.hypot(x, y); return n ? [x / n, y / n] : [0, 0]; };
    let [wx, wy] = unit(rx, ry);
    if (!wx && !wy) {
      const [o1, o2] = unit(ox, oy), [a1, a2] = unit(ax, ay);
      wx = o1 + a1; wy = o2 + a2;
    }
    if (!wx && !wy) { wx = hx; wy = hy; }
    // The glass: a push that grows near the wall.
    const margin = 90, push = (d) => Math.max(0, 1 - d / margin) ** 2 * 2.4;
    wx += push(f.x) - push(this.width - f.x);
    wy += push(f.y) - push(this.height - f.y);
    f.alarm *= 0.96;
    if (this.threat) {
      const dx = f.x - this.threat.x, dy = f.y - this.threat.y, d = Math.hypot(dx, dy) || 1;
      if (d < 110) { wx += (dx / d) * 4 * (1 - d / 110); wy += (dy / d) * 4 * (1 - d / 110); f.alarm = 1; }
    }
    return Math.atan2(wy, wx);
  }

  step(dt) {
    const ro = (REPULSION + this.settings.orientation) * UNIT;
    const ra = ro + this.settings.attraction * UNIT;
    const cells = this.grid(ra);
    for (const f of this.fish) f.want = this.aim(f, cells, ra, ro, ra);
    for (const f of this.fish) {
      let turn = Math.atan2(Math.sin(f.want - f.a), Math.cos(f.want - f.a)) + (Math.random() - 0.5) * 2 * NOISE;
      const limit = TURN * dt * (1 + f.alarm);
      f.a += Math.max(-limit, Math.min(limit, turn));
      const v = SPEED * (1 + 0.7 * f.alarm) * dt;
      f.x = Math.min(this.width - 2, Math.max(2, f.x + Math.cos(f.a) * v));
      f.y = Math.min(this.height - 2, Math.max(2, f.y + Math.sin(f.a) * v));
    }
  }

  // Polarisation: do they point one way? Rotation: do they circle one point?
  order() {
    const n = this.fish.length;
    let px = 0, py = 0, cx = 0, cy = 0, m = 0;
    for (const f of this.fish) { px += Math.cos(f.a); py += Math.sin(f.a); cx += f.x / n; cy += f.y / n; }
    for (const f of this.fish) {
      const dx = f.x - cx, dy = f.y - cy, d = Math.hypot(dx, dy) || 1;
      m += (dx * Math.sin(f.a) - dy * Math.cos(f.a)) / d;
    }
    return { polarisation: Math.hypot(px, py) / n, rotation: Math.abs(m) / n };
  }

  paint(ctx, fade) {
    ctx.fillStyle = `rgba(8, 34, 46, ${fade})`;
    ctx.fillRect(0, 0, this.width, this.height);
    for (const f of this.fish) {
      ctx.save();
      ctx.translate(f.x, f.y);
      ctx.rotate(f.a);
      ctx.fillStyle = f.alarm > 0.3 ? "#ffb066" : "#dcefea";
      ctx.beginPath();
      ctx.moveTo(6, 0);
      ctx.quadraticCurveTo(1, -2.6, -4, -0.5);
      ctx.lineTo(-7, -2.2);
      ctx.lineTo(-6, 0);
      ctx.lineTo(-7, 2.2);
      ctx.lineTo(-4, 0.5);
      ctx.quadraticCurveTo(1, 2.6, 6, 0);
      ctx.fill();
      ctx.restore();
    }
  }
}

function start(tank) {
  const canvas = tank.querySelector("canvas");
  const button = tank.querySelector("button");
  const ctx = canvas.getContext("2d");
  const readout = document.querySelector("[data-order]");
  const shoal = new Shoal(Number(tank.dataset.fish) || 220, 960, 540);
  let running = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  let visible = true, last = 0, frames = 0, request = 0;

  const fit = () => {
    const box = canvas.getBoundingClientRect(), scale = Math.min(devicePixelRatio || 1, 2);
    canvas.width = Math.round(box.width * scale);
    canvas.height = Math.round(box.height * scale);
    // The tank is always 540 units high; a narrow screen sees a narrower tank.
    const zoom = canvas.height / 540;
    ctx.setTransform(zoom, 0, 0, zoom, 0, 0);
    shoal.resize(canvas.width / zoom, 540);
    shoal.paint(ctx, 1);
  };
  const report = () => {
    if (!readout) return;
    const o = shoal.order();
    readout.textContent = `polarisation ${o.polarisation.toFixed(2)}, rotation ${o.rotation.toFixed(2)}`;
  };
  const frame = (now) => {
    request = 0;
    shoal.step(Math.min(0.04, (now - last) / 1000 || 0.016));
    last = now;
    shoal.paint(ctx, 0.3);
    if (++frames % 20 === 0) report();
    tick();
  };
  const tick = () => {
    if (running && visible && !request) request = requestAnimationFrame(frame);
  };
  const label = () => { button.textContent = running ? "Pause" : "Play"; };

  button.hidden = false;
  button.addEventListener("click", () => { running = !running; last = performance.now(); label(); tick(); });
  canvas.addEventListener("pointermove", (e) => {
    const box = canvas.getBoundingClientRect();
    shoal.threat = { x: ((e.clientX - box.left) / box.width) * shoal.width, y: ((e.clientY - box.top) / box.height) * 540 };
  });
  canvas.addEventListener("pointerleave", () => { shoal.threat = null; });
  for (const input of document.querySelectorAll("[data-setting]")) {
    const show = () => {
      shoal.settings[input.dataset.setting] = Number(input.value);
      input.closest("label").querySelector("output").textContent = `${input.value} lengths`;
    };
    input.addEventListener("input", show);
    show();
  }
  new ResizeObserver(fit).observe(canvas);
  new IntersectionObserver(([entry]) => { visible = entry.isIntersecting; last = performance.now(); tick(); }).observe(tank);
  // Let the group settle before it is first shown.
  fit();
  for (let i = 0; i < 160; i++) shoal.step(0.033);
  shoal.paint(ctx, 1);
  report();
  label();
  tick();
}

for (const tank of document.querySelectorAll(".tank")) start(tank);
