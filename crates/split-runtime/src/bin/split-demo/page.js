"use strict";
// Shows answers as they come, and sends what is turned.

const by = (id) => document.getElementById(id);
const PARTS = ["head", "code", "network", "queue", "edge", "local"];
const LAST = 60;
const SILENT = "The demo does not answer; is it still running?";

const seen = { count: 0, timely: 0, known: 0, right: 0, frames: 0, bytes: 0 };
const last = [];
let controls = null;
let ranges = null;
let lost = false;

const ms = (us) => (us / 1000).toFixed(us < 99950 ? 1 : 0) + " ms";
const share = (part, all) => (all === 0 ? "-" : ((100 * part) / all).toFixed(0) + " %");
const rate = (kbit) => (kbit < 1000 ? kbit + " kbit/s" : +(kbit / 1000).toPrecision(3) + " Mbit/s");
const bytes = (count) => count.toLocaleString("en") + " bytes";

function trouble(text) {
  by("trouble").hidden = text === "";
  by("trouble").textContent = text;
}

function element(name, kind, text) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Sliders feel the same everywhere on a scale of ratios.
const toSlider = (value, [least, most]) => Math.round((1000 * Math.log(value / least)) / Math.log(most / least));
const ofSlider = (place, [least, most]) => {
  const value = least * Math.pow(most / least, place / 1000);
  return Math.min(most, Math.max(least, Math.round(+value.toPrecision(2))));
};

function showControls() {
  by("kbit-shown").textContent = rate(controls.link.kbit);
  by("rtt-shown").textContent = controls.link.rtt_ms + " ms";
  by("deadline-shown").textContent = controls.deadline_ms + " ms";
  by("pace-shown").textContent = controls.per_minute;
  by("fixed").disabled = controls.policy !== "fixed";
}

function placeControls() {
  by("kbit").value = toSlider(controls.link.kbit, ranges.kbit);
  by("rtt").max = ranges.rtt_ms[1];
  by("rtt").value = controls.link.rtt_ms;
  by("up").checked = controls.link.up;
  by("policy").value = controls.policy;
  by("fixed").value = controls.rung;
  by("alone").checked = controls.alone;
  by("deadline").value = toSlider(controls.deadline_ms, ranges.deadline_ms);
  by("pace").value = toSlider(controls.per_minute, ranges.per_minute);
  showControls();
}

async function send() {
  try {
    const answer = await fetch("controls", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(controls),
    });
    trouble(answer.ok ? "" : await answer.text());
  } catch {
    trouble(SILENT);
  }
}

function turned(event) {
  if (controls === null) return;
  // A place that a slider didn't leave keeps the exact value.
  const moved = event.target.id;
  if (moved === "kbit") controls.link.kbit = ofSlider(by("kbit").value, ranges.kbit);
  if (moved === "rtt") controls.link.rtt_ms = +by("rtt").value;
  if (moved === "up") controls.link.up = by("up").checked;
  if (moved === "policy") controls.policy = by("policy").value;
  if (moved === "fixed") controls.rung = by("fixed").value;
  if (moved === "alone") controls.alone = by("alone").checked;
  if (moved === "deadline") controls.deadline_ms = ofSlider(by("deadline").value, ranges.deadline_ms);
  if (moved === "pace") controls.per_minute = ofSlider(by("pace").value, ranges.per_minute);
  showControls();
  // Sliders tell of every step; what counts is where they are let go.
  if (event.type === "change") send();
}

function showRanking(ranking) {
  const rows = ranking.map((one) => {
    const row = element("tr");
    row.append(element("th", "", one.name ?? "class " + one.class));
    const cell = element("td");
    const bar = element("i");
    bar.style.width = 8 * one.score + "rem";
    cell.append(bar, (100 * one.score).toFixed(0) + " %");
    row.append(cell);
    return row;
  });
  by("ranking").tBodies[0].replaceChildren(...rows);
}

function showParts(us) {
  const named = PARTS.filter((part) => us[part] !== null).map((part) => [part, us[part]]);
  // A tail that ran beside a frame that came too late counts once: the sum may exceed the total.
  const rest = us.total - named.reduce((sum, [, part]) => sum + part, 0);
  if (rest > 0) named.push(["rest", rest]);
  const whole = Math.max(1, named.reduce((sum, [, part]) => sum + part, 0));
  by("bar").replaceChildren(
    ...named.map(([part, time]) => {
      const piece = element("span", part);
      piece.style.width = (100 * time) / whole + "%";
      piece.title = part + " " + ms(time);
      return piece;
    }),
  );
  by("parts").replaceChildren(...named.map(([part, time]) => element("li", part, part + " " + ms(time))));
}

