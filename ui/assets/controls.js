/* Controls of the top bar and of lists: each changes the address, or what the browser does. */
(function () {
  "use strict";
  const h = window.React.createElement;
  const { useEffect, useRef, useState } = window.React;
  const icon = (name, size = 14) => h(window.flowtrail_ui.Icon, { name, size });
  const { go } = window.flowtrail;

  function Search({ value = "" }) {
    const [text, setText] = useState(value);
    useEffect(() => setText(value), [value]);
    const submit = (event) => {
      event.preventDefault();
      document.activeElement.blur();
      go({ q: text.trim() || null }, "/flows");
    };
    return h(
      "form",
      { className: "search", role: "search", onSubmit: submit },
      icon("search", 15),
      h("input", { id: "search", type: "search", value: text, autoComplete: "off", spellCheck: false, "aria-label": "Search flows", placeholder: "Key, attribute=value, trace id, topic/7/918244", onChange: (event) => setText(event.target.value) }),
      h("kbd", null, "/"),
    );
  }

  const pad = (n) => String(n).padStart(2, "0");
  function local(ms) {
    const d = new Date(ms);
    return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}T${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
  }

  function TimeRange({ begin = "", end = "", choices = [], label }) {
    const menu = useRef(null);
    const close = () => { menu.current.open = false; };
    useEffect(() => {
      const outside = (event) => { if (menu.current && !menu.current.contains(event.target)) close(); };
      document.addEventListener("click", outside);
      return () => document.removeEventListener("click", outside);
    }, []);
    const submit = (event) => {
      event.preventDefault();
      const from = Date.parse(event.target.elements.from.value);
      const to = Date.parse(event.target.elements.to.value);
      if (Number.isNaN(from)) return;
      go({ from, to: Number.isNaN(to) ? null : to });
      close();
    };
    const now = Date.now();
    return h(
      "details",
      { className: "time wide", ref: menu },
      h("summary", { className: "btn" }, icon("clock"), label),
      h(
        "div",
        { className: "menu card" },
        choices.map(([text, from]) => h("button", { key: from, type: "button", className: from === begin && !end ? "here" : "", onClick: () => { go({ from, to: null }); close(); } }, text)),
        h(
          "form",
          { onSubmit: submit },
          h("label", null, "From", h("input", { key: `from${begin}`, name: "from", type: "datetime-local", step: 1, required: true, defaultValue: local(/^\d+$/.test(begin) ? Number(begin) : now - 3600000) })),
          h("label", null, "To (empty: now)", h("input", { key: `to${end}`, name: "to", type: "datetime-local", step: 1, defaultValue: end ? local(Number(end)) : "" })),
          h("button", { className: "btn btn-small" }, "Show"),
        ),
      ),
    );
  }

  function Live({ fixed, away }) {
    const [, setPausedAt] = useState(window.flowtrail.pausedAt);
    useEffect(() => {
      const heard = () => setPausedAt(window.flowtrail.pausedAt);
      window.addEventListener("flowtrail:live", heard);
      return () => window.removeEventListener("flowtrail:live", heard);
    }, []);
    if (fixed) {
      return h("div", { className: "live wide" }, h("button", { className: "btn", title: "A fixed range of time: nothing new comes. Go back to the present.", onClick: () => go({ from: null, to: null }) }, icon("clock"), "Fixed range"));
    }
    if (away) return h("div", { className: "live wide is-away" }, h("span", { className: "btn live-now", title: "The collector does not answer; it is asked again every few seconds" }, h("span", { className: "live-dot" }), "Away"));
    const at = window.flowtrail.pausedAt;
    const paused = at !== null;
    return h(
      "div",
      { className: `live wide${paused ? " paused" : ""}` },
      h("button", { className: "btn live-now", title: "Follows the present", onClick: () => window.flowtrail.setPaused(false) }, h("span", { className: "live-dot" }), paused ? `Paused at ${window.flowtrail.moment(at)}` : "Live"),
      h("button", { id: "pause", className: "btn btn-square", title: "Pause (p)", "aria-label": "Pause", "aria-pressed": paused, onClick: () => window.flowtrail.setPaused(!paused) }, icon("pause")),
    );
  }

  function ThemeSwitch() {
    const [theme, setShown] = useState(window.flowtrail.theme());
    useEffect(() => {
      const heard = () => setShown(window.flowtrail.theme());
      window.addEventListener("flowtrail:theme", heard);
      return () => window.removeEventListener("flowtrail:theme", heard);
    }, []);
    const turn = () => window.flowtrail.setTheme(window.flowtrail.theme() === "dark" ? "light" : "dark");
    return h("button", { id: "theme", className: "btn btn-square", title: "Light or dark", "aria-label": "Light or dark", onClick: turn }, icon(theme === "dark" ? "sun" : "moon", 15));
  }

  function Choice({ id, name, label, value = "", options = [] }) {
    return h(
      "label",
      { className: value ? "choice chosen" : "choice" },
      h("span", null, label),
      h("select", { id, value, onChange: (event) => { event.target.blur(); go({ [name]: event.target.value || null }); } }, options.map(([v, text]) => h("option", { key: v, value: v }, text))),
    );
  }

  function Copy({ text, label }) {
    const [done, setDone] = useState("");
    const copy = async () => {
      try {
        await navigator.clipboard.writeText(text);
        setDone("copied");
      } catch {
        setDone("not allowed here"); // a browser gives the clipboard to https and to this machine only
      }
      setTimeout(() => setDone(""), 1500);
    };
    return h("button", { className: "btn btn-small copy", title: `Copy ${text.length < 80 ? text : "this"}`, "aria-label": label ? `Copy ${label}` : "Copy", onClick: copy }, icon("copy", 13), done || label);
  }

  Object.assign(window.flowtrail_ui, { Choice, Copy, Live, Search, ThemeSwitch, TimeRange });
})();
