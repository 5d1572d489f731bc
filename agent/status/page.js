"use strict";
// The page's script: one event a second, nothing kept but what is on the screen. Text goes in as text, never as HTML.
const $ = (q, e = document) => e.querySelector(q);
const known = v => v !== undefined && v !== null;
const span = s => s < 90 ? Math.round(s) + " s" : s < 5400 ? Math.round(s / 60) + " min" : s < 129600 ? Math.round(s / 3600) + " h" : Math.round(s / 86400) + " days";
const size = b => b < 1024 ? b + " B" : b < 1048576 ? (b / 1024).toFixed(1) + " KiB" : b < 1073741824 ? (b / 1048576).toFixed(1) + " MiB" : (b / 1073741824).toFixed(1) + " GiB";
const list = a => a.filter(Boolean).join("\n");
const make = (name, text) => { const e = document.createElement(name); e.textContent = text; return e; };

let lines = [], track = [], last = 0;

function verdict(cls, text, faults) {
  $("#verdict").className = cls;
  $("#verdict b").textContent = text;
  // One thing after the other: the two worst with what to do, the others by name.
  const rows = faults.slice(0, 2).map(f => {
    const li = make("li", f.text);
    if (f.code) li.prepend(make("small", f.code));
    if (f.action && !f.text.includes(f.action)) li.append(make("span", "→ " + f.action));
    return li;
  });
  if (faults.length > 2) rows.push(make("li", "then " + faults.slice(2).map(f => f.code).join(", ")));
  $("#verdict ul").replaceChildren(...rows);
}

// tile is bad where a fault is of its stage, waiting where one may be, or where its state is not the good one. A low battery is
// the car's.
function tile(id, good, state, text, s) {
  const e = $("#" + id), of = f => (f.stage === "power" ? "car" : f.stage) === id && f.severity !== "warning";
  e.className = s.faults.some(of) ? "bad" : good && !(s.pending || []).some(of) ? "good" : "wait";
  $("b", e).textContent = { bad: "✗ ", good: "✓ ", wait: "… " }[e.className] + state;
  $("p", e).textContent = text;
}

function show(v) {
  const s = v.status, car = s.car, gps = s.gps, buf = s.buffer, up = s.uplink;
  last = Date.now();
  $("#plain").hidden = true;
  $("main").hidden = false;
  document.title = s.state.toUpperCase() + " – obdagent";
  verdict({ ok: "good", waiting: "wait" }[s.state] || "bad", s.state.toUpperCase(), s.faults.concat(s.state === "waiting" ? s.pending : []));
  const kmh = x => known(x) ? Math.round(x) : "–";
  $("#kmh-car").textContent = kmh(car.speed_kmh);
  $("#kmh-gps").textContent = kmh(gps.speed_kmh);
  tile("car", ["live", "parked", "none"].includes(car.state), car.state === "none" ? "not used" : car.state, list([
    car.vin && "VIN …" + car.vin.slice(-6), known(car.voltage) && car.voltage.toFixed(1) + " V",
    car.state === "live" ? car.speed_hz.toFixed(1) + " speeds/s" : car.reason]), s);
  tile("gps", gps.state === "fix" || gps.state === "none", gps.state === "none" ? "not used" : gps.state === "fix" ? gps.fix + " fix" : gps.state.replace("_", " "), list([
    known(gps.sats) && gps.sats + " satellites", known(gps.hdop) && "HDOP " + gps.hdop, known(gps.age_s) && gps.state !== "fix" && "last epoch " + span(gps.age_s) + " ago", gps.state !== "fix" && gps.reason]), s);
  tile("clock", s.time_src === "gnss" || s.time_src === "ntp", { gnss: "GPS", ntp: "NTP" }[s.time_src] || "not known", s.time.slice(0, 19).replace("T", "\n") + " UTC", s);
  tile("uplink", up.state === "ok", up.state, list([
    up.delivered + " delivered", known(up.last_success_age_s) && "last " + span(up.last_success_age_s) + " ago",
    size(up.bytes_up) + " sent", up.day_bytes && size(up.day_bytes) + " today", up.state !== "ok" && up.reason]), s);
  tile("buffer", buf.state === "ok", buf.state === "ok" ? "ok" : "failed", [buf.records + " records wait", known(buf.oldest_age_s) && "the oldest since " + (buf.oldest_before_start ? "before the start" : span(buf.oldest_age_s)),
    size(buf.bytes) + " of " + size(buf.max_bytes), buf.state !== "ok" && buf.state].filter(Boolean).join(", "), s);
  $("#buffer meter").value = buf.bytes / buf.max_bytes;
  lines = lines.concat(v.log || []).slice(-20);
  $("#log").replaceChildren(...lines.slice().reverse().map(l => make("li", l)));
  $("footer").textContent = "obdagent " + s.version + ", device " + s.device_id + ", up " + span(s.uptime_s);
  track = v.position ? track.concat(v.track || []).slice(-500) : [];
  draw(gps.state === "fix");
}