function showHistory() {
  const [width, height] = [720, 200];
  const most = Math.max(...last.map((one) => Math.max(one.us.total, one.deadline_us))) * 1.05;
  const drawn = (name, kind, numbers) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    if (kind) made.setAttribute("class", kind);
    for (const [key, value] of Object.entries(numbers)) made.setAttribute(key, value);
    return made;
  };
  const step = width / LAST;
  const marks = last.map((one, place) => {
    const tall = (height * one.us.total) / most;
    const kind = one.late || one.by === null ? "late" : one.by;
    const mark = drawn("rect", kind, { x: place * step + 1, y: height - tall, width: step - 2, height: tall });
    const title = drawn("title", "", {});
    const sent = one.rung === null ? "nothing sent" : one.rung + ", " + bytes(one.bytes);
    title.textContent = (one.name ?? "class " + one.class) + ", " + ms(one.us.total) + ", " + sent;
    mark.append(title);
    return mark;
  });
  const lines = last.map((one, place) => {
    const y = height - (height * one.deadline_us) / most;
    return drawn("line", "", { x1: place * step, x2: (place + 1) * step, y1: y, y2: y });
  });
  by("level").textContent = ms(last.at(-1).deadline_us);
  by("history").replaceChildren(...marks, ...lines);
}

function showAnswer(said) {
  last.push(said);
  if (last.length > LAST) last.shift();
  seen.count += 1;
  if (said.by !== null && !said.late) seen.timely += 1;
  if (said.truth !== null) {
    seen.known += 1;
    if (said.name === said.truth) seen.right += 1;
  }
  if (said.bytes !== null) {
    seen.frames += 1;
    seen.bytes += said.bytes;
  }
  by("picture").hidden = false;
  by("picture").src = "pictures/" + said.place;
  const named = said.by === null ? "no answer" : (said.name ?? "class " + said.class);
  const truth = said.truth === null || said.truth === said.name ? "" : " (it is " + said.truth + ")";
  by("answer").textContent = named + truth;
  const who = { edge: "answered by the edge", device: "answered by the device alone: " + said.why };
  by("by").textContent = (who[said.by] ?? "not answered: " + said.why) + (said.late ? ", late" : "");
  showRanking(said.ranking);
  by("bytes").textContent = said.bytes === null ? "none" : bytes(said.bytes);
  by("rung").textContent = said.rung ?? "none";
  by("file").textContent = bytes(said.file_bytes);
  by("total").textContent = ms(said.us.total);
  by("count").textContent = seen.count;
  by("timely").textContent = share(seen.timely, seen.count);
  by("right").textContent = share(seen.right, seen.known);
  by("mean").textContent = seen.frames === 0 ? "-" : bytes(Math.round(seen.bytes / seen.frames));
  showParts(said.us);
  showHistory();
}

// Answers wait at the demo until the page asks for them, and the page waits there for answers.
async function follow() {
  let next = 0;
  for (;;) {
    try {
      const answers = await (await fetch("answers/" + next)).json();
      if (answers.length > 0) next = answers.at(-1).number + 1;
      answers.forEach(showAnswer);
      if (lost) trouble("");
      lost = false;
    } catch {
      lost = true;
      trouble(SILENT);
    }
    await new Promise((done) => setTimeout(done, lost ? 1000 : 50));
  }
}

async function start() {
  const [model, first] = await Promise.all(["model", "controls"].map(async (path) => (await fetch(path)).json()));
  ranges = model.ranges;
  controls = first;
  const rungs = model.rungs.map((rung) => {
    const measured = rung.bytes === null ? "" : " (" + Math.round(rung.bytes) + " bytes : " + rung.top1.toFixed(1) + " %)";
    return [rung.name, rung.name + measured];
  });
  by("model").textContent =
    "Backbone " + model.backbone + ", cut at " + model.split + "; rungs " + rungs.map(([, text]) => text).join(", ") + ".";
  by("split").textContent = model.split;
  const option = ([value, text]) => {
    const made = element("option", "", text);
    made.value = value;
    return made;
  };
  by("policy").replaceChildren(...model.policies.map((name) => option([name, name])));
  by("fixed").replaceChildren(...rungs.map(option));
  placeControls();
  by("controls").addEventListener("input", turned);
  by("controls").addEventListener("change", turned);
  by("controls").addEventListener("submit", (event) => event.preventDefault());
  follow();
}

start().catch(() => trouble(SILENT));
