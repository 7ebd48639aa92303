/* LiveMap: draws the server's scene, follows it while live, and moves nothing by itself. Plan: a small still map. */
(function () {
  "use strict";
  const h = window.React.createElement;
  const { memo, useEffect, useMemo, useRef, useState } = window.React;
  const { Icon, Glyph } = window.flowtrail_ui;
  const TONES = ["ok", "fail", "stuck", "slow", "quiet", "idle"];
  const REFRESH_MS = 2000;
  const [SMALLEST, LARGEST] = [0.12, 2.5];
  const FAR = 0.4; // below this scale small text is left out
  const LEGIBLE = 0.8; // at the start text of 12 px is never smaller than 9.6 px: a longer map begins in part
  const LINES_BELOW_PX = 96; // height of a few lines of what is broken now, which stand over the map

  /* A lying cylinder: its body, and the lip at its right end. */
  const pipe = (w, height) => {
    const r = 7;
    return {
      body: `M${r} 0H${w - r}a${r} ${height / 2} 0 0 1 0 ${height}H${r}a${r} ${height / 2} 0 0 1 0 ${-height}z`,
      lip: `M${w - r} 0a${r} ${height / 2} 0 0 0 0 ${height}`,
    };
  };
  const hexagon = (w, height) => `M9 0H${w - 9}L${w} ${height / 2}L${w - 9} ${height}H9L0 ${height / 2}z`;

  function outline(kind, w, height, radius) {
    if (kind === "topic") {
      return [h("path", { key: "body", className: "shape", d: pipe(w, height).body }), h("path", { key: "lip", className: "lip", d: pipe(w, height).lip })];
    }
    if (kind === "group") return h("path", { className: "shape", d: hexagon(w, height) });
    if (kind === "cluster") {
      return [h("rect", { key: "behind", className: "shape", x: 4, y: -4, width: w - 4, height, rx: radius }), h("rect", { key: "front", className: "shape", width: w - 4, height, rx: radius })];
    }
    return h("rect", { className: "shape", width: w, height, rx: radius });
  }

  const picks = (id, onPick) => ({
    tabIndex: 0,
    role: "button",
    onClick: (event) => { event.stopPropagation(); onPick(id); },
    onKeyDown: (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.stopPropagation();
      onPick(id);
    },
  });

  /* Drawn again only when it or its being chosen changed: new figures of one node touch no other. */
  const Node = memo(
    function Node({ node: n, selected, onPick }) {
      const pad = n.kind === "service" ? 10 : n.kind === "topic" ? 12 : 16;
      const height = n.kind === "service" ? n.h : n.top;
      return h(
        "g",
        { className: `node node-${n.kind} tone-${n.tone}${selected === n.id ? " selected" : ""}`, "data-id": n.id, transform: `translate(${n.x - n.w / 2} ${n.y - n.h / 2})` },
        h(
          "g",
          { className: "main", "aria-label": n.aria, ...picks(n.id, onPick) },
          h("rect", { className: "halo", x: -5, y: -5, width: n.w + 10, height: n.h + 10, rx: 12 }),
          outline(n.kind, n.w, height, 8),
          h("svg", { className: `node-icon kind-${n.kind}`, x: pad, y: n.top / 2 - 16, width: 13, height: 13, viewBox: "0 0 16 16" }, h(Glyph, { name: `kind-${n.kind}` })),
          h("text", { className: "name", x: pad + 18, y: n.top / 2 - 5 }, n.name),
          h("text", { className: "meta", x: pad, y: n.top / 2 + 13 }, n.meta.map((m, i) => h("tspan", { key: i, className: m.tone ? `tone-${m.tone}` : "", dx: i ? 6 : 0 }, m.text))),
        ),
        n.ports.map((port) =>
          h(
            "g",
            { key: port.id, className: `port tone-${port.tone}${selected === port.id ? " selected" : ""}`, "data-id": port.id, transform: `translate(-7 ${port.y})`, "aria-label": port.aria, ...picks(port.id, onPick) },
            h("path", { className: "shape", d: hexagon(n.w, port.h) }),
            h("text", { className: "port-name", x: 14, y: 15 }, port.name),
            h("text", { className: "port-meta", x: 14, y: 29 }, port.meta),
          ),
        ),
      );
    },
    (old, now) => old.text === now.text && old.selected === now.selected,
  );

  function markers(suffix) {
    return TONES.map((tone) =>
      h("marker", { key: tone, id: `arrow-${tone}${suffix}`, className: `arrow tone-${tone}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, h("path", { d: "M0 .8L7.500 4 0 7.200z" })),
    );
  }

  function World({ scene, selected, onPick }) {
    return [
      scene.edges.map((e) => h("path", { key: e.id, "data-edge": e.id, className: `edge tone-${e.tone}`, d: e.d, strokeWidth: e.width, markerEnd: `url(#arrow-${e.tone})` })),
      scene.nodes.map((node) => {
        const own = selected === node.id || node.ports.some((port) => port.id === selected);
        return h(Node, { key: node.id, node, text: JSON.stringify(node), selected: own ? selected : null, onPick });
      }),
      scene.edges.map((e) => h("g", { key: `label ${e.id}`, "data-edge": e.id, className: `edge-label tone-${e.tone}${e.always ? " always" : ""}`, transform: `translate(${e.lx} ${e.ly})` }, h("rect", { x: -e.lw / 2, y: -10, width: e.lw, height: 20, rx: 10 }), h("text", { textAnchor: "middle", y: 4 }, e.label))),
    ];
  }

  /* The scene while it is live: asked for again with its ETag, and as it is while paused, hidden or not answered. */
  function useScene(first, source) {
    const [scene, setScene] = useState(first);
    useEffect(() => setScene(first), [first]);
    useEffect(() => {
      let etag = "";
      let gone = false;
      let timer = 0;
      const ask = async () => {
        if (window.flowtrail.isLive()) {
          try {
            const response = await fetch(source, { cache: "no-store", headers: etag ? { "If-None-Match": etag } : {} });
            if (response.status === 200) {
              const next = await response.json();
              if (gone || window.flowtrail.pausedAt !== null) return;
              etag = response.headers.get("ETag") || "";
              setScene(next);
              window.dispatchEvent(new CustomEvent("flowtrail:scene", { detail: next }));
            }
          } catch { /* the server is away: what is drawn stays, and the next turn asks again */ }
        }
        if (!gone) timer = setTimeout(ask, REFRESH_MS);
      };
      timer = setTimeout(ask, REFRESH_MS);
      const resume = () => { clearTimeout(timer); timer = setTimeout(ask, 50); };
      window.addEventListener("flowtrail:live", resume);
      return () => { gone = true; clearTimeout(timer); window.removeEventListener("flowtrail:live", resume); };
    }, [source]);
    return scene;
  }

  function useSelected() {
    const [selected, setSelected] = useState(window.flowtrail.param("select"));
    useEffect(() => window.flowtrail.onAddress(() => setSelected(window.flowtrail.param("select"))), []);
    return selected;
  }

  function LiveMap({ scene: first, source, label }) {
    const scene = useScene(first, source);
    const selected = useSelected();
    const svg = useRef(null);
    const view = useRef({ x: 0, y: 0, k: 1 });
    const drag = useRef(null);
    const latest = useRef(scene);
    latest.current = scene;

    const show = (next) => {
      view.current = next;
      svg.current.querySelector(".world").setAttribute("transform", `translate(${next.x} ${next.y}) scale(${next.k})`);
      svg.current.classList.toggle("far", next.k < FAR);
    };
    /* The whole map, as large as it fits. Or the start: legible, from its left end as far as to what is broken. */
    const fit = (whole) => {
      const s = latest.current;
      const box = svg.current.getBoundingClientRect();
      const narrow = box.width < 600;
      const margin = narrow ? 14 : 16;
      const list = svg.current.parentNode.querySelector(".map-now");
      const below = list && !narrow ? Math.max(LINES_BELOW_PX, list.offsetHeight) + 8 : 0;
      const [width, height] = [box.width - 2 * margin, box.height - below - 2 * margin];
      const k = Math.max(narrow ? 0.8 : whole ? SMALLEST : LEGIBLE, Math.min(1.15, width / s.w, height / s.h));
      const select = window.flowtrail.param("select");
      const holds = (n) => n.id === select || n.ports.some((p) => p.id === select);
      const isLoud = (one) => one.tone === "fail" || one.tone === "stuck";
      const chosen = s.nodes.filter(holds);
      const look = chosen.length ? chosen : s.nodes.filter((n) => isLoud(n) || n.ports.some(isLoud));
      const along = (size, room, begin, at, extent) => {
        if (size * k <= room) return margin + (room - size * k) / 2 - begin * k;
        if (!look.length) return margin - begin * k;
        const first = Math.min(...look.map((n) => n[at] - n[extent] / 2));
        const last = Math.max(...look.map((n) => n[at] + n[extent] / 2));
        return Math.max(margin - first * k, Math.min(margin - begin * k, room - (last + 8) * k));
      };
      show({ k, x: along(s.w, width, s.x, "x", "w"), y: along(s.h, height, s.y, "y", "h") });
    };
    const zoom = (factor, cx, cy) => {
      const v = view.current;
      const k = Math.max(SMALLEST, Math.min(LARGEST, v.k * factor));
      show({ k, x: cx - (cx - v.x) * (k / v.k), y: cy - (cy - v.y) * (k / v.k) });
    };
    const zoomMiddle = (factor) => {
      const box = svg.current.getBoundingClientRect();
      zoom(factor, box.width / 2, box.height / 2);
    };

    useEffect(() => fit(false), [source]);
    useEffect(() => { // another window size fits anew; a panel that opens only moves what it would hide
      let width = innerWidth;
      const observer = new ResizeObserver(() => {
        if (!svg.current) return;
        if (width !== innerWidth) { width = innerWidth; fit(false); return; }
        const picked = svg.current.querySelector(".selected");
        if (!picked) return;
        const [own, room] = [picked.getBoundingClientRect(), svg.current.getBoundingClientRect()];
        const right = Math.max(0, own.right + 40 - room.right);
        const below = Math.max(0, own.bottom + 20 - room.bottom);
        if (right || below) show({ ...view.current, x: view.current.x - right, y: view.current.y - below });
      });
      observer.observe(svg.current);
      return () => observer.disconnect();
    }, []);
    useEffect(() => {
      const el = svg.current;
      const wheel = (event) => {
        event.preventDefault();
        const box = el.getBoundingClientRect();
        zoom(Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top);
      };
      el.addEventListener("wheel", wheel, { passive: false }); // React's own listener is passive
      return () => el.removeEventListener("wheel", wheel);
    }, []);

    /* Hover: the node, its edges and its neighbours stay, the rest is dimmed. Classes only: nothing is drawn anew. */
    const light = (id) => {
      const root = svg.current;
      root.querySelectorAll(".lit").forEach((el) => el.classList.remove("lit"));
      root.classList.toggle("focus", Boolean(id));
      if (!id) return;
      const near = new Set([id]);
      for (const e of latest.current.edges) {
        if (![e.source, e.target, e.start, e.end].includes(id)) continue;
        near.add(e.source).add(e.target);
        root.querySelectorAll(`[data-edge="${CSS.escape(e.id)}"]`).forEach((el) => el.classList.add("lit"));
      }
      root.querySelectorAll(".node").forEach((el) => el.classList.toggle("lit", near.has(el.dataset.id)));
    };
    const hovered = useRef("");
    const hover = (id) => {
      if (id === hovered.current) return;
      hovered.current = id;
      light(id);
    };
    const down = (event) => {
      if (event.button === 0) drag.current = { x: event.clientX, y: event.clientY, from: { ...view.current }, moved: false };
    };
    const move = (event) => {
      const d = drag.current;
      if (!d) {
        const node = event.target.closest(".node");
        hover(node ? node.dataset.id : "");
        return;
      }
      const [dx, dy] = [event.clientX - d.x, event.clientY - d.y];
      if (!d.moved && Math.hypot(dx, dy) < 4) return;
      d.moved = true;
      show({ ...d.from, x: d.from.x + dx, y: d.from.y + dy });
    };
    const up = () => setTimeout(() => { drag.current = null; }, 0); // after the click that ends a drag
    const pick = useRef((id) => { if (!(drag.current && drag.current.moved)) window.flowtrail.go({ select: id }); }).current;

    const world = useMemo(() => h("g", { className: "world" }, h(World, { scene, selected, onPick: pick })), [scene, selected]);
    const button = (name, title, act) => h("button", { key: name, title, "aria-label": title, onClick: act }, h(Icon, { name, size: 14 }));
    return h(
      "div",
      { className: "graph" },
      scene.notice && h("p", { className: "notice tone-slow", role: "note" }, h(Icon, { name: "warn", size: 14 }), h("span", null, scene.notice)),
      h("svg", { ref: svg, className: "graph-svg", role: "group", "aria-label": label, onPointerDown: down, onPointerMove: move, onPointerUp: up, onPointerLeave: () => { up(); hover(""); } }, h("defs", null, markers("")), world),
      h("div", { className: "zoom" }, button("plus", "Zoom in", () => zoomMiddle(1.25)), button("minus", "Zoom out", () => zoomMiddle(0.8)), button("fit", "Fit the whole map", () => fit(true))),
      h(BrokenNow, { broken: scene.broken, onPick: (id) => window.flowtrail.go({ select: id }) }),
    );
  }

  const FIRST_BROKEN = 3;
  const MOST_BROKEN = 8;

  function BrokenNow({ broken, onPick }) {
    const [open, setOpen] = useState(false);
    if (!broken.length) return null;
    const line = (one) =>
      h("li", { key: one.id }, h("button", { onClick: () => onPick(one.id) }, h("span", { className: `badge tone-${one.tone}` }, h(Icon, { name: one.glyph, size: 12 }), one.word), h("span", { className: "what", title: one.text }, one.text), h("span", { className: "dimmed" }, one.lasts)));
    const beyond = broken.length - MOST_BROKEN;
    return h(
      "ul",
      { className: "map-now card", "aria-label": "broken now" },
      broken.slice(0, open ? MOST_BROKEN : FIRST_BROKEN).map(line),
      open && beyond > 0 && h("li", { key: "beyond", className: "dimmed more-broken" }, `and ${beyond} more, marked on the map`),
      broken.length > FIRST_BROKEN && h("li", { key: "more" }, h("button", { className: "more-broken link", "aria-expanded": open, onClick: () => setOpen(!open) }, open ? "Fewer" : `${broken.length - FIRST_BROKEN} more`)),
    );
  }

  function MapSummary({ text: first }) {
    const [text, setText] = useState(first);
    useEffect(() => setText(first), [first]);
    useEffect(() => {
      const heard = (event) => setText(event.detail.summary);
      window.addEventListener("flowtrail:scene", heard);
      return () => window.removeEventListener("flowtrail:scene", heard);
    }, []);
    return h("span", { className: "dimmed map-summary" }, text);
  }

  function Plan({ scene, label }) {
    const stop = (s) =>
      h(
        "g",
        { key: s.id, className: `node node-${s.kind} small tone-${s.tone}`, transform: `translate(${s.x - 18} ${s.y - 11})` },
        h("title", null, `${s.kind} ${s.full_name}`),
        outline(s.kind, 36, 22, 5),
        s.tone === "fail" && h("path", { className: "cross", d: "M14.500 7.500l7 7M21.500 7.500l-7 7" }),
        s.tone === "stuck" && h("path", { className: "cross", d: "M14.500 7.500h7v7h-7z" }),
        h("text", { className: "small-name", x: 18, y: 36, textAnchor: "middle" }, s.name),
      );
    return h(
      "div",
      { className: "graph-mini" },
      h(
        "svg",
        { viewBox: `-4 -4 ${scene.w + 8} ${scene.h + 8}`, role: "img", "aria-label": label, style: { maxWidth: `${Math.round(scene.w * 1.15)}px`, maxHeight: `min(${Math.round(scene.h * 1.15)}px, 400px)` } },
        h("defs", null, markers("-plan")),
        scene.legs.map((leg) => h("path", { key: leg.id, className: `edge tone-${leg.tone}`, d: leg.d, strokeWidth: leg.tone === "ok" ? 1.4 : 2.2, markerEnd: `url(#arrow-${leg.tone}-plan)` })),
        scene.stops.map(stop),
      ),
    );
  }

  Object.assign(window.flowtrail_ui, { LiveMap, MapSummary, Plan });
})();
