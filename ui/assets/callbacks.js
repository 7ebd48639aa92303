/* Callbacks that run in the browser; app.py names them. */
(function () {
  "use strict";
  const LONGEST_MS = 20000;
  let sent = null;
  const keep = () => window.dash_clientside.no_update;

  /* A person who types or chooses must not lose what they touch. */
  function isBusy() {
    const held = document.activeElement;
    return (held && /INPUT|SELECT|TEXTAREA/.test(held.tagName)) || document.querySelector(".time[open]");
  }

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.flowtrail = {
    /* The pulse goes on to the server only while somebody looks. */
    tick: (pulses, shown) => {
      if (!window.flowtrail.isLive() || isBusy()) return keep();
      const answered = !sent || (shown && shown.tick === sent.pulses) || Date.now() - sent.at > LONGEST_MS;
      if (!answered) return keep(); // a slow server gets no second question while it thinks about the first
      sent = { pulses, at: Date.now() };
      return pulses;
    },

    title: (title) => {
      if (title) document.title = title;
      return keep();
    },

    /* On a narrow screen the timeline has names and bars only, and the bars scroll. */
    narrow: (id, columns) => {
      if (innerWidth > 760 || !columns) return keep();
      const name = columns.find((column) => column.cellRenderer === "FtName");
      const bar = columns.find((column) => column.cellRenderer === "FtBar");
      if (!name || !bar || columns.length === 2) return keep();
      return [{ ...name, width: 190, pinned: "left" }, bar];
    },
  };
})();
