/* Cells of the timeline, for AG Grid: name, where, bar, and the head with the time. */
(function () {
  "use strict";
  const h = window.React.createElement;
  const { useEffect, useState } = window.React;
  const icon = (name, size, className) => h(window.flowtrail_ui.Icon, { name, size, className });
  const cells = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});
  const DEEPEST = 16; // deeper rows are indented no further

  function useChosen(id) {
    const [chosen, setChosen] = useState(window.flowtrail.param("row") === id);
    useEffect(() => window.flowtrail.onAddress(() => setChosen(window.flowtrail.param("row") === id)), [id]);
    return chosen;
  }

  cells.FtName = function ({ data }) {
    const chosen = useChosen(data.id);
    const folded = data.kind === "folded";
    const to = folded ? { rows: "all" } : { row: data.id };
    const url = new URL(location.href);
    for (const [name, value] of Object.entries(to)) url.searchParams.set(name, value);
    const open = (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      event.stopPropagation();
      window.flowtrail.go(to);
    };
    const failed = data.tone === "fail";
    return h(
      "div",
      { className: `wf-name${chosen ? " now" : ""}`, style: { "--depth": Math.min(data.depth, DEEPEST) } },
      h("span", { className: `wf-kind wf-${data.kind}`, "aria-hidden": true }),
      failed && icon("cross", 12, "tone-fail"),
      h("a", { className: `wf-text${failed ? " tone-fail" : folded ? " link" : ""}`, href: url.pathname + url.search, title: data.name, onClick: open }, data.name),
      data.word && data.word !== "failed" && h("span", { className: `badge tone-${data.tone}`, title: data.word }, icon(data.glyph, 11), data.word),
      data.attempt && h("span", { className: "wf-attempt" }, `attempt ${data.attempt}`),
      data.note && h("span", { className: "wf-note", title: data.note }, data.note),
      data.trace && h("span", { className: "wf-trace", title: "from here on the flow goes on under another trace id" }, icon("link", 11), `trace ${data.trace}…`),
    );
  };

  cells.FtWhere = function ({ data }) {
    return h("span", { className: "ref wf-where", title: data.where }, data.where_kind && icon(`kind-${data.where_kind}`, 12, `kind-${data.where_kind}`), data.where);
  };

  const bands = (folds) => folds.map((fold, i) => h("i", { key: `f${i}`, className: "wf-fold", style: { left: `${fold.x0}%`, width: `${fold.x1 - fold.x0}%` } }));
  const lines = (ticks) => ticks.map((tick, i) => h("i", { key: `t${i}`, className: "wf-line", style: { left: `${tick.x}%` } }));

  cells.FtBar = function ({ data, colDef }) {
    const { folds, ticks } = colDef.cellRendererParams;
    const width = Math.max(0, data.x1 - data.x0);
    const inside = width > 9 && !data.aside && data.kind !== "folded";
    const aside = data.open || data.x1 > 82 ? { right: `${100 - data.x0}%` } : { left: `${data.x1}%` };
    const classes = ["wf-bar", `wf-${data.kind}`, data.tone ? `tone-${data.tone}` : "", data.open ? "open" : "", data.unfinished ? "unfinished" : ""];
    return h(
      "div",
      { className: "wf-track" },
      lines(ticks),
      bands(folds),
      h("div", { className: classes.join(" "), style: { left: `${data.x0}%`, width: `max(3px, ${width}%)` } }, inside && h("span", { className: "wf-in" }, data.took)),
      data.aside && h("span", { className: "wf-aside", style: aside }, data.aside),
    );
  };

  cells.FtAxis = function ({ column }) {
    const { folds, ticks, clocks } = column.getColDef().cellRendererParams;
    return h(
      "div",
      { className: "wf-track wf-axis" },
      ticks.map((tick, i) => h("span", { key: i, className: tick.x === 0 ? "first" : "", style: { left: `${tick.x}%` } }, tick.label)),
      folds.filter((fold) => fold.label).map((fold, i) => h("b", { key: i, style: { left: `${(fold.x0 + fold.x1) / 2}%` } }, fold.label)),
      clocks.map((mark, i) => h("em", { key: i, style: mark.x > 88 ? { right: 0 } : { left: `${mark.x}%` } }, window.flowtrail.moment(mark.ms))),
    );
  };
})();