// draw is the track in a plane that touches the earth at its middle: x = lon * cos(lat). North is up; a dashed line is where
// nothing is known between.
function draw(fresh) {
  $("#track").hidden = !track.length;
  if (!track.length) return;
  const W = 320, H = 240, pad = 16, svg = $("#track svg"), end = track[track.length - 1];
  const el = (n, a, t) => { const e = document.createElementNS("http://www.w3.org/2000/svg", n); for (const k in a) e.setAttribute(k, a[k]); if (t) e.textContent = t; return e; };
  const k = Math.cos(end[0] * Math.PI / 180), m = 111320; // metres a degree of latitude
  // Near the 180th meridian two longitudes are less apart than they look.
  const xs = track.map(p => ((p[1] - end[1] + 540) % 360 - 180) * k * m), ys = track.map(p => (p[0] - end[0]) * m);
  const x0 = Math.min(...xs), x1 = Math.max(...xs), y0 = Math.min(...ys), y1 = Math.max(...ys);
  const scale = Math.min((W - 2 * pad) / Math.max(x1 - x0, 50), (H - 2 * pad) / Math.max(y1 - y0, 50));
  const X = i => W / 2 + (xs[i] - (x0 + x1) / 2) * scale, Y = i => H / 2 - (ys[i] - (y0 + y1) / 2) * scale;
  const parts = [];
  for (let i = 1; i < track.length; i++) {
    const v = track[i][2], a = { x1: X(i - 1), y1: Y(i - 1), x2: X(i), y2: Y(i), stroke: v < 30 ? "#a80012" : v < 60 ? "#b35c00" : "#00418a", "stroke-width": 5, "stroke-linecap": "round" };
    parts.push(el("line", track[i][3] ? Object.assign(a, { stroke: "#777", "stroke-width": 2, "stroke-dasharray": "4 6" }) : a));
  }
  const n = track.length - 1;
  parts.push(el("circle", { cx: X(n), cy: Y(n), r: 9, fill: fresh ? "#000" : "#fff", stroke: fresh ? "#fff" : "#000", "stroke-width": 3 }));
  let bar = 10;
  for (const b of [20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000]) if (b * scale <= 120) bar = b;
  parts.push(el("path", { d: `M${pad} ${H - 14}v6h${bar * scale}v-6`, fill: "none", stroke: "#000", "stroke-width": 3 }),
    el("text", { x: pad + 4, y: H - 16, "font-size": 15, "font-weight": 700 }, bar < 1000 ? bar + " m" : bar / 1000 + " km"),
    el("path", { d: `M${W - 20} 12l7 20l-7-5l-7 5z` }), el("text", { x: W - 26, y: 48, "font-size": 15, "font-weight": 700 }, "N"));
  svg.replaceChildren(...parts);
  const geo = make("a", end[0].toFixed(5) + ", " + end[1].toFixed(5));
  geo.href = "geo:" + end[0] + "," + end[1];
  $("#track p").replaceChildren(fresh ? "Now at " : "Last seen at ", geo, ". Red below 30 km/h, orange below 60, blue above.");
}

const events = new EventSource("events");
events.onopen = () => { lines = []; track = []; };
events.onmessage = e => show(JSON.parse(e.data));
// What is shown must not outlive its source.
setInterval(() => {
  const age = (Date.now() - last) / 1000;
  if (last && age > 5) {
    verdict("stale", "NO ANSWER", [{ text: "nothing from the agent for " + span(age) + "; what is below is old", action: "stay near the van; if it lasts, see whether obdagent runs" }]);
    $("#kmh-car").textContent = $("#kmh-gps").textContent = "–";
    document.title = "NO ANSWER – obdagent";
  }
}, 1000);
