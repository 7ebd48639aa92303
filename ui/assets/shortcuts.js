/* Keys: `/` search, `p` pause, `e` next error, Escape closes the panel. Clicks on the timeline's rows. */
(function () {
  "use strict";
  let errorRow = -1;

  function nextError() {
    const grid = document.querySelector("#timeline") && window.dash_ag_grid && window.dash_ag_grid.getApi("timeline");
    if (!grid) return;
    const failed = [];
    grid.forEachNodeAfterFilterAndSort((row) => { if (row.data.tone === "fail") failed.push(row); });
    if (!failed.length) return;
    const row = failed.find((one) => one.rowIndex > errorRow) || failed[0];
    errorRow = row.rowIndex;
    grid.ensureIndexVisible(row.rowIndex, "middle");
    const drawn = document.querySelector(`#timeline .ag-row[row-index="${row.rowIndex}"]`);
    if (drawn && document.querySelector(".wf-whole")) drawn.scrollIntoView({ block: "center" });
    if (!row.data.id.startsWith("folded:")) window.flowtrail.go({ row: row.data.id });
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/INPUT|TEXTAREA|SELECT/.test(event.target.tagName)) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "/") {
      event.preventDefault();
      const search = document.querySelector("#search");
      if (search) { search.focus(); search.select(); }
    } else if (event.key === "p") {
      const pause = document.querySelector("#pause");
      if (pause) pause.click();
    } else if (event.key === "e") {
      nextError();
    } else if (event.key === "Escape") {
      const close = document.querySelector(".panel-close");
      if (close) close.click();
    }
  });

  document.addEventListener("click", (event) => {
    const row = event.target.closest("#timeline .ag-row");
    if (!row || event.target.closest("a")) return;
    const id = row.getAttribute("row-id");
    errorRow = Number(row.getAttribute("row-index"));
    window.flowtrail.go(id.startsWith("folded:") ? { rows: "all" } : { row: id });
  });

  /* A row that the address names is brought into view, once the grid has it. */
  function reveal(turns) {
    const id = window.flowtrail.param("row");
    if (!id || turns === 0) return;
    const grid = document.querySelector("#timeline .ag-row") && window.dash_ag_grid.getApi("timeline");
    const row = grid && grid.getRowNode(id);
    if (!row) { setTimeout(() => reveal(turns - 1), 250); return; }
    grid.ensureIndexVisible(row.rowIndex);
    const drawn = document.querySelector(`#timeline .ag-row[row-index="${row.rowIndex}"]`);
    if (drawn && document.querySelector(".wf-whole")) drawn.scrollIntoView({ block: "nearest" });
  }

  window.flowtrail.onAddress(() => {
    if (window.flowtrail.param("row")) reveal(4);
    else errorRow = -1;
  });
  reveal(40);
})();
