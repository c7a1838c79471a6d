// The live list: rows that arrive are put on top. Everything received is text and only ever becomes text nodes.
"use strict";
(() => {
  const MOST_ROWS = 300;
  const $ = (id) => document.getElementById(id);
  const rows = $("rows");
  const [state, pause, text] = [$("state"), $("pause"), $("text")];
  const stream = $("live").dataset.stream;

  const cell = (name, ...content) => {
    const td = document.createElement("td");
    td.className = name;
    td.append(...content);
    return td;
  };
  const element = (tag, className, content) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.textContent = content;
    return node;
  };
  const rowOf = (row) => {
    const tr = document.createElement("tr");
    tr.dataset.uuid = row.uuid;
    tr.className = "new";
    const time = element("time", "", row.clock);
    time.title = row.time;
    const link = document.createElement("a");
    link.href = "/exchanges/" + encodeURIComponent(row.uuid);
    const url = document.createElement("bdi");
    url.append(element("span", "origin", row.origin), row.path);
    link.append(row.origin || row.path ? url : "(no request)");
    const mark = row.mark ? [element("span", "mark", row.mark), " "] : [];
    tr.append(
      cell("time", time),
      cell("status", element("span", "pill " + row.status_class, row.status || "–")),
      cell("method", element("bdi", "", row.method)),
      cell("url", ...mark, link),
      cell("number took", row.duration),
      cell("number size", row.size),
      cell("route", element("bdi", "", row.route)),
      cell("consumer", element("bdi", "", row.consumer)),
      cell("bucket", element("bdi", "", row.bucket)),
    );
    return tr;
  };

  // While paused, rows wait; only the newest are worth keeping.
  let waiting = [];
  let missed = false;
  let paused = false;

  const shown = new Set(Array.from(rows.children, (tr) => tr.dataset.uuid));
  const show = () => {
    for (const row of waiting.splice(0)) {
      if (shown.has(row.uuid)) continue;
      shown.add(row.uuid);
      rows.prepend(rowOf(row));
    }
    while (rows.children.length > MOST_ROWS) {
      shown.delete(rows.lastElementChild.dataset.uuid);
      rows.lastElementChild.remove();
    }
    if (rows.children.length > 0) $("empty").hidden = true;
  };
  const say = (text, kind) => {
    state.textContent = text;
    state.className = "state " + kind;
  };
  const report = () => {
    if (paused) say(waiting.length === 0 ? "Paused" : "Paused, " + waiting.length + (waiting.length < MOST_ROWS ? "" : "+") + " new", "off");
    else if (missed) say("Live, too fast to show all", "fast");
    else say("Live", "on");
  };

  if (stream) {
    state.hidden = pause.hidden = false;
    say("Connecting", "off");
    const source = new EventSource(stream);
    source.addEventListener("open", report);
    source.addEventListener("error", () => say("Disconnected, trying again", "bad"));
    source.addEventListener("rows", (event) => {
      const { rows: arrived, more } = JSON.parse(event.data);
      missed = more;
      waiting.push(...arrived.reverse());
      if (waiting.length > MOST_ROWS) waiting = waiting.slice(-MOST_ROWS);
      if (!paused) show();
      report();
    });
    pause.addEventListener("click", () => {
      paused = !paused;
      pause.setAttribute("aria-pressed", String(paused));
      pause.textContent = paused ? "Go on" : "Pause";
      if (!paused) show();
      report();
    });
    // An open stream would keep the page from being stored for going back, and hold a place at the inspector.
    addEventListener("pagehide", () => source.close());
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  }

  $("find").hidden = false;
  $("keys").hidden = false;
  const search = () => {
    const to = new URL(text.dataset.base, location.href);
    if (text.value.trim()) to.searchParams.set("text", text.value.trim());
    location.assign(to.pathname + to.search);
  };
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter") search();
    if (event.key === "Escape") text.blur();
  });

  const move = (by) => {
    const links = Array.from(rows.querySelectorAll("td.url a"));
    const at = links.indexOf(document.activeElement);
    const next = links[at < 0 ? 0 : Math.min(links.length - 1, Math.max(0, at + by))];
    if (next) next.focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.target === text || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "p" && stream) pause.click();
    else if (event.key === "/") { event.preventDefault(); text.focus(); text.select(); }
  });
})();
